//! The one clock of all times.

use std::mem::MaybeUninit;
use vmm_common::Instant;

/// CLOCK_MONOTONIC, counted from the moment the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub(super) origin_ns: u64,
}

impl Clock {
    /// A clock that shows zero now.
    pub fn start() -> Self {
        Self { origin_ns: monotonic_ns() }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        Instant::from_ns(monotonic_ns() - self.origin_ns)
    }
}

/// Time in which this process, all its threads together, had a core, ns: guests' code, too, but
/// nothing that the host stole from it.
pub fn process_cpu_ns() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    let result = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    assert_eq!(result, 0, "every Linux has the clocks that are read here");
    // SAFETY: the call succeeded, so it has written the whole timespec.
    let time = unsafe { time.assume_init() };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
