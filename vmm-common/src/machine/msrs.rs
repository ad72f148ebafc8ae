//! The MSR map. The processor itself keeps [`PASSED_MSRS`] for each guest; the local APIC has its
//! own; [`FIXED_MSRS`] are there without a CPUID bit; every other raises #GP.

use super::Machine;
use crate::Instant;
use crate::architecture::msr::{
    IA32_APIC_BASE, IA32_TIME_STAMP_COUNTER, IA32_TSC_DEADLINE, IA32_XSS,
};

pub use crate::grant::PASSED_MSRS;
pub use devices::lapic::GeneralProtection;

const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;

/// What a write to one of [`FIXED_MSRS`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// The register can only be read: #GP.
    Refused,
    /// Accepted without effect.
    Ignored,
    /// 0, the state in which the feature is off, is accepted; all else raises #GP.
    OnlyZero,
    /// These bits are kept and read back; the others keep their values.
    Kept(u64),
}

/// A register that processors have without a CPUID bit to announce it, so that kernels access it
/// unasked.
#[derive(Clone, Copy, Debug)]
struct FixedMsr {
    index: u32,
    /// Its value after reset.
    value: u64,
    write: Write,
}

const fn row(index: u32, value: u64, write: Write) -> FixedMsr {
    FixedMsr { index, value, write }
}

/// In ascending order. Linux's KVM without a PMU has the same registers with the same values for
/// guests of either vendor (kvm_get_msr_common, kvm_set_msr_common), but for HWCR, FEATURE_CONTROL
/// and DEBUGCTL, where this table says what the machine has. Names: SDM vol. 4, AMD's BKDG and PPR.
const FIXED_MSRS: [FixedMsr; 43] = {
    use Write::{Ignored, Kept, OnlyZero, Refused};
    /// IA32_MISC_ENABLE: fast strings, automatic thermal control, enhanced SpeedStep, xTPR messages
    /// off. The bits that change what CPUID shows (22 and 34) keep 0.
    const MISC_ENABLE: u64 = 1 << 0 | 1 << 3 | 1 << 16 | 1 << 23;
    /// HWCR: TSC runs at P0's frequency.
    const TSC_FREQUENCY_SELECT: u64 = 1 << 24;
    /// DE_CFG: LFENCE waits for all instructions before it.
    const LFENCE_SERIALIZE: u64 = 1 << 1;
    [
        row(0x17, 0, Refused), // IA32_PLATFORM_ID
        row(0x2a, 0, Ignored), // EBL_CR_POWERON
        row(0x34, 0, Refused), // SMI_COUNT: read by Linux's turbostat
        row(0x3a, 1, Refused), // IA32_FEATURE_CONTROL: locked, VMX off
        row(0x79, 0, Ignored), // IA32_BIOS_UPDT_TRIG
        // IA32_BIOS_SIGN_ID: no microcode update; written before CPUID reads it.
        row(0x8b, 0, Ignored),
        row(0xce, 0, Refused),   // MSR_PLATFORM_INFO: no CPUID faulting
        row(0xfe, 0, Refused),   // IA32_MTRRCAP: no variable ranges
        row(0x179, 0, Refused),  // IA32_MCG_CAP: no banks
        row(0x17a, 0, OnlyZero), // IA32_MCG_STATUS
        row(0x198, 0, Refused),  // IA32_PERF_STATUS
        row(0x199, 0, Ignored),  // IA32_PERF_CTL
        row(0x1a0, 1, Kept(MISC_ENABLE)),
        row(0x1d9, 0, OnlyZero), // IA32_DEBUGCTL: no last branches, which no switch saves
        row(0x1db, 0, Refused),  // LASTBRANCHFROMIP
        row(0x1dc, 0, Refused),  // LASTBRANCHTOIP
        row(0x1dd, 0, Refused),  // LASTINTFROMIP
        row(0x1de, 0, Refused),  // LASTINTTOIP
        row(0x2ff, 0, Ignored),  // IA32_MTRR_DEF_TYPE: MTRRs disabled
        row(0xc001_0000, 0, Ignored), // PERF_CTL0: the K7's four counters, all stopped at 0
        row(0xc001_0001, 0, Ignored),
        row(0xc001_0002, 0, Ignored),
        row(0xc001_0003, 0, Ignored),
        row(0xc001_0004, 0, Ignored), // PERF_CTR0
        row(0xc001_0005, 0, Ignored),
        row(0xc001_0006, 0, Ignored),
        row(0xc001_0007, 0, Ignored),
        row(0xc001_0010, 0, Ignored),                    // SYSCFG
        row(0xc001_0015, TSC_FREQUENCY_SELECT, Ignored), // HWCR
        row(0xc001_001f, 0, Ignored),                    // NB_CFG
        row(0xc001_0020, 0, Ignored),                    // PATCH_LOADER
        row(0xc001_0055, 0, Ignored),                    // INT_PENDING
        row(0xc001_0058, 0, OnlyZero),                   // MMIO_CFG_BASE_ADDR
        row(0xc001_0112, 0, Refused),                    // SMM_ADDR
        row(0xc001_0113, 0, Refused),                    // SMM_MASK
        row(0xc001_0117, 0, Ignored),                    // VM_HSAVE_PA
        row(0xc001_1020, 0, Ignored),                    // LS_CFG
        row(0xc001_1021, 0, Ignored),                    // IC_CFG
        row(0xc001_1022, 0, Ignored),                    // DC_CFG
        row(0xc001_1023, 0, Ignored),                    // TW_CFG, BU_CFG
        row(0xc001_1029, 0, Kept(LFENCE_SERIALIZE)),     // DE_CFG
        row(0xc001_102a, 0, Ignored),                    // BU_CFG2
        row(0xc001_102c, 0, Ignored),                    // EX_CFG
    ]
};

