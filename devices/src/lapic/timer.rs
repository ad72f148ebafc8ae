//! The local APIC timer: one-shot, periodic and TSC-deadline (SDM, "APIC Timer").
//!
//! The state is the moment of the next expiry; the current count is derived from it. So nothing
//! ticks, a period of one nanosecond costs no more than one of a second, and the divider may change
//! in the middle of a count.

use crate::backlog::Ticks;
use crate::time::MachineTime;

/// Frequency of the timer's input clock, before the divider.
pub const TIMER_HZ: u64 = NS_PER_SECOND;

const NS_PER_SECOND: u64 = 1_000_000_000;
/// One input clock is one nanosecond, which the arithmetic below relies on.
const _: () = assert!(TIMER_HZ == NS_PER_SECOND);

/// How the guest's time-stamp counter follows the time handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscClock {
    /// Ticks a second; 0 for a stopped counter.
    pub hz: u64,
    /// Value at [`MachineTime::ZERO`], in two's complement: a counter that a guest set back to 0
    /// late in the run has a negative one.
    pub offset: u64,
}

impl TscClock {
    /// The counter's value at `now`, modulo 2^64.
    #[must_use]
    pub const fn tsc_at(&self, now: MachineTime) -> u64 {
        self.offset.wrapping_add(Self::ticks(self.hz, now.as_ns()))
    }

    /// How far a counter of `hz` falls back that is held back by `before_ns` in total, and then by
    /// `after_ns`. Counters that get there in different steps stay equal: no step is rounded.
    #[must_use]
    pub const fn fall(hz: u64, before_ns: u64, after_ns: u64) -> u64 {
        Self::ticks(hz, after_ns).wrapping_sub(Self::ticks(hz, before_ns))
    }

    const fn ticks(hz: u64, ns: u64) -> u64 {
        (ns as u128 * hz as u128 / NS_PER_SECOND as u128) as u64
    }

    /// The first moment at which the counter has reached `tsc`: [`MachineTime::ZERO`] if it is
    /// past, [`MachineTime::FAR_FUTURE`] if it is out of reach.
    #[must_use]
    pub fn instant_of(&self, tsc: u64) -> MachineTime {
        let ticks = i128::from(tsc) - i128::from(self.offset.cast_signed());
        let Ok(ticks) = u128::try_from(ticks) else { return MachineTime::ZERO };
        match self.hz {
            0 if ticks == 0 => MachineTime::ZERO,
            0 => MachineTime::FAR_FUTURE,
            hz => {
                // At most 2^65 * 10^9, far from 2^128.
                let ns = (ticks * u128::from(NS_PER_SECOND)).div_ceil(u128::from(hz));
                u64::try_from(ns).map_or(MachineTime::FAR_FUTURE, MachineTime::from_ns)
            }
        }
    }
}

/// LVT timer register bits 18-17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
}

/// The counting half of the timer, without its LVT entry.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    tsc: TscClock,
    mode: Mode,
    initial_count: u32,
    /// The divide configuration register as written: bits 3, 1 and 0.
    divide: u32,
    /// IA32_TSC_DEADLINE; 0 is disarmed.
    tsc_deadline: u64,
    expiry: Option<MachineTime>,
    /// Expiries of the periodic mode that the owner has not taken.
    periods: u64,
    /// The guest has programmed the timer since then.
    is_reprogrammed: bool,
}

impl Timer {
    pub(super) const fn new(tsc: TscClock) -> Self {
        Self {
            tsc,
            mode: Mode::OneShot,
            initial_count: 0,
            divide: 0,
            tsc_deadline: 0,
            expiry: None,
            periods: 0,
            is_reprogrammed: false,
        }
    }

