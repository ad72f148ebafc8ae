//! The MSR map. The processor itself keeps [`PASSED_MSRS`] for each guest; the local APIC has its
//! own; a few read as constants; every other raises #GP.

use super::Machine;
use crate::Instant;

pub use devices::lapic::GeneralProtection;

/// MSRs that are the guest's own processor state, which every backend switches with the guest: it may
/// access them without leaving, but for writes to the time-stamp counter. Ranges, both ends included (SDM vol. 4, APM vol. 2 appendix A).
pub const PASSED_MSRS: [(u32, u32); 6] = [
    (0x10, 0x10),               // IA32_TIME_STAMP_COUNTER
    (0x174, 0x176),             // IA32_SYSENTER_CS, _ESP, _EIP
    (0x277, 0x277),             // IA32_PAT
    (0xc000_0080, 0xc000_0084), // IA32_EFER, _STAR, _LSTAR, _CSTAR, _FMASK
    (0xc000_0100, 0xc000_0102), // IA32_FS_BASE, _GS_BASE, _KERNEL_GS_BASE
    (0xc000_0103, 0xc000_0103), // IA32_TSC_AUX
];

const IA32_TIME_STAMP_COUNTER: u32 = 0x10;
const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// Always 0: CPUID offers no supervisory XSAVE component.
const IA32_XSS: u32 = 0xda0;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;

/// Reads that unmodified kernels do not guard, and what a machine without the feature answers.
/// Writes to these are ignored.
const CONSTANT_MSRS: [(u32, u64); 8] = [
    (0x17, 0),              // IA32_PLATFORM_ID
    (0x8b, 0),              // IA32_BIOS_SIGN_ID: no microcode update
    (0xfe, 0),              // IA32_MTRRCAP: no variable ranges
    (0x1a0, 1),             // IA32_MISC_ENABLE: fast strings
    (0x2ff, 0),             // IA32_MTRR_DEF_TYPE: MTRRs disabled
    (0xc001_0010, 0),       // AMD SYSCFG
    (0xc001_0015, 1 << 24), // AMD HWCR: TSC runs at P0 frequency
    (0xc001_0055, 0),       // AMD interrupt pending message
];

impl Machine {
    /// RDMSR of a register that the processor does not keep itself.
    ///
    /// # Errors
    /// [`GeneralProtection`] if there is no such register.
    pub fn msr_read(&mut self, index: u32, now: Instant) -> Result<u64, GeneralProtection> {
        let now = self.own(now);
        if let Some(value) = self.paravirtual.read(index) {
            return Ok(value);
        }
        let constant = CONSTANT_MSRS.iter().find(|(at, _)| *at == index);
        let value = match (index, &mut self.local_apic) {
            (IA32_APIC_BASE, Some(local_apic)) => local_apic.base(),
            (IA32_TSC_DEADLINE, Some(local_apic)) => local_apic.tsc_deadline(now),
            (X2APIC_FIRST..=X2APIC_LAST, Some(local_apic)) => local_apic.msr_read(index, now)?,
            (IA32_XSS, _) => 0,
            (_, _) => constant.map(|(_, value)| *value).ok_or(GeneralProtection)?,
        };
        self.after_access(now);
        Ok(value)
    }

    /// WRMSR to a register that the processor does not keep itself.
    ///
    /// # Errors
    /// [`GeneralProtection`] if there is no such register or it refuses the value.
    pub fn msr_write(
        &mut self,
        index: u32,
        value: u64,
        now: Instant,
    ) -> Result<(), GeneralProtection> {
        let now = self.own(now);
        if let Some(done) = self.paravirtual.write(index, value) {
            return done;
        }
        self.catch_up(now);
        let is_constant = CONSTANT_MSRS.iter().any(|(at, _)| *at == index);
        match (index, &mut self.local_apic) {
            // The backend has moved the counter.
            (IA32_TIME_STAMP_COUNTER, _) => self.tsc_moved(),
            (IA32_APIC_BASE, Some(local_apic)) => local_apic.set_base(value)?,
            (IA32_TSC_DEADLINE, Some(local_apic)) => local_apic.set_tsc_deadline(value, now),
            (X2APIC_FIRST..=X2APIC_LAST, Some(local_apic)) => {
                local_apic.msr_write(index, value, now)?;
            }
            (IA32_XSS, _) if value == 0 => {}
            (_, _) if is_constant => {}
            (_, _) => return Err(GeneralProtection),
        }
        self.after_access(now);
        Ok(())
    }
}
