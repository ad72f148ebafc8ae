//! The clock: the processor's time-stamp counter, its rate measured against the 8254.

use metal::cpu;
use metal::port::Port;
use vmm_common::Instant;

/// Rate of the 8254, Hz.
const PIT_HZ: u64 = 1_193_182;
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
        self.instant_of(cpu::tsc())
    }

    /// The moment at which the counter had this value.
    #[must_use]
    #[inline]
    pub const fn instant_of(&self, tsc: u64) -> Instant {
        let ticks = tsc.saturating_sub(self.start);
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

/// The three counters at one moment.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    other: u32,
    pit: u16,
    /// How long the reading took: its uncertainty.
    took: u64,
}

/// Counts while channel 2 of the 8254 counts down for some 50 ms: ticks a second of the time-stamp
/// counter, and of `other`, which counts down.
#[must_use]
pub fn measure(other: impl Fn() -> u32) -> (u64, u64) {
    /// The 8254 is read when it has come down to this.
    const LATE: u16 = 0x1800;
    /// An emulated machine may be stopped for longer than the 8254 counts.
    const TRIES: usize = 8;
    let mut rates = (0, 0);
    for _ in 0..TRIES {
        start_channel_2();
        let first = sample(&other);
        while read_channel_2() > LATE && !is_over() {}
        let last = sample(&other);
        let ticks = u64::from(first.pit.wrapping_sub(last.pit)).max(1);
        let hz = |counted: u64| counted * PIT_HZ / ticks;
        let others = first.other.wrapping_sub(last.other);
        rates = (hz(last.tsc - first.tsc), hz(others.into()));
        if !is_over() {
            break;
        }
    }
    rates
}

/// The best of a few: the one that took least.
fn sample(other: &impl Fn() -> u32) -> Sample {
    const TRIES: usize = 16;
    let one = |_| {
        let before = cpu::tsc();
        let (other, pit) = (other(), read_channel_2());
        let took = cpu::tsc() - before;
        Sample { tsc: before + took / 2, other, pit, took }
    };
    (0..TRIES).map(one).min_by_key(|sample| sample.took).expect("there is more than one try")
}

const GATE: Port = Port::new(0x61);
const CONTROL: Port = Port::new(0x43);
const CHANNEL_2: Port = Port::new(0x42);

/// Speaker off, gate low; then mode 0, low and high byte, all ones; then gate high starts the
/// count.
fn start_channel_2() {
    let gate = GATE.read() & !3;
    GATE.write(gate);
    CONTROL.write(0xb0);
    CHANNEL_2.write(0xff);
    CHANNEL_2.write(0xff);
    GATE.write(gate | 1);
}

/// The count, latched.
fn read_channel_2() -> u16 {
    CONTROL.write(0x80);
    let low = CHANNEL_2.read();
    u16::from_le_bytes([low, CHANNEL_2.read()])
}

/// The count has ended, and wraps to the top.
fn is_over() -> bool {
    GATE.read() & 0x20 != 0
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
