//! The high precision event timer: a 64-bit counter at 10 MHz and three comparators.
//!
//! This file is the register map and the routing; `comparator.rs` is one timer as a function of
//! the counter. A level-triggered timer has a level ([`Hpet::line`]); an edge-triggered one gives
//! pulses, which no owner may miss by sampling late, so they are counted until the owner takes
//! them ([`Hpet::take_ticks`]).
//!
//! Source: IA-PC HPET Specification 1.0a, section 2.3.

mod comparator;
#[cfg(test)]
mod tests;

use crate::backlog::Ticks;
use crate::time::MachineTime;
use comparator::Comparator;

/// Number of comparators.
pub const TIMERS: usize = 3;
/// Length of a counter tick in nanoseconds.
pub const TICK_NS: u64 = 100;
/// Length of a counter tick in femtoseconds, as the capability register gives it. This is the
/// longest that the specification allows.
pub const PERIOD_FS: u64 = TICK_NS * 1_000_000;

const CAPABILITIES: u64 = 0x000;
const CONFIGURATION: u64 = 0x010;
const INTERRUPT_STATUS: u64 = 0x020;
const MAIN_COUNTER: u64 = 0x0F0;
const FIRST_TIMER: u64 = 0x100;
const TIMER_STRIDE: u64 = 0x20;
const TIMERS_END: u64 = FIRST_TIMER + TIMER_STRIDE * TIMERS as u64;

/// The capabilities register: vendor, legacy replacement, 64-bit counter, number of the last timer,
/// revision.
pub const CAPABILITIES_VALUE: u64 =
    (PERIOD_FS << 32) | (0x8086 << 16) | (1 << 15) | (1 << 13) | ((TIMERS as u64 - 1) << 8) | 1;

const ENABLE: u64 = 1 << 0;
const LEGACY_REPLACEMENT: u64 = 1 << 1;

/// I/O APIC pins of timers 0 and 1 in place of the PIT and the clock (legacy replacement). At the
/// 8259A pair these are IRQ0 and IRQ8.
const LEGACY_PINS: [u8; 2] = [2, 8];

/// The HPET of a PC.
#[derive(Clone, Debug)]
pub struct Hpet {
    configuration: u64,
    /// The main counter at `origin`; it runs from there while enabled.
    base_count: u64,
    origin: MachineTime,
    /// Ticks since `origin` that the comparators have seen.
    seen_ticks: u64,
    comparators: [Comparator; TIMERS],
}

impl Default for Hpet {
    fn default() -> Self {
        Self::new()
    }
}