/// The values of [`FIXED_MSRS`] in one machine.
#[derive(Clone, Debug)]
pub(super) struct FixedMsrs {
    values: [u64; FIXED_MSRS.len()],
}

impl FixedMsrs {
    /// As after reset.
    pub(super) fn new() -> Self {
        Self { values: FIXED_MSRS.map(|msr| msr.value) }
    }

    fn position(index: u32) -> Result<usize, GeneralProtection> {
        FIXED_MSRS.binary_search_by_key(&index, |msr| msr.index).map_err(|_| GeneralProtection)
    }

    fn read(&self, index: u32) -> Result<u64, GeneralProtection> {
        Ok(self.values[Self::position(index)?])
    }

    fn write(&mut self, index: u32, value: u64) -> Result<(), GeneralProtection> {
        let position = Self::position(index)?;
        match FIXED_MSRS[position].write {
            Write::Refused => Err(GeneralProtection),
            Write::Ignored => Ok(()),
            Write::OnlyZero if value == 0 => Ok(()),
            Write::OnlyZero => Err(GeneralProtection),
            Write::Kept(mask) => {
                let slot = &mut self.values[position];
                *slot = (*slot & !mask) | (value & mask);
                Ok(())
            }
        }
    }
}

impl Machine {
    /// RDMSR of a register that the processor does not keep itself.
    ///
    /// # Errors
    /// [`GeneralProtection`] if there is no such register.
    pub fn msr_read(&mut self, index: u32, now: Instant) -> Result<u64, GeneralProtection> {
        if let Some(value) = self.clock.read(index) {
            return Ok(value);
        }
        let now = self.catch_up(now);
        let value = match (index, self.interrupts.local_apic()) {
            (IA32_APIC_BASE, Some(local_apic)) => local_apic.base(),
            (IA32_TSC_DEADLINE, Some(local_apic)) => local_apic.tsc_deadline(now),
            (X2APIC_FIRST..=X2APIC_LAST, Some(local_apic)) => local_apic.msr_read(index, now)?,
            // CPUID offers no supervisory XSAVE component.
            (IA32_XSS, _) => 0,
            (_, _) => self.fixed_msrs[self.current].read(index)?,
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
        if let Some(done) = self.clock.write(index, value) {
            return done;
        }
        let now = self.catch_up(now);
        match (index, self.interrupts.local_apic()) {
            // The backend has moved the counter.
            (IA32_TIME_STAMP_COUNTER, _) => self.clock.tsc_moved(),
            (IA32_APIC_BASE, Some(_)) if value >> self.physical_address_bits != 0 => {
                return Err(GeneralProtection);
            }
            (IA32_APIC_BASE, Some(local_apic)) => local_apic.set_base(value)?,
            (IA32_TSC_DEADLINE, Some(local_apic)) => local_apic.set_tsc_deadline(value, now),
            (X2APIC_FIRST..=X2APIC_LAST, Some(local_apic)) => {
                local_apic.msr_write(index, value, now)?;
            }
            (IA32_XSS, _) if value == 0 => {}
            (_, _) => self.fixed_msrs[self.current].write(index, value)?,
        }
        self.after_access(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_ascending_order() {
        assert!(FIXED_MSRS.is_sorted_by_key(|msr| msr.index));
    }

    #[test]
    fn amds_first_performance_counters_stand_at_zero() {
        let mut msrs = FixedMsrs::new();
        for index in 0xc001_0000..=0xc001_0007 {
            assert_eq!(msrs.write(index, 0x53_0076), Ok(()), "{index:#x}");
            assert_eq!(msrs.read(index), Ok(0), "{index:#x}");
        }
    }

    #[test]
    fn what_amds_kernels_write_back_is_accepted() {
        let mut msrs = FixedMsrs::new();
        for (index, value) in [(0xc001_0015, 1 << 24), (0xc001_001f, 0), (0xc001_0055, 0)] {
            assert_eq!(msrs.read(index), Ok(value), "{index:#x}");
            assert_eq!(msrs.write(index, value), Ok(()), "{index:#x}");
        }
        assert_eq!(msrs.write(0xc001_1029, 1 << 1 | 1 << 9), Ok(()));
        assert_eq!(msrs.read(0xc001_1029), Ok(1 << 1));
        assert_eq!(msrs.write(0xc001_0058, 1), Err(GeneralProtection));
    }

    #[test]
    fn misc_enable_keeps_what_cpuid_does_not_depend_on() {
        let mut msrs = FixedMsrs::new();
        assert_eq!(msrs.read(0x1a0), Ok(1));
        assert_eq!(msrs.write(0x1a0, 1 << 16 | 1 << 22 | 1 << 34), Ok(()));
        assert_eq!(msrs.read(0x1a0), Ok(1 << 16));
        assert_eq!(msrs.write(0x1a0, u64::MAX), Ok(()));
        assert_eq!(msrs.read(0x1a0), Ok(0x81_0009));
    }

    #[test]
    fn what_can_only_be_read_refuses_writes() {
        let mut msrs = FixedMsrs::new();
        for (index, value) in [(0x3a, 1), (0xfe, 0), (0x179, 0), (0xce, 0), (0x17, 0)] {
            assert_eq!(msrs.read(index), Ok(value), "{index:#x}");
            assert_eq!(msrs.write(index, value), Err(GeneralProtection), "{index:#x}");
        }
        assert_eq!(msrs.write(0x17a, 0), Ok(()));
        assert_eq!(msrs.write(0x1d9, 1), Err(GeneralProtection));
        assert_eq!(
            (msrs.read(0x200), msrs.read(0x48)),
            (Err(GeneralProtection), Err(GeneralProtection))
        );
    }
}
