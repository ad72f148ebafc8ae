//! The register file that MMIO and MSRs share, and the local vector table.
//!
//! A register is named by its number: MMIO offset / 16, which is also MSR index - 0x800.

use super::timer::Mode;
use super::{DESTINATION_FORMAT_ONES, LocalApic, SPURIOUS_ENABLED, class};
use crate::time::MachineTime;

pub(super) const ID: u32 = 0x02;
pub(super) const VERSION: u32 = 0x03;
pub(super) const TASK_PRIORITY: u32 = 0x08;
pub(super) const ARBITRATION_PRIORITY: u32 = 0x09;
pub(super) const PROCESSOR_PRIORITY: u32 = 0x0A;
pub(super) const END_OF_INTERRUPT: u32 = 0x0B;
pub(super) const REMOTE_READ: u32 = 0x0C;
pub(super) const LOGICAL_DESTINATION: u32 = 0x0D;
pub(super) const DESTINATION_FORMAT: u32 = 0x0E;
pub(super) const SPURIOUS: u32 = 0x0F;
pub(super) const IN_SERVICE: u32 = 0x10;
pub(super) const IN_SERVICE_LAST: u32 = 0x17;
pub(super) const TRIGGER_MODE: u32 = 0x18;
pub(super) const TRIGGER_MODE_LAST: u32 = 0x1F;
pub(super) const REQUESTED: u32 = 0x20;
pub(super) const REQUESTED_LAST: u32 = 0x27;
pub(super) const ERROR_STATUS: u32 = 0x28;
pub(super) const COMMAND_LOW: u32 = 0x30;
pub(super) const COMMAND_HIGH: u32 = 0x31;
pub(super) const LVT_TIMER: u32 = 0x32;
pub(super) const LVT_ERROR: u32 = 0x37;
pub(super) const INITIAL_COUNT: u32 = 0x38;
pub(super) const CURRENT_COUNT: u32 = 0x39;
pub(super) const DIVIDE: u32 = 0x3E;
pub(super) const SELF_IPI: u32 = 0x3F;

/// Version 0x14 (an integrated APIC); bits 23-16: the highest LVT entry is the sixth.
const VERSION_VALUE: u32 = 0x14 | ((LVT_ENTRIES as u32 - 1) << 16);
const LVT_ENTRIES: usize = 6;

/// An LVT entry that is masked, one that passes the 8259A's interrupts, one that gives NMI.
pub(super) const LVT_MASKED: u32 = 1 << 16;
pub(super) const LVT_EXTINT: u32 = 0b111 << 8;
pub(super) const LVT_NMI: u32 = 0b100 << 8;
const LVT_DELIVERY_MODE: u32 = 0b111 << 8;
const SPURIOUS_WRITABLE: u32 = 0x3FF;

/// Entries of the local vector table; the number is that of the register less [`LVT_TIMER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lvt {
    Timer = 0,
    Lint0 = 3,
    Lint1 = 4,
    Error = 5,
}

/// Bits a guest may set: vector, mask; delivery mode; timer mode; polarity and trigger of pins.
/// Entries in register order: timer, thermal sensor, performance counters, LINT0, LINT1, error.
const LVT_WRITABLE: [u32; LVT_ENTRIES] =
    [0x0007_00FF, 0x0001_07FF, 0x0001_07FF, 0x0001_A7FF, 0x0001_A7FF, 0x0001_00FF];
/// Read-only bits of an entry, which a write may carry: delivery status and remote IRR.
const LVT_READ_ONLY: [u32; LVT_ENTRIES] = [0x1000, 0x1000, 0x1000, 0x5000, 0x5000, 0x1000];

/// The local vector table.
#[derive(Clone, Debug)]
pub(super) struct LvtTable([u32; LVT_ENTRIES]);

impl LvtTable {
    pub(super) const RESET: Self = Self([LVT_MASKED; LVT_ENTRIES]);

    pub(super) const fn get(&self, entry: Lvt) -> u32 {
        self.0[entry as usize]
    }

    pub(super) fn set(&mut self, entry: Lvt, value: u32) {
        self.0[entry as usize] = value;
    }

    pub(super) const fn is_unmasked_extint(&self, entry: Lvt) -> bool {
        self.get(entry) & (LVT_MASKED | LVT_DELIVERY_MODE) == LVT_EXTINT
    }
}

