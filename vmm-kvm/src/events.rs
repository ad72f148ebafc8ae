//! The host's events: keys, signals, the end of a wait. One epoll, polled between
//! turns and waited on while no VM can run; no thread of its own.

use crate::sys::{Signal, Signals, is_foreground};
use crate::uplinks::Awaited;
use anyhow::{Context, Result};
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use vmm_sys_util::timerfd::TimerFd;

/// Read at once.
const CHUNK_BYTES: usize = 4096;

/// The host's events.
pub struct HostEvents {
    manager: EventManager<Sources>,
    id: event_manager::SubscriberId,
}

impl std::fmt::Debug for HostEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostEvents").finish_non_exhaustive()
    }
}

/// Events since the last poll.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Bytes read from standard input.
    pub typed: Vec<u8>,
    /// Signals received, in order.
    pub signals: Vec<Signal>,
    /// What else ends a wait, and has something.
    pub ready: Vec<RawFd>,
}

#[derive(Debug)]
struct Sources {
    signals: Signals,
    timer: TimerFd,
    /// Standard input, until it ends.
    stdin: Option<File>,
    /// Epoll refuses regular files, which are always ready.
    is_stdin_always_ready: bool,
    is_stdin_wanted: bool,
    /// What else ends a wait.
    others: Vec<RawFd>,
    arrived: Arrived,
}

impl HostEvents {
    /// Events of signals, which are blocked from now on, and of standard input, if it is wanted.
    pub fn new(stdin: Option<File>) -> Result<Self> {
        let signals = Signals::block().context("signals as a file")?;
        let is_file = |stdin: &File| stdin.metadata().is_ok_and(|data| data.is_file());
        let is_stdin_always_ready = stdin.as_ref().is_some_and(is_file);
        let sources = Sources {
            signals,
            timer: TimerFd::new().context("a timer as a file")?,
            stdin,
            is_stdin_always_ready,
            is_stdin_wanted: true,
            others: Vec::new(),
            arrived: Arrived::default(),
        };
        let mut manager = EventManager::new().context("epoll")?;
        let id = manager.add_subscriber(sources);
        Ok(Self { manager, id })
    }

    /// What has arrived. Reads at most `space` keys; the rest waits in the terminal or pipe.
    pub fn look(&mut self, space: usize) -> Result<Arrived> {
        self.collect(space, 0)
    }

    /// Waits until something arrives or `wait_ns` pass; what has arrived.
    pub fn wait(&mut self, space: usize, wait_ns: u64) -> Result<Arrived> {
        let sources = self.sources()?;
        if sources.is_stdin_always_ready && sources.stdin.is_some() && space > 0 {
            return self.collect(space, 0);
        }
        if wait_ns == 0 {
            return self.collect(space, 0);
        }
        sources.timer.reset(Duration::from_nanos(wait_ns), None).context("arming a timer")?;
        let arrived = self.collect(space, -1);
        self.sources()?.timer.clear().context("disarming a timer")?;
        arrived
    }

    fn sources(&mut self) -> Result<&mut Sources> {
        self.manager.subscriber_mut(self.id).context("the sources were added for good")
    }

    fn collect(&mut self, space: usize, timeout_ms: i32) -> Result<Arrived> {
        self.want_stdin(space > 0)?;
        let sources = self.sources()?;
        if sources.is_stdin_always_ready && space > 0 && sources.read_stdin() {
            sources.stdin = None;
        }
        match self.manager.run_with_timeout(timeout_ms) {
            Ok(_) => {}
            Err(event_manager::Error::Epoll(error)) if error.errno() == libc::EINTR => {}
            Err(error) => return Err(error).context("epoll"),
        }
        Ok(std::mem::take(&mut self.sources()?.arrived))
    }
}

