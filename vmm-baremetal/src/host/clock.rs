//! The clock: the processor's time-stamp counter. Its rate is measured by [`super::calibration`].

use metal::cpu;
use vmm_common::Instant;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The time since the start, from the time-stamp counter.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    hz: u64,
    /// Nanoseconds a tick, and ticks a nanosecond, times 2^32.
    ns_per_tick: u64,
    ticks_per_ns: u64,
}

impl Clock {
    /// A clock that starts at the counter's value `start` and runs at `hz`.
    #[must_use]
    pub const fn new(start: u64, hz: u64) -> Self {
        Self {
            start,
            hz,
            ns_per_tick: (((NS_PER_SECOND as u128) << 32) / hz as u128) as u64,
            ticks_per_ns: (((hz as u128) << 32) / NS_PER_SECOND as u128) as u64,
        }
    }

    /// Ticks of the counter a second.
    #[must_use]
    pub const fn hz(&self) -> u64 {
        self.hz
    }

    /// The counter's value at [`Instant::ZERO`].
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The time now.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Instant {
        // The counter was at its start before.
        self.after_ticks(cpu::tsc().wrapping_sub(self.start))
    }

    /// The moment at which the counter had this value.
    #[must_use]
    #[inline]
    pub const fn instant_of(&self, tsc: u64) -> Instant {
        self.after_ticks(tsc.saturating_sub(self.start))
    }

    const fn after_ticks(&self, ticks: u64) -> Instant {
        Instant::from_ns(((ticks as u128 * self.ns_per_tick as u128) >> 32) as u64)
    }

    /// The counter's value at that moment; the largest there is if it is out of reach.
    #[must_use]
    #[inline]
    pub const fn tsc_of(&self, at: Instant) -> u64 {
        let ticks = (at.as_ns() as u128 * self.ticks_per_ns as u128) >> 32;
        if ticks >> 64 == 0 { self.start.saturating_add(ticks as u64) } else { u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_counter_agree_for_years() {
        for hz in [100_000_000, 1_000_000_000, 3_512_345_678] {
            let clock = Clock::new(12345, hz);
            for ns in [0, 1, 999, 5_000_000, 3_600_000_000_000, 86_400_000_000_000 * 365] {
                let back = clock.instant_of(clock.tsc_of(Instant::from_ns(ns))).as_ns();
                // One tick, and what the scale of 2^-32 loses.
                let allowed = 1_000_000_000 / hz + 2 + ns / 100_000_000;
                assert!(back.abs_diff(ns) <= allowed, "{hz} {ns} {back}");
            }
            assert!(clock.tsc_of(Instant::FAR_FUTURE) > 1 << 60);
        }
    }
}
