//! Time as devices see it: a value that somebody hands in.
//!
//! No device reads a clock. A machine tells its devices what time it is (`advance(now)`), so every
//! timer is testable to the nanosecond on the host, and a simulation may run at any speed.

/// A point in time, in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment the run began.
    pub const ZERO: Instant = Instant(0);
    /// Later than every moment of every run (584 years).
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// The moment `ns` nanoseconds after the run began.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the run began.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// This moment and `ns` nanoseconds more, at most [`Instant::FAR_FUTURE`].
    #[must_use]
    pub const fn after_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this moment; 0 if `earlier` is in fact later.
    #[must_use]
    pub const fn ns_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