impl HostEvents {
    /// Level-triggered epoll reports keys until they are read: they are watched only while there is
    /// room for them.
    fn want_stdin(&mut self, is_wanted: bool) -> Result<()> {
        let sources = self.sources()?;
        let was_wanted = std::mem::replace(&mut sources.is_stdin_wanted, is_wanted);
        let (Some(stdin), false) = (&sources.stdin, sources.is_stdin_always_ready) else {
            return Ok(());
        };
        let stdin = Events::new_raw(stdin.as_raw_fd(), EventSet::IN);
        let mut ops = self.manager.event_ops(self.id).context("epoll")?;
        match (was_wanted, is_wanted) {
            (true, false) => ops.remove(stdin).context("epoll"),
            (false, true) => ops.add(stdin).context("epoll"),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

impl HostEvents {
    /// A wait for an uplink changes from `before` to `awaited`.
    pub fn await_uplink(&mut self, (fd, before, awaited): (RawFd, Awaited, Awaited)) -> Result<()> {
        let set = |Awaited { frames, room }| {
            let empty = EventSet::empty();
            let frames = if frames { EventSet::IN } else { empty };
            frames | if room { EventSet::OUT } else { empty }
        };
        let mut ops = self.manager.event_ops(self.id).context("epoll")?;
        let (is_none, was_none) = (set(awaited).is_empty(), set(before).is_empty());
        match (was_none, is_none) {
            (true, _) => ops.add(Events::new_raw(fd, set(awaited))).context("epoll")?,
            (false, false) => ops.modify(Events::new_raw(fd, set(awaited))).context("epoll")?,
            (false, true) => ops.remove(Events::new_raw(fd, set(before))).context("epoll")?,
        }
        let others = &mut self.sources()?.others;
        others.retain(|other| *other != fd);
        others.extend((!is_none).then_some(fd));
        Ok(())
    }

    /// A wait does not end by this any more.
    pub fn forget(&mut self, fd: RawFd) -> Result<()> {
        let mut ops = self.manager.event_ops(self.id).context("epoll")?;
        ops.remove(Events::new_raw(fd, EventSet::IN)).context("epoll")?;
        self.sources()?.others.retain(|other| *other != fd);
        Ok(())
    }

    /// A wait also ends while this is readable; whoever made it reads it.
    pub fn end_waits_by(&mut self, fd: RawFd) -> Result<()> {
        let mut ops = self.manager.event_ops(self.id).context("epoll")?;
        ops.add(Events::new_raw(fd, EventSet::IN)).context("epoll")?;
        self.sources()?.others.push(fd);
        Ok(())
    }
}

impl Sources {
    /// Reads once; true if standard input has ended.
    fn read_stdin(&mut self) -> bool {
        let Some(stdin) = &mut self.stdin else { return true };
        let mut chunk = [0; CHUNK_BYTES];
        match stdin.read(&mut chunk) {
            Ok(0) => true,
            Ok(len) => {
                self.arrived.typed.extend_from_slice(&chunk[..len]);
                false
            }
            Err(error) => {
                let is_passing =
                    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock);
                // So do keys typed while this process is in the background, which are the shell's.
                let is_shells = error.raw_os_error() == Some(libc::EIO)
                    && stdin.is_terminal()
                    && !is_foreground(stdin.as_raw_fd());
                // A closed terminal reads as an error: no more keys.
                !is_passing && !is_shells
            }
        }
    }

    fn read_signals(&mut self) {
        while let Some(signal) = self.signals.take() {
            self.arrived.signals.push(signal);
        }
    }
}

impl MutEventSubscriber for Sources {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        let fd = events.fd();
        if fd == self.signals.as_raw_fd() {
            self.read_signals();
        } else if fd == self.timer.as_raw_fd() {
            // Rearmed for each wait; reading it only clears its readiness.
            let _ = self.timer.wait();
        } else if self.others.contains(&fd) {
            // The wait is over; the descriptor's owner reads it.
            self.arrived.ready.push(fd);
        } else if self.read_stdin() {
            // Before the file is closed: epoll would go on reporting its duplicate.
            let removed = ops.remove(Events::new_raw(fd, EventSet::IN));
            debug_assert!(removed.is_ok(), "it was added");
            self.stdin = None;
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let mut fds = vec![self.signals.as_raw_fd(), self.timer.as_raw_fd()];
        if let (Some(stdin), false) = (&self.stdin, self.is_stdin_always_ready) {
            fds.push(stdin.as_raw_fd());
        }
        for fd in fds {
            // Standard input that epoll refuses (/dev/null) sends no events.
            if ops.add(Events::new_raw(fd, EventSet::IN)).is_err() {
                self.stdin = None;
            }
        }
    }
}