impl LocalApic {
    /// Reads register `number`; `None` if it cannot be read or does not exist.
    pub(super) fn read_register(&mut self, number: u32, now: MachineTime) -> Option<u32> {
        self.advance(now);
        Some(match number {
            ID if self.is_x2apic() => self.id,
            ID => self.id << 24,
            VERSION => VERSION_VALUE,
            TASK_PRIORITY => u32::from(self.task_priority),
            ARBITRATION_PRIORITY => u32::from(self.arbitration_priority()),
            PROCESSOR_PRIORITY => u32::from(self.processor_priority()),
            REMOTE_READ => 0,
            LOGICAL_DESTINATION if self.is_x2apic() => self.x2apic_logical_id(),
            LOGICAL_DESTINATION => self.logical_destination,
            DESTINATION_FORMAT => self.destination_format,
            SPURIOUS => self.spurious,
            IN_SERVICE..=IN_SERVICE_LAST => self.in_service.register(number),
            TRIGGER_MODE..=TRIGGER_MODE_LAST => self.level_triggered.register(number),
            REQUESTED..=REQUESTED_LAST => self.requested.register(number),
            ERROR_STATUS => self.latched_errors,
            COMMAND_LOW => self.command_low,
            COMMAND_HIGH => self.command_high,
            LVT_TIMER..=LVT_ERROR => self.lvt.0[(number - LVT_TIMER) as usize],
            INITIAL_COUNT => self.timer.initial_count(),
            CURRENT_COUNT => self.timer.current_count(now),
            DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Writes register `number`; `false` if it cannot be written or does not exist.
    /// Bits that cannot be written are dropped.
    pub(super) fn write_register(&mut self, number: u32, value: u32, now: MachineTime) -> bool {
        self.advance(now);
        match number {
            TASK_PRIORITY => self.task_priority = value as u8,
            END_OF_INTERRUPT => self.end_of_interrupt(),
            LOGICAL_DESTINATION => self.logical_destination = value & 0xFF00_0000,
            DESTINATION_FORMAT => self.destination_format = value | DESTINATION_FORMAT_ONES,
            SPURIOUS => self.write_spurious(value),
            ERROR_STATUS => {
                self.latched_errors = self.errors;
                self.errors = 0;
            }
            COMMAND_LOW => self.write_command(value),
            COMMAND_HIGH => self.command_high = value & 0xFF00_0000,
            LVT_TIMER..=LVT_ERROR => self.write_lvt((number - LVT_TIMER) as usize, value),
            INITIAL_COUNT => self.timer.set_initial_count(value, now),
            DIVIDE => self.timer.set_divide(value, now),
            // Read-only here; on the first APICs the ID could be changed.
            ID => {}
            _ => return false,
        }
        true
    }

    /// Bits that a write to LVT register `number` may carry.
    pub(super) fn lvt_allowed(number: u32) -> u32 {
        let index = (number.wrapping_sub(LVT_TIMER) as usize).min(LVT_ENTRIES - 1);
        LVT_WRITABLE[index] | LVT_READ_ONLY[index]
    }

    /// Writes SVR. Disabling by software masks every LVT entry (SDM, "Local APIC State After It
    /// Has Been Software Disabled").
    fn write_spurious(&mut self, value: u32) {
        self.spurious = value & SPURIOUS_WRITABLE;
        if value & SPURIOUS_ENABLED == 0 {
            for entry in &mut self.lvt.0 {
                *entry |= LVT_MASKED;
            }
        }
    }

    /// Writes an LVT entry; while disabled by software its mask bit cannot be cleared.
    fn write_lvt(&mut self, index: usize, value: u32) {
        let forced = if self.spurious & SPURIOUS_ENABLED == 0 { LVT_MASKED } else { 0 };
        self.lvt.0[index] = (value & LVT_WRITABLE[index]) | forced;
        if index == Lvt::Timer as usize {
            // The fourth mode is reserved; it acts as one-shot, which ends by itself.
            self.timer.set_mode(match (value >> 17) & 0b11 {
                0b01 => Mode::Periodic,
                0b10 => Mode::TscDeadline,
                _ => Mode::OneShot,
            });
        }
    }

    /// APR (SDM, "Arbitration Priority Register"): the task's priority if it outranks all, or the
    /// highest class of task, request and service.
    fn arbitration_priority(&self) -> u8 {
        let service = self.in_service.highest().unwrap_or(0);
        let request = self.requested.highest().unwrap_or(0);
        let task = self.task_priority;
        if class(task) >= class(request) && class(task) > class(service) {
            task
        } else {
            (task & 0xF0).max(request & 0xF0).max(service & 0xF0)
        }
    }
}
