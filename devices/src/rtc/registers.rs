//! The clock's register file: time in BCD or binary, 12 or 24 hours; control registers; memory.

use super::calendar::DateTime;
use super::{
    A_DIVIDER, A_RATE, A_UPDATE_IN_PROGRESS, B_24_HOURS, B_BINARY, B_SET, C_INTERRUPT, CMOS_BYTES,
    D_VALID, FIRST_UPDATE_NS, MemorySizes, NS_PER_SECOND, PERIODIC, REGISTER_A, REGISTER_B,
    REGISTER_C, REGISTER_D, Rtc, UPDATE, UPDATE_WARNING_NS, alarm,
};
use crate::time::MachineTime;

const SECOND: u8 = 0x00;
const SECOND_ALARM: u8 = 0x01;
const MINUTE: u8 = 0x02;
const MINUTE_ALARM: u8 = 0x03;
const HOUR: u8 = 0x04;
const HOUR_ALARM: u8 = 0x05;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
/// The register that holds the century.
pub const CENTURY: u8 = 0x32;

/// Hours in 12-hour mode: afternoon.
const AFTERNOON: u8 = 1 << 7;
/// An alarm byte with both top bits set matches every value.
const ALARM_EVERY: u8 = 0b11 << 6;

const EQUIPMENT: usize = 0x14;
const EQUIPMENT_FPU: u8 = 1 << 1;
const BASE_MEMORY_KIB: usize = 0x15;
const EXTENDED_MEMORY_KIB: usize = 0x17;
const EXTENDED_MEMORY_KIB_COPY: usize = 0x30;
const HIGH_MEMORY_64_KIB: usize = 0x34;
/// Three bytes.
const ABOVE_4_GIB_64_KIB: usize = 0x5B;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What firmware leaves in the memory of a machine: base memory up to 640 KiB, memory above 1 MiB
/// in KiB, memory above 16 MiB in units of 64 KiB, each at most 65,535; memory from 4 GiB on in
/// units of 64 KiB, where QEMU's machines put it for their firmware.
pub(super) fn firmware_memory(memory: MemorySizes) -> [u8; CMOS_BYTES] {
    let MemorySizes { below_4_gib, above_4_gib } = memory;
    let mut cmos = [0; CMOS_BYTES];
    let mut put = |index: usize, amount: u64| {
        let word = u16::try_from(amount).unwrap_or(u16::MAX).to_le_bytes();
        cmos[index..index + 2].copy_from_slice(&word);
    };
    put(BASE_MEMORY_KIB, (below_4_gib / KIB).min(640));
    put(EXTENDED_MEMORY_KIB, below_4_gib.saturating_sub(MIB) / KIB);
    put(EXTENDED_MEMORY_KIB_COPY, below_4_gib.saturating_sub(MIB) / KIB);
    put(HIGH_MEMORY_64_KIB, below_4_gib.saturating_sub(16 * MIB) / (64 * KIB));
    let above = (above_4_gib / (64 * KIB)).min(0xFF_FFFF).to_le_bytes();
    cmos[ABOVE_4_GIB_64_KIB..ABOVE_4_GIB_64_KIB + 3].copy_from_slice(&above[..3]);
    cmos[EQUIPMENT] = EQUIPMENT_FPU;
    cmos
}

impl Rtc {
    /// Conventional memory ends at `kib`, at most 640: the extended
    /// BIOS data area begins there.
    pub fn set_base_memory_kib(&mut self, kib: u16) {
        self.cmos[BASE_MEMORY_KIB..BASE_MEMORY_KIB + 2].copy_from_slice(&kib.to_le_bytes());
    }

    pub(super) fn read_register(&mut self, index: u8) -> u8 {
        let time = self.shown();
        match index {
            SECOND => self.encode(time.second),
            MINUTE => self.encode(time.minute),
            HOUR => self.encode_hour(time.hour),
            WEEKDAY => self.encode(time.weekday),
            DAY => self.encode(time.day),
            MONTH => self.encode(time.month),
            YEAR => self.encode(time.year),
            CENTURY => self.encode(time.century),
            REGISTER_A => self.a | if self.is_updating() { A_UPDATE_IN_PROGRESS } else { 0 },
            REGISTER_B => self.b,
            REGISTER_C => {
                let interrupt = if self.pin() { C_INTERRUPT } else { 0 };
                core::mem::take(&mut self.flags) | interrupt
            }
            REGISTER_D => D_VALID,
            _ => self.cmos[usize::from(index) % CMOS_BYTES],
        }
    }

    pub(super) fn write_register(&mut self, index: u8, value: u8, now: MachineTime) {
        match index {
            SECOND | MINUTE | HOUR | WEEKDAY | DAY | MONTH | YEAR | CENTURY => {
                self.write_time(index, value);
            }
            REGISTER_A => self.write_a(value & (A_DIVIDER | A_RATE), now),
            REGISTER_B => self.write_b(value),
            REGISTER_C | REGISTER_D => {}
            _ => self.cmos[usize::from(index) % CMOS_BYTES] = value,
        }
    }

