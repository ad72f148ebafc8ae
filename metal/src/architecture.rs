//! Constants of the architecture that only bare metal needs: values after reset, vectors, numbers
//! of MSRs, which are the `x86` crate's. The control registers are [`vmm_common::architecture`]'s.
//! Its bits are re-exported, so that each is spelt once.

pub use vmm_common::architecture::{cr0, cr4, efer};

/// Bits of RFLAGS (SDM vol. 1, 3.4.3).
#[allow(missing_docs)]
pub mod rflags {
    pub const ALWAYS: u64 = 1 << 1;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const RF: u64 = 1 << 16;
}

/// Values after reset (SDM vol. 3, table 10-1).
#[allow(missing_docs)]
pub mod reset {
    pub const DR6: u64 = 0xffff_0ff0;
    pub const DR7: u64 = 0x400;
    pub const PAT: u64 = 0x0007_0406_0007_0406;
}

/// Numbers of MSRs.
#[allow(missing_docs)]
pub mod msr {
    pub use vmm_common::architecture::msr::IA32_XSS;
    pub use x86::msr::{
        IA32_APIC_BASE, IA32_CSTAR, IA32_EFER, IA32_FEATURE_CONTROL, IA32_FMASK, IA32_FS_BASE,
        IA32_GS_BASE, IA32_KERNEL_GSBASE, IA32_LSTAR, IA32_PAT, IA32_STAR, IA32_SYSENTER_CS,
        IA32_SYSENTER_EIP, IA32_SYSENTER_ESP, IA32_TIME_STAMP_COUNTER, IA32_TSC_AUX,
    };
    pub const VM_CR: u32 = 0xc001_0114;
    pub const VM_HSAVE_PA: u32 = 0xc001_0117;
}

/// Vectors of exceptions.
#[allow(missing_docs)]
pub mod vector {
    pub const DB: u8 = 1;
    pub const BP: u8 = 3;
    pub const NMI: u8 = 2;
    pub const UD: u8 = 6;
    pub const GP: u8 = 13;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
}

/// [`Segment::access`](vmm_common::registers::Segment::access) of a code segment: L, 64-bit code if
/// long mode is active.
pub const ACCESS_LONG: u32 = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;
    use x86::bits64::rflags::RFlags;
    use x86::controlregs::{Cr0, Cr4, Xcr0};

    #[test]
    fn bits_are_those_of_the_x86_crate() {
        let cr0s = [
            (cr0::PE, Cr0::CR0_PROTECTED_MODE),
            (cr0::MP, Cr0::CR0_MONITOR_COPROCESSOR),
            (cr0::EM, Cr0::CR0_EMULATE_COPROCESSOR),
            (cr0::TS, Cr0::CR0_TASK_SWITCHED),
            (cr0::ET, Cr0::CR0_EXTENSION_TYPE),
            (cr0::NE, Cr0::CR0_NUMERIC_ERROR),
            (cr0::WP, Cr0::CR0_WRITE_PROTECT),
            (cr0::AM, Cr0::CR0_ALIGNMENT_MASK),
            (cr0::NW, Cr0::CR0_NOT_WRITE_THROUGH),
            (cr0::CD, Cr0::CR0_CACHE_DISABLE),
            (cr0::PG, Cr0::CR0_ENABLE_PAGING),
        ];
        for (ours, theirs) in cr0s {
            assert_eq!(ours, theirs.bits() as u64, "{theirs:?}");
        }
        let cr4s = [
            (cr4::PSE, Cr4::CR4_ENABLE_PSE),
            (cr4::PAE, Cr4::CR4_ENABLE_PAE),
            (cr4::MCE, Cr4::CR4_ENABLE_MACHINE_CHECK),
            (cr4::PGE, Cr4::CR4_ENABLE_GLOBAL_PAGES),
            (cr4::VMXE, Cr4::CR4_ENABLE_VMX),
            (cr4::PCIDE, Cr4::CR4_ENABLE_PCID),
            (cr4::OSXSAVE, Cr4::CR4_ENABLE_OS_XSAVE),
            (cr4::SMEP, Cr4::CR4_ENABLE_SMEP),
            (cr4::SMAP, Cr4::CR4_ENABLE_SMAP),
        ];
        for (ours, theirs) in cr4s {
            assert_eq!(ours, theirs.bits() as u64, "{theirs:?}");
        }
        assert_eq!(rflags::TF, RFlags::FLAGS_TF.bits());
        assert_eq!(rflags::IF, RFlags::FLAGS_IF.bits());
        assert_eq!(rflags::RF, RFlags::FLAGS_RF.bits());
        let components = Xcr0::XCR0_FPU_MMX_STATE | Xcr0::XCR0_SSE_STATE | Xcr0::XCR0_AVX_STATE;
        assert_eq!(vmm_common::cpuid::XSAVE_COMPONENTS & 0x1f, components.bits());
        let vectors = [
            (vector::DB, x86::irq::DEBUG_VECTOR),
            (vector::BP, x86::irq::BREAKPOINT_VECTOR),
            (vector::NMI, x86::irq::NONMASKABLE_INTERRUPT_VECTOR),
            (vector::UD, x86::irq::INVALID_OPCODE_VECTOR),
            (vector::GP, x86::irq::GENERAL_PROTECTION_FAULT_VECTOR),
            (vector::AC, x86::irq::ALIGNMENT_CHECK_VECTOR),
            (vector::MC, x86::irq::MACHINE_CHECK_VECTOR),
        ];
        for (ours, theirs) in vectors {
            assert_eq!(ours, theirs);
        }
    }
}
