//! The real-time clock and its CMOS memory: an MC146818 at ports 0x70 and 0x71.
//!
//! The time of day is a function of the time handed in, the start of the run in Unix time, and what
//! the guest set; no register ticks. `calendar.rs` turns seconds into dates and back, `alarm.rs`
//! finds the next alarm, `registers.rs` is the register file; this file has the ports, the three
//! interrupt sources and their deadlines.
//!
//! Source: Motorola MC146818A datasheet; register 0x32 and the memory sizes are PC convention
//! (IBM PC/AT Technical Reference, "CMOS RAM").

mod alarm;
mod calendar;
mod registers;
#[cfg(test)]
mod tests;

pub use registers::CENTURY;

use crate::backlog::Ticks;
use crate::time::MachineTime;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
/// Port 0x70 bit 7 masks NMI on a PC; this machine's NMI has no such gate.
const INDEX_MASK: u8 = 0x7F;
const CMOS_BYTES: usize = 128;

const NS_PER_SECOND: u64 = 1_000_000_000;
/// The divider chain's last stage: periodic interrupts are fractions of it.
const DIVIDER_HZ: u128 = 32_768;
/// After the divider is released the first update comes half a second later (datasheet,
/// "Divider control").
const FIRST_UPDATE_NS: u64 = NS_PER_SECOND / 2;
/// Update-in-progress warns this long before the update.
const UPDATE_WARNING_NS: u64 = 244_000;

/// Registers A to D.
const REGISTER_A: u8 = 0x0A;
const REGISTER_B: u8 = 0x0B;
const REGISTER_C: u8 = 0x0C;
const REGISTER_D: u8 = 0x0D;

const A_UPDATE_IN_PROGRESS: u8 = 1 << 7;
const A_DIVIDER: u8 = 0b111 << 4;
/// The highest divider setting that lets the clock run: 32,768 Hz.
const A_DIVIDER_RUNS: u8 = 0b010 << 4;
const A_RATE: u8 = 0x0F;
/// 32,768 Hz crystal, 1,024 Hz periodic rate: what firmware sets.
const A_RESET: u8 = 0x26;

const B_SET: u8 = 1 << 7;
const B_24_HOURS: u8 = 1 << 1;
const B_BINARY: u8 = 1 << 2;

const C_INTERRUPT: u8 = 1 << 7;
/// Flags in register C; the same bits of register B enable their interrupts.
const PERIODIC: u8 = 1 << 6;
const ALARM: u8 = 1 << 5;
const UPDATE: u8 = 1 << 4;
const SOURCES: u8 = PERIODIC | ALARM | UPDATE;

/// Register D: the battery is good.
const D_VALID: u8 = 1 << 7;

/// A machine's memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySizes {
    /// From address 0.
    pub below_4_gib: u64,
    /// From 4 GiB on.
    pub above_4_gib: u64,
}

/// The real-time clock of a PC.
#[derive(Clone, Debug)]
pub struct Rtc {
    index: u8,
    /// Plain memory, alarm bytes included; the time and registers A to D are kept apart.
    cmos: [u8; CMOS_BYTES],
    a: u8,
    b: u8,
    flags: u8,
    /// Periods with their interrupt enabled that the owner has not taken.
    periods: u64,
    /// The guest has changed the rate, or enabled or disabled the interrupt, since then.
    is_reprogrammed: bool,
    /// Unix time at divider time 0, in seconds; negative for a guest that lives before 1970.
    base_seconds: i64,
    /// Added to the time handed in, this is the time since the divider's origin.
    divider_offset_ns: u64,
    /// Added to the day of the week that the date has.
    weekday_offset: u8,
    /// The time of day while the guest holds it (register B, SET) or the divider is held.
    held: Option<calendar::DateTime>,
    /// Divider time up to which the flags are right.
    seen_ns: u64,
}

impl Rtc {
    /// A clock that shows Unix time `epoch_seconds` at [`MachineTime::ZERO`] (at most the end of
    /// year 9999), in BCD and 24-hour mode, in a machine with so much `memory`.
    #[must_use]
    pub fn new(epoch_seconds: u64, memory: MemorySizes) -> Self {
        Self {
            index: 0,
            cmos: registers::firmware_memory(memory),
            a: A_RESET,
            b: B_24_HOURS,
            flags: 0,
            periods: 0,
            is_reprogrammed: false,
            base_seconds: epoch_seconds.min(calendar::END_OF_9999) as i64,
            divider_offset_ns: 0,
            weekday_offset: 0,
            held: None,
            seen_ns: 0,
        }
    }

    /// Reads port 0x71 at `now`; port 0x70 is write-only and, like any other port, reads all ones.
    pub fn read(&mut self, port: u16, now: MachineTime) -> u8 {
        self.advance(now);
        match port {
            DATA => self.read_register(self.index),
            _ => 0xFF,
        }
    }

    /// Writes port 0x70 or 0x71 at `now`; a write to any other port is ignored.
    pub fn write(&mut self, port: u16, value: u8, now: MachineTime) {
        self.advance(now);
        match port {
            INDEX => self.index = value & INDEX_MASK,
            DATA => self.write_register(self.index, value, now),
            _ => {}
        }
    }