    /// The alarm as written; a byte that is no hour, minute or second matches none.
    pub(super) fn alarm_pattern(&self) -> alarm::Pattern {
        let field = |index: u8| {
            let value = self.cmos[usize::from(index)];
            (value & ALARM_EVERY != ALARM_EVERY).then_some(value)
        };
        (
            field(HOUR_ALARM).map(|hour| u32::from(self.decode_hour(hour))),
            field(MINUTE_ALARM).map(|minute| u32::from(self.decode(minute))),
            field(SECOND_ALARM).map(|second| u32::from(self.decode(second))),
        )
    }

    /// The time the registers show.
    fn shown(&self) -> DateTime {
        self.held.unwrap_or_else(|| {
            let time = DateTime::from_unix(self.unix_seconds());
            DateTime { weekday: (time.weekday - 1 + self.weekday_offset) % 7 + 1, ..time }
        })
    }

    /// Sets one field; a running clock goes on from there.
    fn write_time(&mut self, index: u8, value: u8) {
        let mut time = self.shown();
        let number = self.decode(value);
        match index {
            SECOND => time.second = number,
            MINUTE => time.minute = number,
            HOUR => time.hour = self.decode_hour(value),
            WEEKDAY => time.weekday = number,
            DAY => time.day = number,
            MONTH => time.month = number,
            YEAR => time.year = number,
            _ => time.century = number,
        }
        if self.held.is_some() {
            self.held = Some(time);
        } else {
            self.run_from(time);
        }
    }

    /// Register A. Holding the divider stops the clock; releasing it starts a new second.
    fn write_a(&mut self, value: u8, now: MachineTime) {
        let time = self.shown();
        let was_running = self.is_divider_running();
        if value != self.a {
            self.reprogrammed();
        }
        self.a = value;
        if !was_running && self.is_divider_running() {
            let into_second = now.as_ns() % NS_PER_SECOND;
            self.divider_offset_ns =
                (FIRST_UPDATE_NS + NS_PER_SECOND - into_second) % NS_PER_SECOND;
            self.seen_ns = self.divider_ns(now);
        }
        self.hold_or_run(time);
    }

    /// Register B. SET holds the time for the guest to write and clears the update interrupt.
    fn write_b(&mut self, value: u8) {
        let time = self.shown();
        if (value ^ self.b) & PERIODIC != 0 {
            self.reprogrammed();
        }
        self.b = if value & B_SET != 0 { value & !UPDATE } else { value };
        self.hold_or_run(time);
    }

    /// Stops the clock at `time` or lets it run from there, as registers A and B now say.
    fn hold_or_run(&mut self, time: DateTime) {
        let is_held = self.b & B_SET != 0 || !self.is_divider_running();
        match (self.held.is_some(), is_held) {
            (false, true) => self.held = Some(time),
            (true, false) => self.run_from(time),
            (true, true) | (false, false) => {}
        }
    }

    /// Lets the clock run from `time`, with its second starting where the divider's does.
    fn run_from(&mut self, time: DateTime) {
        self.held = None;
        let unix_seconds = time.to_unix();
        self.base_seconds = unix_seconds.saturating_sub((self.seen_ns / NS_PER_SECOND) as i64);
        let of_date = DateTime::from_unix(unix_seconds).weekday;
        self.weekday_offset = (time.weekday % 7 + 7 - of_date % 7) % 7;
    }

    /// Update in progress: within the last 244 us of a second, while the time runs.
    fn is_updating(&self) -> bool {
        self.held.is_none() && self.seen_ns % NS_PER_SECOND >= NS_PER_SECOND - UPDATE_WARNING_NS
    }

    fn encode(&self, number: u8) -> u8 {
        if self.b & B_BINARY != 0 { number } else { (number / 10 % 10) << 4 | (number % 10) }
    }

    /// A digit above 9 keeps its binary value, so that every byte is some number.
    fn decode(&self, value: u8) -> u8 {
        if self.b & B_BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0xF) }
    }

    fn encode_hour(&self, hour: u8) -> u8 {
        if self.b & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        let of_twelve = (hour % 12 + 11) % 12 + 1;
        self.encode(of_twelve) | if hour >= 12 { AFTERNOON } else { 0 }
    }

    fn decode_hour(&self, value: u8) -> u8 {
        if self.b & B_24_HOURS != 0 {
            return self.decode(value);
        }
        let of_twelve = match self.decode(value & !AFTERNOON) {
            12 => 0,
            hour => hour,
        };
        of_twelve + if value & AFTERNOON != 0 { 12 } else { 0 }
    }
}
