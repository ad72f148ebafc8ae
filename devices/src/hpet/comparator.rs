//! One timer of the HPET: its configuration, comparator and period, as functions of the main
//! counter (section 2.3.8 to 2.3.10).
//!
//! A match is the main counter *counting to* the comparator's value. A comparator written with a
//! value that the counter has passed therefore matches after a wrap, as the specification says, and
//! guests that may be late read the counter back.

use super::TICK_NS;
use crate::backlog::Ticks;

const CONFIGURATION: u64 = 0x00;
const COMPARATOR: u64 = 0x08;

const LEVEL_TRIGGERED: u64 = 1 << 1;
const INTERRUPT_ENABLE: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const PERIODIC_CAPABLE: u64 = 1 << 4;
const SIZE_64_CAPABLE: u64 = 1 << 5;
/// The next write of the comparator sets the comparator itself, not only the period.
const VALUE_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;
const ROUTE_SHIFT: u32 = 9;
const ROUTE: u64 = 0x1F << ROUTE_SHIFT;
const WRITABLE: u64 = LEVEL_TRIGGERED | INTERRUPT_ENABLE | PERIODIC | VALUE_SET | MODE_32 | ROUTE;

/// I/O APIC pins a timer may drive: those of the PIT and the clock, and the eight without an ISA
/// interrupt.
const ROUTES: u64 = (1 << 2) | (1 << 8) | (0xFF << 16);

/// One timer.
#[derive(Clone, Debug)]
pub(super) struct Comparator {
    configuration: u64,
    comparator: u64,
    /// What was last written to the comparator: the period of a periodic timer.
    period: u64,
    status: bool,
    pulses: u64,
    /// The guest has programmed the timer since the pulses were last taken.
    is_reprogrammed: bool,
}

impl Comparator {
    pub(super) const fn new() -> Self {
        Self {
            configuration: 0,
            comparator: u64::MAX,
            period: 0,
            status: false,
            pulses: 0,
            is_reprogrammed: false,
        }
    }

    /// The main counter went from `from` up by `ticks`: interrupts for the matches on the way, and
    /// a periodic comparator moves on.
    pub(super) fn advance(&mut self, from: u64, ticks: u64) {
        let first = self.ticks_to_match(from);
        let Some(after_first) = u128::from(ticks).checked_sub(first) else { return };
        let matches = 1 + after_first / self.ticks_between_matches();
        if self.has(PERIODIC) {
            let moved = self.period.wrapping_mul(matches as u64);
            self.comparator = self.comparator.wrapping_add(moved) & self.size_mask();
        }
        if self.has(INTERRUPT_ENABLE) {
            if self.has(LEVEL_TRIGGERED) {
                self.status = true;
            } else {
                self.pulses = self.pulses.saturating_add(matches as u64);
            }
        }
    }

    /// Ticks from counter value `from` to the next match that interrupts.
    pub(super) fn ticks_to_interrupt(&self, from: u64) -> Option<u128> {
        let is_due = self.has(INTERRUPT_ENABLE) && !self.status;
        is_due.then(|| self.ticks_to_match(from))
    }

    pub(super) fn is_interrupt_enabled(&self) -> bool {
        self.has(INTERRUPT_ENABLE)
    }

    /// The I/O APIC pin chosen by the guest, if the timer can drive it.
    pub(super) fn route(&self) -> Option<u8> {
        let pin = (self.configuration & ROUTE) >> ROUTE_SHIFT;
        (ROUTES & (1 << pin) != 0).then_some(pin as u8)
    }

    /// The level of a level-triggered timer's pin.
    pub(super) fn level(&self) -> bool {
        self.status && self.has(LEVEL_TRIGGERED) && self.has(INTERRUPT_ENABLE)
    }

    pub(super) const fn status(&self) -> bool {
        self.status
    }

    pub(super) fn clear_status(&mut self) {
        self.status = false;
    }

    pub(super) fn take_ticks(&mut self) -> Ticks {
        let period = if self.has(PERIODIC) { self.period } else { 0 };
        Ticks {
            count: core::mem::take(&mut self.pulses),
            period_ns: period.saturating_mul(TICK_NS),
            is_reprogrammed: core::mem::take(&mut self.is_reprogrammed),
        }
    }

    pub(super) fn read(&self, register: u64) -> u64 {
        match register {
            CONFIGURATION => {
                (ROUTES << 32) | self.configuration | PERIODIC_CAPABLE | SIZE_64_CAPABLE
            }
            COMPARATOR => self.comparator,
            // No FSB (MSI) delivery.
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, register: u64, value: u64, mask: u64) {
        match register {
            CONFIGURATION => self.configure(((self.configuration & !mask) | value) & WRITABLE),
            COMPARATOR => self.write_comparator(value, mask),
            _ => {}
        }
    }

    /// A route the timer does not have is ignored: the field keeps its value
    /// (section 2.3.8, Tn_INT_ROUTE_CNF).
    fn configure(&mut self, written: u64) {
        const PROGRAM: u64 = LEVEL_TRIGGERED | INTERRUPT_ENABLE | PERIODIC;
        if (written ^ self.configuration) & PROGRAM != 0 {
            self.reprogrammed();
        }
        let pin = (written & ROUTE) >> ROUTE_SHIFT;
        let route = if ROUTES & (1 << pin) != 0 { written } else { self.configuration } & ROUTE;
        self.configuration = (written & !ROUTE) | route;
        self.comparator &= self.size_mask();
        self.period &= self.size_mask();
        // The status is that of a level-triggered interrupt only.
        self.status &= self.has(LEVEL_TRIGGERED);
    }

    /// The comparator of a one-shot timer; of a periodic one the period and, after VALUE_SET, the
    /// comparator too (section 2.3.9.2.2).
    fn write_comparator(&mut self, value: u64, mask: u64) {
        self.reprogrammed();
        if !self.has(PERIODIC) || self.has(VALUE_SET) {
            self.comparator = ((self.comparator & !mask) | value) & self.size_mask();
        }
        self.period = ((self.period & !mask) | value) & self.size_mask();
        self.configuration &= !VALUE_SET;
    }

    const fn reprogrammed(&mut self) {
        self.pulses = 0;
        self.is_reprogrammed = true;
    }

    /// Ticks from counter value `from` until it counts to the comparator: 1 to a whole turn.
    fn ticks_to_match(&self, from: u64) -> u128 {
        let ticks = self.comparator.wrapping_sub(from).wrapping_sub(1) & self.size_mask();
        u128::from(ticks) + 1
    }

    /// A periodic timer matches once a period, any other once a turn of the counter.
    fn ticks_between_matches(&self) -> u128 {
        match self.period {
            period @ 1.. if self.has(PERIODIC) => u128::from(period),
            _ => u128::from(self.size_mask()) + 1,
        }
    }

    const fn size_mask(&self) -> u64 {
        if self.configuration & MODE_32 != 0 { 0xFFFF_FFFF } else { u64::MAX }
    }

    const fn has(&self, bit: u64) -> bool {
        self.configuration & bit != 0
    }
}
