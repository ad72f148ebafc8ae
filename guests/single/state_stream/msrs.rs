//! RDMSR and WRMSR of registers that are there, of some that are not, of the local APIC's.

use crate::{Stream, common::cpu, execute, step::Registers};

const RDMSR: [u8; 2] = [0x0F, 0x32];
const WRMSR: [u8; 2] = [0x0F, 0x30];
const APIC_BASE: u32 = 0x1B;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const EFER: u32 = 0xC000_0080;
const PAT: u32 = 0x277;

/// There on every Tandem machine, of either vendor.
const FIXED: &[u32] = &[
    0x17,
    0x2A,
    0x34,
    0x3A,
    0x79,
    0x8B,
    0xCE,
    0xFE,
    0x179,
    0x17A,
    0x198,
    0x199,
    0x1A0,
    0x1D9,
    0x1DB,
    0x1DC,
    0x1DD,
    0x1DE,
    0x2FF,
    0xC001_0000,
    0xC001_0001,
    0xC001_0002,
    0xC001_0003,
    0xC001_0004,
    0xC001_0005,
    0xC001_0006,
    0xC001_0007,
    0xC001_0010,
    0xC001_0015,
    0xC001_001F,
    0xC001_0020,
    0xC001_0055,
    0xC001_0058,
    0xC001_0112,
    0xC001_0113,
    0xC001_0117,
    0xC001_1020,
    0xC001_1021,
    0xC001_1022,
    0xC001_1023,
    0xC001_1029,
    0xC001_102A,
    0xC001_102C,
    0xDA0,
];

/// Not there: debugging, performance counters, machine checks, MTRRs, virtualization, power,
/// speculation, encryption, KVM's older and other ones, Hyper-V's, and numbers that have no
/// register.
const ABSENT: &[u32] = &[
    0x0,
    0x1,
    0x11,
    0x12,
    0x48,
    0x49,
    0x4F,
    0xC1,
    0xE1,
    0xE7,
    0xE8,
    0x10A,
    0x10B,
    0x122,
    0x140,
    0x17B,
    0x186,
    0x187,
    0x1A2,
    0x1AA,
    0x1C8,
    0x1C9,
    0x1D0,
    0x1FC,
    0x200,
    0x20F,
    0x250,
    0x258,
    0x26F,
    0x309,
    0x345,
    0x38D,
    0x38F,
    0x400,
    0x403,
    0x480,
    0x48B,
    0x491,
    0x4C1,
    0x560,
    0x570,
    0x600,
    0x611,
    0x680,
    0x6A0,
    0x6A2,
    0x6E1,
    0x770,
    0x7FF,
    0x900,
    0xC80,
    0xC8D,
    0xD90,
    0x1_0000,
    0x4000_0000,
    0x4000_0001,
    0x4000_0073,
    0x4000_0105,
    0x4B56_4D02,
    0x4B56_4D04,
    0x4B56_4D05,
    0x4B56_4D06,
    0x4B56_4D07,
    0x8000_0000,
    0xC000_007F,
    0xC000_0085,
    0xC000_00E7,
    0xC000_00E9,
    0xC000_0105,
    0xC000_0300,
    0xC000_0301,
    0xC001_0016,
    0xC001_0061,
    0xC001_0111,
    0xC001_0114,
    0xC001_0115,
    0xC001_0130,
    0xC001_0131,
    0xC001_0140,
    0xC001_0200,
    0xC001_1019,
    0xC001_1030,
    0xFFFF_FFFF,
];

/// The processor's own: the bits that are tried. Left out: the time-stamp counter, which depends on
/// time; TSC_AUX, which a processor without RDTSCP has not.
const OWN: &[(u32, u64)] = &[
    // AMD's processors keep 32 bits of these, and need not check more.
    (0x174, 0xFFFF),
    (0x175, 0x7FFF_FFFF),
    (0x176, 0x7FFF_FFFF),
    (PAT, u64::MAX),
    (EFER, u64::MAX),
    (0xC000_0081, u64::MAX),
    (0xC000_0082, LOWER_HALF),
    (0xC000_0083, LOWER_HALF),
    // SYSCALL's mask has 32 bits; Intel's processors drop the upper ones.
    (0xC000_0084, 0xFFFF_FFFF),
    (0xC000_0100, LOWER_HALF),
    (0xC000_0101, LOWER_HALF),
    (0xC000_0102, LOWER_HALF),
];
/// Canonical. QEMU's processor does not check that; with `exact` all values are tried.
const LOWER_HALF: u64 = 0x7FFF_FFFF_FFFF;

/// KVM's: the time of day, the clock, the steal time, all of which may be 0.
const PARAVIRTUAL: &[u32] = &[0x4B56_4D00, 0x4B56_4D01, 0x4B56_4D03];