impl Hpet {
    /// The HPET after reset: counter halted at 0, timers disabled and unrouted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            configuration: 0,
            base_count: 0,
            origin: MachineTime::ZERO,
            seen_ticks: 0,
            comparators: [Comparator::new(), Comparator::new(), Comparator::new()],
        }
    }

    /// Reads `size` bytes (1, 2, 4 or 8) at `offset` from the base, at `now`.
    ///
    /// The specification allows aligned 4- and 8-byte reads; smaller ones give the bytes they
    /// name. A read that is misaligned or of a register that does not exist gives 0.
    pub fn read(&mut self, offset: u64, size: u8, now: MachineTime) -> u64 {
        self.advance(now);
        match access_mask(offset, size) {
            Some(mask) => (self.read_register(offset & !7) & mask) >> byte_shift(offset),
            None => 0,
        }
    }

    /// Writes `size` bytes (4 or 8) at `offset`, at `now`; other writes are ignored.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, now: MachineTime) {
        self.advance(now);
        if let Some(mask) = access_mask(offset, size).filter(|_| size >= 4) {
            self.write_register(offset & !7, (value << byte_shift(offset)) & mask, mask, now);
        }
    }

    /// Where timer `timer` is connected and its level there.
    ///
    /// The pin is the I/O APIC's: 2 and 8 for timers 0 and 1 in legacy replacement, and then also
    /// [`Self::legacy_irq`] of the 8259A pair; otherwise the route the guest chose. `None` while
    /// the timer has no usable route or is disabled. The level is that of a level-triggered timer
    /// and always low for an edge-triggered one.
    #[must_use]
    pub fn line(&self, timer: usize) -> (Option<u8>, bool) {
        let Some(comparator) = self.comparators.get(timer) else { return (None, false) };
        if !self.is_enabled() || !comparator.is_interrupt_enabled() {
            return (None, false);
        }
        let legacy = LEGACY_PINS.get(timer).filter(|_| self.is_legacy_replacement());
        (legacy.copied().or(comparator.route()), comparator.level())
    }

    /// The interrupt line of the 8259A pair that `timer` drives: 0 and 8 for timers 0 and 1 in
    /// legacy replacement.
    #[must_use]
    pub fn legacy_irq(&self, timer: usize) -> Option<u8> {
        [0, 8].get(timer).copied().filter(|_| self.is_legacy_replacement())
    }

    /// Timers 0 and 1 replace the PIT's IRQ0 and the clock's IRQ8, whose own outputs the owner then
    /// disconnects (section 2.3.5, LEG_RT_CNF).
    #[must_use]
    pub const fn is_legacy_replacement(&self) -> bool {
        self.configuration & LEGACY_REPLACEMENT != 0
    }

    /// The pulses of each edge-triggered timer since the last call. The owner pulses
    /// [`Self::line`]'s pin once for each.
    pub fn take_ticks(&mut self) -> [Ticks; TIMERS] {
        self.comparators.each_mut().map(Comparator::take_ticks)
    }

    /// Brings the comparators to `now` in one step, whatever their periods.
    pub fn advance(&mut self, now: MachineTime) {
        if self.is_enabled() {
            let count = self.count();
            let ticks = (now.ns_since(self.origin) / TICK_NS).max(self.seen_ticks);
            for comparator in &mut self.comparators {
                comparator.advance(count, ticks - self.seen_ticks);
            }
            self.seen_ticks = ticks;
        }
    }

    /// When the next timer interrupts if the guest changes nothing. After `advance(now)` this is
    /// later than `now`.
    #[must_use]
    pub fn deadline(&self) -> Option<MachineTime> {
        if !self.is_enabled() {
            return None;
        }
        let count = self.count();
        let ticks = self.comparators.iter().filter_map(|timer| timer.ticks_to_interrupt(count));
        let total = u128::from(self.seen_ticks) + ticks.min()?;
        let ns = u128::from(self.origin.as_ns()) + total * u128::from(TICK_NS);
        Some(u64::try_from(ns).map_or(MachineTime::FAR_FUTURE, MachineTime::from_ns))
    }

    const fn is_enabled(&self) -> bool {
        self.configuration & ENABLE != 0
    }

    /// The main counter.
    const fn count(&self) -> u64 {
        self.base_count.wrapping_add(self.seen_ticks)
    }

    fn read_register(&self, offset: u64) -> u64 {
        match offset {
            CAPABILITIES => CAPABILITIES_VALUE,
            CONFIGURATION => self.configuration,
            INTERRUPT_STATUS => (0..TIMERS)
                .filter(|&timer| self.comparators[timer].status())
                .fold(0, |status, timer| status | 1 << timer),
            MAIN_COUNTER => self.count(),
            FIRST_TIMER..TIMERS_END => {
                let (timer, register) = timer_register(offset);
                self.comparators[timer].read(register)
            }
            _ => 0,
        }
    }

    /// Writes the bits of `mask`; `value` has no others.
    fn write_register(&mut self, offset: u64, value: u64, mask: u64, now: MachineTime) {
        match offset {
            CONFIGURATION => self.configure(value, mask, now),
            INTERRUPT_STATUS => {
                for timer in (0..TIMERS).filter(|&timer| value & (1 << timer) != 0) {
                    self.comparators[timer].clear_status();
                }
            }
            // Writing a running counter is undefined; here it continues from the new value.
            MAIN_COUNTER => self.set_count((self.count() & !mask) | value, now),
            FIRST_TIMER..TIMERS_END => {
                let (timer, register) = timer_register(offset);
                self.comparators[timer].write(register, value, mask);
            }
            _ => {}
        }
    }

    /// The general configuration register; stopping the counter keeps its value.
    fn configure(&mut self, value: u64, mask: u64, now: MachineTime) {
        let was_enabled = self.is_enabled();
        let written = (self.configuration & !mask) | value;
        self.configuration = written & (ENABLE | LEGACY_REPLACEMENT);
        if was_enabled != self.is_enabled() {
            self.set_count(self.count(), now);
        }
    }

    fn set_count(&mut self, count: u64, now: MachineTime) {
        self.base_count = count;
        self.seen_ticks = 0;
        self.origin = now;
    }
}

/// Timer number, and offset of the register within the timer's block.
fn timer_register(offset: u64) -> (usize, u64) {
    let from_first = offset - FIRST_TIMER;
    ((from_first / TIMER_STRIDE) as usize, from_first % TIMER_STRIDE)
}

/// The bits of the 8-byte register at `offset & !7` that an access covers; `None` if it is of
/// another size or not aligned to it.
fn access_mask(offset: u64, size: u8) -> Option<u64> {
    let bytes = match size {
        1 => 0xFF,
        2 => 0xFFFF,
        4 => 0xFFFF_FFFF,
        8 => u64::MAX,
        _ => return None,
    };
    offset.is_multiple_of(u64::from(size)).then(|| bytes << byte_shift(offset))
}

fn byte_shift(offset: u64) -> u32 {
    (offset & 7) as u32 * 8
}
