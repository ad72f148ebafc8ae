//! Whether every thread is still on the one core: an operator may move threads (`taskset`), rewrite
//! a cpuset, or take a core offline.
//!
//! Only the holder of the turn runs a guest, so that no two VMs ever run at once, wherever their
//! threads are. A thread that gets the turn on another core is put back before it runs a guest; at
//! most half a second later the affinity of all threads is read.

use crate::sys;
use std::io;
use vmm_common::Instant;
use vmm_common::units::RoundedTime;

/// How often the affinity of all threads is read.
const LOOK_NS: u64 = 500_000_000;
/// Moves that are reported one by one; further ones are only counted.
const MAX_TOLD: u64 = 20;

/// The core, and the threads that belong on it.
#[derive(Debug)]
pub struct Placement<H = HostCores> {
    core: u64,
    threads: Vec<Thread>,
    next_look: Instant,
    moves: u64,
    host: H,
}

#[derive(Debug)]
struct Thread {
    id: i32,
    name: String,
}

/// What the placement asks of the host.
pub trait Cores {
    /// Whether this thread may run on `core` alone.
    fn is_pinned(&self, thread: i32, core: u64) -> io::Result<bool>;
    /// The cores that this thread may run on.
    fn allowed(&self, thread: i32) -> io::Result<Vec<u64>>;
    /// Lets this thread run on `core` alone.
    fn pin(&self, thread: i32, core: u64) -> io::Result<()>;
}

/// The cores of this host.
#[derive(Debug)]
pub struct HostCores;

impl Placement {
    /// All threads were pinned to `core`.
    #[must_use]
    pub fn new(core: u64) -> Self {
        Self::with(core, HostCores)
    }

    /// Whether the calling thread is on the core at this moment.
    #[must_use]
    pub fn is_here(&self) -> bool {
        sys::current_core().is_none_or(|core| core == self.core)
    }
}

impl<H: Cores> Placement<H> {
    fn with(core: u64, host: H) -> Self {
        Self { core, threads: Vec::new(), next_look: Instant::ZERO, moves: 0, host }
    }

    /// The core that all threads are on.
    #[must_use]
    pub fn core(&self) -> u64 {
        self.core
    }

    /// Watches one more thread.
    pub fn add(&mut self, id: i32, name: String) {
        self.threads.push(Thread { id, name });
    }

    /// Reads the affinity of all threads if that is due.
    ///
    /// # Errors
    /// As [`Placement::put_back`].
    pub fn look(&mut self, now: Instant) -> io::Result<Vec<String>> {
        if now < self.next_look {
            return Ok(Vec::new());
        }
        self.put_back(now)
    }

    /// Reads the affinity of all threads, and puts back on the core what was moved. If the core was
    /// taken away, all go to one that is left. What happened, as lines for the operator.
    ///
    /// # Errors No core takes all threads.
    pub fn put_back(&mut self, now: Instant) -> io::Result<Vec<String>> {
        self.next_look = now.after_ns(LOOK_NS);
        let mut lines = Vec::new();
        for index in 0..self.threads.len() {
            let Thread { id, name } = &self.threads[index];
            match self.host.is_pinned(*id, self.core) {
                Ok(true) => continue,
                Ok(false) => {}
                // A thread that has ended is on no core.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                Err(error) => return Err(error),
            }
            let (at, from) = (RoundedTime(now.as_ns()), self.core);
            let to = self.host.allowed(*id)?;
            let moved =
                format!("at {at} thread {name} was moved from core {from} to {}", listed(&to));
            if self.host.pin(*id, from).is_err() {
                self.settle(&to)?;
            }
            self.moves += 1;
            if self.moves <= MAX_TOLD || from != self.core {
                let core = self.core;
                lines.push(match core == from {
                    true => format!("[{moved}; put back on core {core}]"),
                    false => {
                        format!("[{moved}; core {from} is gone, all threads are on core {core}]")
                    }
                });
            }
        }
        Ok(lines)
    }

    /// The core is gone: pins all threads to the first of `allowed` that takes them.
    fn settle(&mut self, allowed: &[u64]) -> io::Result<()> {
        let mut refusal = io::Error::from_raw_os_error(libc::EINVAL);
        for core in allowed {
            let pin = |thread: &Thread| self.host.pin(thread.id, *core);
            match self.threads.iter().try_for_each(pin) {
                Ok(()) => {
                    self.core = *core;
                    return Ok(());
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// What to say at the end, if there were moves.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let (moves, core) = (self.moves, self.core);
        (moves > 0)
            .then(|| format!("moves of threads to other cores: {moves}; all are on core {core}"))
    }
}

impl Cores for HostCores {
    fn is_pinned(&self, thread: i32, core: u64) -> io::Result<bool> {
        sys::is_pinned_to(thread, core)
    }

    fn allowed(&self, thread: i32) -> io::Result<Vec<u64>> {
        sys::allowed_cores_of(thread)
    }

    fn pin(&self, thread: i32, core: u64) -> io::Result<()> {
        sys::pin_thread_to(thread, core)
    }
}

/// Cores as a list of ranges.
fn listed(cores: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *core => *last = *core,
            _ => ranges.push((*core, *core)),
        }
    }
    let range = |(first, last): &(u64, u64)| match first == last {
        true => format!("core {first}"),
        false => format!("cores {first} to {last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
