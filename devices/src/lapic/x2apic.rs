//! x2APIC mode: the registers as MSRs 0x800 to 0x8FF, IA32_APIC_BASE and IA32_TSC_DEADLINE
//! (SDM, "Extended XAPIC (x2APIC)").
//!
//! MSRs are strict where MMIO is lenient: a register that does not exist, a read of a write-only
//! one, a write to a read-only one or of a reserved bit is a general-protection fault.

use super::register::{self, LvtTable};
use super::{
    BASE_BOOTSTRAP, BASE_ENABLED, BASE_X2APIC, DESTINATION_FORMAT_FLAT, LocalApic, SPURIOUS_RESET,
    Vectors,
};
use crate::time::MachineTime;

/// MSR of register number 0.
const FIRST_MSR: u32 = 0x800;

/// Bits of IA32_APIC_BASE that exist with 52 physical address bits.
const BASE_WRITABLE: u64 = BASE_ADDRESS | BASE_BOOTSTRAP | BASE_X2APIC | BASE_ENABLED;
const BASE_ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// The access is illegal: the guest gets #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

impl LocalApic {
    /// IA32_APIC_BASE (MSR 0x1B).
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// The physical address of the MMIO page.
    #[must_use]
    pub const fn page(&self) -> u64 {
        self.base & BASE_ADDRESS
    }

    /// Writes IA32_APIC_BASE.
    ///
    /// Legal transitions (SDM, "x2APIC State Transitions"): disabled to xAPIC, xAPIC to x2APIC, and
    /// any to disabled, which resets the APIC. The address may be moved anywhere below 2^52; the
    /// owner decides where the page then answers.
    ///
    /// # Errors
    /// [`GeneralProtection`] for reserved bits and for every other transition.
    pub fn set_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let is_enabled = value & BASE_ENABLED != 0;
        let is_x2apic = value & BASE_X2APIC != 0;
        let is_legal = match (self.is_hardware_enabled(), self.is_x2apic()) {
            (false, _) => !is_x2apic,
            (true, false) => is_enabled || !is_x2apic,
            (true, true) => is_enabled == is_x2apic,
        };
        if value & !BASE_WRITABLE != 0 || !is_legal {
            return Err(GeneralProtection);
        }
        if !is_enabled {
            self.reset();
        }
        if is_x2apic && !self.is_x2apic() {
            self.command_high = 0;
        }
        self.base = value;
        Ok(())
    }

    /// Reads MSR `index`, 0x800 to 0x8FF, in x2APIC mode.
    ///
    /// # Errors
    /// [`GeneralProtection`] outside x2APIC mode, and for registers that do not exist in it or can
    /// only be written.
    pub fn msr_read(&mut self, index: u32, now: MachineTime) -> Result<u64, GeneralProtection> {
        let number = self.x2apic_number(index)?;
        match number {
            register::ARBITRATION_PRIORITY | register::REMOTE_READ => Err(GeneralProtection),
            register::COMMAND_LOW => {
                Ok(u64::from(self.command_high) << 32 | u64::from(self.command_low))
            }
            _ => self.read_register(number, now).map(u64::from).ok_or(GeneralProtection),
        }
    }

    /// Writes MSR `index`, 0x800 to 0x8FF, in x2APIC mode.
    ///
    /// # Errors
    /// [`GeneralProtection`] outside x2APIC mode, for registers that do not exist in it or can only
    /// be read, and for reserved bits.
    pub fn msr_write(
        &mut self,
        index: u32,
        value: u64,
        now: MachineTime,
    ) -> Result<(), GeneralProtection> {
        let number = self.x2apic_number(index)?;
        if value & !writable_bits(number)? != 0 {
            return Err(GeneralProtection);
        }
        match number {
            register::COMMAND_LOW => {
                self.command_high = (value >> 32) as u32;
                self.write_register(number, value as u32, now);
            }
            register::SELF_IPI => {
                self.advance(now);
                self.send_to_self(value as u8);
            }
            _ => {
                self.write_register(number, value as u32, now);
            }
        }
        Ok(())
    }

    /// IA32_TSC_DEADLINE (MSR 0x6E0): the armed TSC value, 0 if none or in another timer mode.
    pub fn tsc_deadline(&mut self, now: MachineTime) -> u64 {
        self.advance(now);
        self.timer.tsc_deadline()
    }

    /// Writes IA32_TSC_DEADLINE: arms the timer for that TSC value, which may be past already, or
    /// disarms it with 0. Ignored unless the timer is in TSC-deadline mode.
    pub fn set_tsc_deadline(&mut self, tsc: u64, now: MachineTime) {
        self.advance(now);
        self.timer.set_tsc_deadline(tsc);
        self.advance(now);
    }

    /// The register number of MSR `index`, if that is one of ours now. Number 0x31 and 0x0E, the
    /// high half of the command register and DFR, exist in xAPIC mode only.
    fn x2apic_number(&self, index: u32) -> Result<u32, GeneralProtection> {
        match index.wrapping_sub(FIRST_MSR) {
            register::COMMAND_HIGH | register::DESTINATION_FORMAT => Err(GeneralProtection),
            number @ 0..=register::SELF_IPI if self.is_x2apic() => Ok(number),
            _ => Err(GeneralProtection),
        }
    }

    /// The power-up state, entered by INIT and by disabling the APIC in hardware. Messages already
    /// sent to the I/O APIC and the CPU are kept.
    pub(super) fn reset(&mut self) {
        self.task_priority = 0;
        self.logical_destination = 0;
        self.destination_format = DESTINATION_FORMAT_FLAT;
        self.spurious = SPURIOUS_RESET;
        self.requested = Vectors::NONE;
        self.in_service = Vectors::NONE;
        self.level_triggered = Vectors::NONE;
        self.errors = 0;
        self.latched_errors = 0;
        self.command_low = 0;
        self.command_high = 0;
        self.lvt = LvtTable::RESET;
        self.timer.reset();
    }
}

/// Bits that a write to x2APIC register `number` may set; an error if it cannot be written.
fn writable_bits(number: u32) -> Result<u64, GeneralProtection> {
    match number {
        register::TASK_PRIORITY | register::SELF_IPI => Ok(0xFF),
        register::END_OF_INTERRUPT | register::ERROR_STATUS => Ok(0),
        // Bit 9, focus checking, is obsolete; real CPUs accept it.
        register::SPURIOUS => Ok(0x3FF),
        // Bit 12, the busy bit that x2APIC mode no longer has, is ignored as on real CPUs.
        register::COMMAND_LOW => Ok(0xFFFF_FFFF_000C_DFFF),
        register::LVT_TIMER..=register::LVT_ERROR => Ok(u64::from(LocalApic::lvt_allowed(number))),
        register::INITIAL_COUNT => Ok(0xFFFF_FFFF),
        register::DIVIDE => Ok(0b1011),
        _ => Err(GeneralProtection),
    }
}
