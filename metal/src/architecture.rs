//! Constants of the architecture, each spelt once: registers' bits and values after reset, numbers of
//! MSRs, vectors. Numbers of MSRs are the `x86` crate's.

/// Bits of IA32_EFER (SDM vol. 4; APM vol. 2, 3.1.7).
#[allow(missing_docs)]
pub mod efer {
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
    pub const SVME: u64 = 1 << 12;
}

/// Bits of CR0 (SDM vol. 3, 2.5).
#[allow(missing_docs)]
pub mod cr0 {
    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
}

/// Bits of CR4 (SDM vol. 3, 2.5).
#[allow(missing_docs)]
pub mod cr4 {
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const PGE: u64 = 1 << 7;
    pub const VMXE: u64 = 1 << 13;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

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
    pub use x86::msr::{
        IA32_APIC_BASE, IA32_CSTAR, IA32_EFER, IA32_FEATURE_CONTROL, IA32_FMASK, IA32_FS_BASE,
        IA32_GS_BASE, IA32_KERNEL_GSBASE, IA32_LSTAR, IA32_PAT, IA32_STAR, IA32_SYSENTER_CS,
        IA32_SYSENTER_EIP, IA32_SYSENTER_ESP, IA32_TIME_STAMP_COUNTER, IA32_TSC_AUX,
    };
    pub const IA32_XSS: u32 = 0xda0;
    pub const VM_CR: u32 = 0xc001_0114;
    pub const VM_HSAVE_PA: u32 = 0xc001_0117;
}

/// Vectors of exceptions.
#[allow(missing_docs)]
pub mod vector {
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const UD: u8 = 6;
    pub const GP: u8 = 13;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
}

/// [`Segment::access`](vmm_common::registers::Segment::access) of a code segment: L, 64-bit code if
/// long mode is active.
pub const ACCESS_LONG: u32 = 1 << 13;