    /// The state after the APIC was disabled in hardware; the TSC stays.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.tsc);
        self.reprogrammed();
    }

    /// Brings the timer to `now`; true if it expired for good. Expiries of the periodic mode are
    /// counted until the owner takes them.
    pub(super) fn advance(&mut self, now: MachineTime) -> bool {
        let Some(expiry) = self.expiry.filter(|&expiry| expiry <= now) else { return false };
        match self.mode {
            Mode::OneShot => {
                self.expiry = None;
                true
            }
            Mode::TscDeadline => {
                self.expiry = None;
                self.tsc_deadline = 0;
                true
            }
            Mode::Periodic => {
                let period_ns = self.period_ns().max(1);
                let expiries = 1 + now.ns_since(expiry) / period_ns;
                self.expiry = Some(expiry.after_ns(expiries.saturating_mul(period_ns)));
                self.periods = self.periods.saturating_add(expiries);
                false
            }
        }
    }

    pub(super) const fn expiry(&self) -> Option<MachineTime> {
        self.expiry
    }

    pub(super) fn take_ticks(&mut self) -> Ticks {
        Ticks {
            count: core::mem::take(&mut self.periods),
            period_ns: self.period_ns(),
            is_reprogrammed: core::mem::take(&mut self.is_reprogrammed),
        }
    }

    const fn reprogrammed(&mut self) {
        self.periods = 0;
        self.is_reprogrammed = true;
    }

    /// Changes the mode. One-shot and periodic share a running count; entering or leaving
    /// TSC-deadline mode disarms (SDM, "TSC-Deadline Mode").
    pub(super) fn set_mode(&mut self, mode: Mode) {
        let is_deadline_change = (mode == Mode::TscDeadline) != (self.mode == Mode::TscDeadline);
        if is_deadline_change {
            self.expiry = None;
            self.tsc_deadline = 0;
            self.initial_count = 0;
        }
        if mode != self.mode {
            self.reprogrammed();
        }
        self.mode = mode;
    }

    pub(super) const fn initial_count(&self) -> u32 {
        self.initial_count
    }

    /// Starts counting down from `count`; 0 stops. Ignored in TSC-deadline mode.
    pub(super) fn set_initial_count(&mut self, count: u32, now: MachineTime) {
        if self.mode != Mode::TscDeadline {
            self.initial_count = count;
            self.reprogrammed();
            self.expiry = (count != 0).then(|| now.after_ns(self.period_ns()));
        }
    }

    /// The current count at `now`, to which the timer has been advanced; 0 in TSC-deadline mode.
    pub(super) fn current_count(&self, now: MachineTime) -> u32 {
        match (self.mode, self.expiry) {
            (Mode::OneShot | Mode::Periodic, Some(expiry)) => {
                expiry.ns_since(now).div_ceil(self.divisor()) as u32
            }
            (Mode::TscDeadline, _) | (_, None) => 0,
        }
    }

    pub(super) const fn divide(&self) -> u32 {
        self.divide
    }

    /// Changes the divider; a running count keeps its value and continues at the new rate.
    pub(super) fn set_divide(&mut self, value: u32, now: MachineTime) {
        let count = u64::from(self.current_count(now));
        self.divide = value & 0b1011;
        if count != 0 {
            self.expiry = Some(now.after_ns(count * self.divisor()));
        }
    }

    pub(super) const fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// Arms the deadline, or disarms it with 0; ignored in the other modes.
    pub(super) fn set_tsc_deadline(&mut self, tsc: u64) {
        if self.mode == Mode::TscDeadline {
            self.tsc_deadline = tsc;
            self.reprogrammed();
            self.expiry = (tsc != 0).then(|| self.tsc.instant_of(tsc));
        }
    }

    pub(super) fn set_tsc_clock(&mut self, tsc: TscClock) {
        self.tsc = tsc;
        self.set_tsc_deadline(self.tsc_deadline);
    }

    fn period_ns(&self) -> u64 {
        u64::from(self.initial_count) * self.divisor()
    }

    /// Input clocks a count: the register's three bits are log2 less one, and 7 divides by 1.
    fn divisor(&self) -> u64 {
        let power = ((self.divide >> 1) & 0b100) | (self.divide & 0b011);
        1 << ((power + 1) & 7)
    }
}
