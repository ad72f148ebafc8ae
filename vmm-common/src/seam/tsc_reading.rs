//! A reading of a guest's time-stamp counter.

use crate::Instant;
use devices::lapic::TscClock;
use devices::time::MachineTime;

/// A guest's time-stamp counter at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscReading {
    /// Ticks a second, nominally; 0 if the host does not know.
    pub hz: u64,
    /// The counter's value.
    pub tsc: u64,
    /// When it had that value, by the host's clock.
    pub at: Instant,
}

impl TscReading {
    /// How the counter follows a machine's time, which was `at` when it was read.
    #[must_use]
    pub const fn course(&self, at: MachineTime) -> TscClock {
        let since_zero = TscClock { hz: self.hz, offset: 0 }.tsc_at(at);
        TscClock { hz: self.hz, offset: self.tsc.wrapping_sub(since_zero) }
    }
}