    /// The level of IRQ8: an enabled source has its flag set. Reading register C lowers it.
    #[must_use]
    pub const fn pin(&self) -> bool {
        self.flags & self.b & SOURCES != 0
    }

    /// Brings the flags to `now` in one step. Periods whose interrupt is enabled are counted until
    /// the owner takes them: on the chip those that pass before register C is read share one flag.
    pub fn advance(&mut self, now: MachineTime) {
        let before = self.seen_ns;
        let after = self.divider_ns(now).max(before);
        self.seen_ns = after;
        if !self.is_divider_running() {
            return;
        }
        let periods = self
            .periodic_ticks()
            .map_or(0, |period| divider_ticks(after) / period - divider_ticks(before) / period);
        self.add_periods(u64::try_from(periods).unwrap_or(u64::MAX));
        if self.held.is_none() && after / NS_PER_SECOND != before / NS_PER_SECOND {
            self.flags |= UPDATE;
            let is_reached = |at_ns: u128| at_ns <= u128::from(after);
            if self.next_alarm_ns(before).is_some_and(is_reached) {
                self.flags |= ALARM;
            }
        }
    }

    /// When the pin next rises if the guest changes nothing; `None` if no source is enabled, or the
    /// pin is high already and waits for the guest. After `advance(now)` this is later than `now`.
    #[must_use]
    pub fn deadline(&self) -> Option<MachineTime> {
        if self.pin() || !self.is_divider_running() {
            return None;
        }
        let runs = self.held.is_none();
        let periodic = self.periodic_ticks().filter(|_| self.b & PERIODIC != 0).map(|period| {
            let tick = (divider_ticks(self.seen_ns) / period + 1) * period;
            (tick * u128::from(NS_PER_SECOND)).div_ceil(DIVIDER_HZ)
        });
        let update = (runs && self.b & UPDATE != 0)
            .then(|| u128::from(self.seen_ns / NS_PER_SECOND + 1) * u128::from(NS_PER_SECOND));
        let alarm =
            if runs && self.b & ALARM != 0 { self.next_alarm_ns(self.seen_ns) } else { None };
        let divider_ns = [periodic, update, alarm].into_iter().flatten().min()?;
        let ns = divider_ns - u128::from(self.divider_offset_ns);
        Some(u64::try_from(ns).map_or(MachineTime::FAR_FUTURE, MachineTime::from_ns))
    }

    /// The periods with their interrupt enabled since the last call: the owner calls
    /// [`Self::show_period`] once for each.
    pub fn take_ticks(&mut self) -> Ticks {
        let count = core::mem::take(&mut self.periods);
        // At most 2^15 ticks of the divider.
        let period = self.periodic_ticks().filter(|_| count > 0).unwrap_or(0) as u64;
        Ticks {
            count,
            period_ns: period * NS_PER_SECOND / DIVIDER_HZ as u64,
            is_reprogrammed: core::mem::take(&mut self.is_reprogrammed),
        }
    }

    /// The guest has read register C since the last period was shown there.
    #[must_use]
    pub const fn is_period_read(&self) -> bool {
        self.flags & PERIODIC == 0
    }

    /// Shows a period in register C, which raises the pin if its interrupt is enabled.
    pub const fn show_period(&mut self) {
        self.flags |= PERIODIC;
    }

    fn add_periods(&mut self, periods: u64) {
        if self.b & PERIODIC != 0 {
            self.periods = self.periods.saturating_add(periods);
        } else if periods > 0 {
            self.show_period();
        }
    }

    const fn reprogrammed(&mut self) {
        self.periods = 0;
        self.is_reprogrammed = true;
    }

    /// Time since the divider's origin.
    const fn divider_ns(&self, now: MachineTime) -> u64 {
        now.as_ns().saturating_add(self.divider_offset_ns)
    }

    const fn is_divider_running(&self) -> bool {
        self.a & A_DIVIDER <= A_DIVIDER_RUNS
    }

    /// Unix time that the running clock shows.
    fn unix_seconds(&self) -> i64 {
        self.base_seconds.saturating_add((self.seen_ns / NS_PER_SECOND) as i64)
    }

    /// Divider time of the first alarm after `after_ns`.
    fn next_alarm_ns(&self, after_ns: u64) -> Option<u128> {
        let seconds = after_ns / NS_PER_SECOND;
        let shown = self.base_seconds.saturating_add(seconds as i64);
        let wait = alarm::seconds_to(self.alarm_pattern(), calendar::second_of_day(shown))?;
        Some((u128::from(seconds) + u128::from(wait)) * u128::from(NS_PER_SECOND))
    }

    /// Ticks of 32,768 Hz between periodic interrupts (datasheet, table 5); rates 1 and 2 repeat
    /// 8 and 9.
    fn periodic_ticks(&self) -> Option<u128> {
        match self.a & A_RATE {
            0 => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }
}

/// Ticks of the divider's last stage in `ns`.
fn divider_ticks(ns: u64) -> u128 {
    u128::from(ns) * DIVIDER_HZ / u128::from(NS_PER_SECOND)
}