pub fn step(stream: &mut Stream) {
    match stream.random.below(8) {
        0 | 1 => {
            let index = *stream.random.pick(FIXED);
            access(stream, index, u64::MAX);
        }
        2 => {
            let index = *stream.random.pick(ABSENT);
            access(stream, index, u64::MAX);
        }
        3 => own(stream),
        4 => {
            let index = *stream.random.pick(PARAVIRTUAL);
            access(stream, index, 0);
        }
        5 => apic_base(stream),
        _ => x2apic(stream),
    }
}

/// A read, or a write and a read.
fn access(stream: &mut Stream, index: u32, mask: u64) {
    let value = match stream.random.below(4) {
        0 => 0,
        1 => 1 << stream.random.below(64),
        _ => stream.random.any(),
    } & mask;
    if stream.random.below(2) == 0 {
        write(stream, index, value);
    }
    read(stream, index);
}

/// All registers at random but ECX. The upper half of RCX does not count; but QEMU's SVM looks for
/// the permission beyond the bitmap then, and may let the guest have the processor's register.
fn registers(stream: &mut Stream, index: u32) -> Registers {
    let mut registers = stream.registers();
    let upper = if stream.is_exact { registers.0[1] & !0xFFFF_FFFF } else { 0 };
    registers.0[1] = upper | u64::from(index);
    registers
}

fn read(stream: &mut Stream, index: u32) {
    let mut registers = registers(stream, index);
    // SAFETY: only reads it.
    unsafe { stream.run(&RDMSR, &mut registers) };
}

fn write(stream: &mut Stream, index: u32, value: u64) {
    let mut registers = registers(stream, index);
    registers.0[0] = value & 0xFFFF_FFFF;
    registers.0[2] = value >> 32;
    // SAFETY: this guest does without what is written, or puts it back.
    unsafe { stream.run(&WRMSR, &mut registers) };
}

/// What a register that is there holds.
fn held(index: u32) -> u64 {
    let mut registers = Registers([0, index.into(), 0, 0, 0, 0, 0, 2]);
    // SAFETY: only reads it.
    unsafe { execute(&RDMSR, &mut registers) };
    registers.0[2] << 32 | registers.0[0]
}

fn put_back(index: u32, value: u64) {
    let parts = [value & 0xFFFF_FFFF, index.into(), value >> 32];
    let mut registers = Registers([parts[0], parts[1], parts[2], 0, 0, 0, 0, 2]);
    // SAFETY: its old value.
    unsafe { execute(&WRMSR, &mut registers) };
}

/// The old value is put back. The bits of EFER that a guest in long mode needs cannot be cleared.
fn own(stream: &mut Stream) {
    let (index, mask) = *stream.random.pick(OWN);
    let old = held(index);
    let is_address = mask == LOWER_HALF;
    let value = match index {
        EFER => old ^ efer_bit(stream),
        PAT => old ^ 0xFF << (8 * stream.random.below(8)) & stream.random.next(),
        _ if is_address && stream.is_exact => stream.random.next(),
        _ => stream.random.next() & mask,
    };
    write(stream, index, value);
    read(stream, index);
    put_back(index, old);
}

/// Left out: bits 13 to 15, LMSLE, FFXSR and TCE, which some of AMD's processors have.
fn efer_bit(stream: &mut Stream) -> u64 {
    loop {
        let bit = stream.random.below(24);
        if !(13..=15).contains(&bit) {
            return 1 << bit;
        }
    }
}

/// Reserved bits, and the way from xAPIC to no mode at all. Disabling would end x2APIC mode.
fn apic_base(stream: &mut Stream) {
    const RESERVED: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 9, 52, 53, 60, 63];
    let old = held(APIC_BASE);
    let value = old ^ 1 << *stream.random.pick(RESERVED);
    write(stream, APIC_BASE, value);
    read(stream, APIC_BASE);
}

/// Registers of the local APIC: #GP outside x2APIC mode.
fn x2apic(stream: &mut Stream) {
    /// Left out of writes: the interrupt command, by which the guest would reset itself; the
    /// timer's entry, whose deadline mode bare metal alone offers; its count, which time changes.
    const NOT_WRITTEN: &[u32] = &[0x830, 0x832, 0x838];
    let index = 0x800 + stream.random.below(0x41) as u32;
    if stream.is_x2apic && NOT_WRITTEN.contains(&index) {
        read(stream, index);
    } else {
        access(stream, index, u64::MAX);
    }
}

/// Whether there is an x2APIC mode; the local APIC is in it.
pub fn enable_x2apic() -> bool {
    let has_mode = cpu::cpuid(1).ecx >> 21 & 1 == 1;
    if has_mode {
        put_back(APIC_BASE, held(APIC_BASE) | APIC_BASE_X2APIC);
    }
    has_mode
}
