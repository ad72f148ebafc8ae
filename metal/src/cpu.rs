//! Privileged instructions, one function each. Those that could do harm stay in this crate.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc};
use vmm_common::cpuid::CpuidResult;

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
pub(crate) fn read_msr(index: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading a register has no effect on the program's memory.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") index,
            out("eax") low,
            out("edx") high,
            options(nomem, nostack, preserves_flags),
        );
    }
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR.
///
/// # Safety
/// The value must leave the processor in a state in which this program can run.
#[inline]
pub(crate) unsafe fn write_msr(index: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "wrmsr",
            in("ecx") index,
            in("eax") value as u32,
            in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags),
        );
    }
}

/// CR0, CR2, CR3 and CR4, for a report.
#[must_use]
pub fn control_registers() -> [u64; 4] {
    [cr0(), cr2(), cr3(), cr4()]
}

macro_rules! control_registers {
    ($($name:ident $set:ident $register:literal;)*) => {$(
        #[doc = concat!("Reads ", $register, ".")]
        #[must_use]
        #[inline]
        pub(crate) fn $name() -> u64 {
            let value: u64;
            // SAFETY: reading a register changes nothing.
            unsafe {
                asm!(
                    concat!("mov {}, ", $register),
                    out(reg) value,
                    options(nomem, nostack, preserves_flags),
                );
            }
            value
        }

        #[doc = concat!("Writes ", $register, ".")]
        ///
        /// # Safety
        /// This program must be able to run with the value.
        #[inline]
        pub(crate) unsafe fn $set(value: u64) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    concat!("mov ", $register, ", {}"),
                    in(reg) value,
                    options(nostack, preserves_flags),
                );
            }
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
    dr7 set_dr7 "dr7";
}

/// STI and HLT, then CLI: sleeps until an interrupt.
#[inline]
pub fn wait_for_interrupt() {
    // SAFETY: STI takes effect after HLT, so that no interrupt is missed, and every gate of the
    // IDT has a handler that returns.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Halts this processor for good.
pub fn halt_for_ever() -> ! {
    loop {
        // SAFETY: with interrupts off this halts the processor for good, as intended.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
