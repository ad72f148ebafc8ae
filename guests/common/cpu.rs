//! Single instructions as functions: ports, model-specific registers, CPUID, the time-stamp
//! counter.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};

/// Writes a byte to an I/O port.
pub fn out8(port: u16, value: u8) {
    // SAFETY: a port write cannot touch Rust's memory: no device behind ports does DMA.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) }
}

/// Writes 16 bits to an I/O port.
pub fn out16(port: u16, value: u16) {
    // SAFETY: as for `out8`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack)) }
}

/// Writes 32 bits to an I/O port.
pub fn out32(port: u16, value: u32) {
    // SAFETY: as for `out8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) }
}

/// Reads a byte from an I/O port.
pub fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: as for `out8`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) }
    value
}

/// Writes all bytes to one port with a single string instruction, which a VMM may see as one exit.
pub fn out_string(port: u16, bytes: &[u8]) {
    // SAFETY: reads exactly the bytes of the slice, and the direction flag is clear in Rust code.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _,
            inout("rcx") bytes.len() => _, options(readonly, nostack, preserves_flags));
    }
}

/// Reads a model-specific register that this processor has; any other raises #GP.
pub fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: a read of an MSR changes no memory; a missing one faults, which is reported.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high,
            options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The new value must not change where this kernel's code or data is found.
pub unsafe fn write_msr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller vouches for the register and the value.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack));
    }
}

/// The CPUID answer of a leaf and subleaf 0.
pub fn cpuid(leaf: u32) -> CpuidResult {
    __cpuid_count(leaf, 0)
}

/// The time-stamp counter.
pub fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: RDTSC only reads a counter.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) }
    u64::from(high) << 32 | u64::from(low)
}

/// Reads a 32-bit device register.
///
/// # Safety
/// `address` must be mapped device memory.
pub unsafe fn read_device32(address: u64) -> u32 {
    let value;
    // SAFETY: the caller vouches for the address. One plain MOV, the form every VMM decodes.
    unsafe { asm!("mov {:e}, [{}]", out(reg) value, in(reg) address, options(nostack)) }
    value
}

/// Writes a 32-bit device register.
///
/// # Safety
/// `address` must be mapped device memory, and the write must not make a device use RAM.
pub unsafe fn write_device32(address: u64, value: u32) {
    // SAFETY: the caller vouches for the address.
    unsafe { asm!("mov [{}], {:e}", in(reg) address, in(reg) value, options(nostack)) }
}

/// Reads a 64-bit device register.
///
/// # Safety
/// `address` must be mapped device memory.
pub unsafe fn read_device64(address: u64) -> u64 {
    let value;
    // SAFETY: the caller vouches for the address.
    unsafe { asm!("mov {}, [{}]", out(reg) value, in(reg) address, options(nostack)) }
    value
}

/// Writes a 64-bit device register.
///
/// # Safety
/// As for [`write_device32`].
pub unsafe fn write_device64(address: u64, value: u64) {
    // SAFETY: the caller vouches for the address.
    unsafe { asm!("mov [{}], {}", in(reg) address, in(reg) value, options(nostack)) }
}
