//! Privileged instructions, one function each.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc};
use vmm_common::cpuid::CpuidResult;

/// IA32_EFER and its bits (SDM vol. 4, APM vol. 2, 3.1.7).
pub mod efer {
    /// The register's number.
    pub const INDEX: u32 = 0xc000_0080;
    /// Long mode enable.
    pub const LME: u64 = 1 << 8;
    /// Long mode active.
    pub const LMA: u64 = 1 << 10;
    /// No-execute enable.
    pub const NXE: u64 = 1 << 11;
    /// Secure virtual machine enable.
    pub const SVME: u64 = 1 << 12;
}

/// Bits of CR4 (SDM vol. 3, 2.5).
#[allow(missing_docs)]
pub mod cr4 {
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const PGE: u64 = 1 << 7;
    pub const UMIP: u64 = 1 << 11;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
    pub const PKE: u64 = 1 << 22;
}

/// Numbers of MSRs, bits of registers, values after reset (SDM vol. 4; vol. 3, 2.3, 2.5, table
/// 10-1).
pub(crate) mod register {
    pub const IA32_TSC: u32 = 0x10;
    pub const IA32_PAT: u32 = 0x277;
    pub const RFLAGS_TF: u64 = 1 << 8;
    pub const RFLAGS_IF: u64 = 1 << 9;
    pub const RFLAGS_RF: u64 = 1 << 16;
    pub const CR0_PG: u64 = 1 << 31;
    pub const DR6_RESET: u64 = 0xffff_0ff0;
    pub const DR7_RESET: u64 = 0x400;
    pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;
}

/// Vectors of exceptions: debug, invalid opcode, general protection, machine check.
pub(crate) mod vector {
    pub const DB: u8 = 1;
    pub const UD: u8 = 6;
    pub const GP: u8 = 13;
    pub const MC: u8 = 18;
}

/// CPUID.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let result = __cpuid_count(leaf, subleaf);
    CpuidResult { eax: result.eax, ebx: result.ebx, ecx: result.ecx, edx: result.edx }
}

/// The time-stamp counter.
#[must_use]
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: every 64-bit processor has it, and ring 0 may always read it.
    unsafe { _rdtsc() }
}

/// RDMSR. The register must exist, or the processor raises #GP, which ends the hypervisor with a
/// report.
#[must_use]
#[inline]
pub fn read_msr(index: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading a register changes nothing that Rust knows of.
    unsafe {
        asm!("rdmsr", in("ecx") index, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR.
///
/// # Safety
/// The value must leave the processor in a state in which this program can go on.
#[inline]
pub unsafe fn write_msr(index: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack, preserves_flags));
    }
}

/// IN of a byte.
#[must_use]
#[inline]
pub fn read_port(port: u16) -> u8 {
    let value: u8;
    // SAFETY: no device we talk to writes memory.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags));
    };
    value
}

/// OUT of a byte.
#[inline]
pub fn write_port(port: u16, value: u8) {
    // SAFETY: as for `read_port`.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
    };
}

/// OUT of a word.
#[inline]
pub fn write_port_word(port: u16, value: u16) {
    // SAFETY: as for `read_port`.
    unsafe {
        asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags));
    };
}

macro_rules! control_registers {
    ($($name:ident $set:ident $register:literal;)*) => {$(
        #[doc = concat!("Reads ", $register, ".")]
        #[must_use]
        #[inline]
        pub fn $name() -> u64 {
            let value: u64;
            // SAFETY: reading a register changes nothing.
            unsafe { asm!(concat!("mov {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes ", $register, ".")]
        ///
        /// # Safety
        /// This program must be able to go on with the value.
        #[inline]
        pub unsafe fn $set(value: u64) {
            // SAFETY: the caller's promise.
            unsafe { asm!(concat!("mov ", $register, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    )*};
}

control_registers! {
    cr0 set_cr0 "cr0";
    cr2 set_cr2 "cr2";
    cr3 set_cr3 "cr3";
    cr4 set_cr4 "cr4";
    dr0 set_dr0 "dr0";
    dr1 set_dr1 "dr1";
    dr2 set_dr2 "dr2";
    dr3 set_dr3 "dr3";
    dr6 set_dr6 "dr6";
}

/// STI and HLT, then CLI: sleeps until an interrupt.
#[inline]
pub fn wait_for_interrupt() {
    // SAFETY: STI takes effect behind HLT, so that no interrupt is missed, and every gate of the
    // IDT has a handler that returns.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}
