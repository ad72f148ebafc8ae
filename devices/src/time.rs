//! Time as devices see it: a value handed in by the machine.
//!
//! No device reads a clock. A machine brings its devices to a moment (`advance(now)`), so every
//! timer is testable to the nanosecond on the host, and a simulation may run at any speed.
//!
//! A machine has three clocks, each with its own type, so that their times cannot be mixed up:
//! the host's ([`Instant`]), its devices' ([`MachineTime`]), which may stop while
//! the guest waits, and the guest's ([`RunTime`]), which stops while it does not have the core.

use core::cmp::Ordering;
use core::fmt;
use core::marker::PhantomData;

/// A point in time by the clock `C`, in nanoseconds since the run began.
pub struct Time<C>(u64, PhantomData<C>);

/// The host's clock.
#[derive(Debug)]
pub enum HostClock {}

/// A machine's clock.
#[derive(Debug)]
pub enum MachineClock {}

/// The clock of a guest that has the core.
#[derive(Debug)]
pub enum RunClock {}

/// A point in the host's time.
pub type Instant = Time<HostClock>;

/// A point in a machine's time, which its devices use.
pub type MachineTime = Time<MachineClock>;

/// A point in the time that a guest has had the core.
pub type RunTime = Time<RunClock>;

impl<C> Time<C> {
    /// The moment the run began.
    pub const ZERO: Self = Self::from_ns(0);
    /// Later than every moment of every run (584 years).
    pub const FAR_FUTURE: Self = Self::from_ns(u64::MAX);

    /// The moment `ns` nanoseconds after the run began.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns, PhantomData)
    }

    /// Nanoseconds since the run began.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// This moment and `ns` nanoseconds more, at most [`Time::FAR_FUTURE`].
    #[must_use]
    pub const fn after_ns(self, ns: u64) -> Self {
        Self::from_ns(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this moment; 0 if `earlier` is in fact later.
    #[must_use]
    pub const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

// Not derived: that would demand these traits of the marker `C`.
impl<C> Clone for Time<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Time<C> {}

impl<C> Default for Time<C> {
    fn default() -> Self {
        Self::ZERO
    }
}

impl<C> PartialEq for Time<C> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<C> Eq for Time<C> {}

impl<C> PartialOrd for Time<C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<C> Ord for Time<C> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<C> fmt::Debug for Time<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.0)
    }
}
