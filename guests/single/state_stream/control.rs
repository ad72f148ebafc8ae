//! CR0, CR3, CR4, CR8, XCR0, with single bits changed; each step puts the old value back.

use crate::{Stream, common::cpu, execute, step::Registers};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
/// MOV RAX, CRn and MOV CRn, RAX; CR8 needs REX.R.
const READ_CR0: [u8; 3] = [0x0F, 0x20, 0xC0];
const READ_CR3: [u8; 3] = [0x0F, 0x20, 0xD8];
const READ_CR4: [u8; 3] = [0x0F, 0x20, 0xE0];
const WRITE_CR0: [u8; 3] = [0x0F, 0x22, 0xC0];
const WRITE_CR3: [u8; 3] = [0x0F, 0x22, 0xD8];
const WRITE_CR4: [u8; 3] = [0x0F, 0x22, 0xE0];
const READ_CR8: [u8; 4] = [0x44, 0x0F, 0x20, 0xC0];
const WRITE_CR8: [u8; 4] = [0x44, 0x0F, 0x22, 0xC0];
const CLTS: [u8; 2] = [0x0F, 0x06];
const LMSW_AX: [u8; 3] = [0x0F, 0x01, 0xF0];
const XSETBV: [u8; 3] = [0x0F, 0x01, 0xD1];
const OSXSAVE: u64 = 1 << 18;
/// Bits of CR3 that this processor lacks, whatever it is: above 52 bits of physical address.
const CR3_RESERVED: core::ops::Range<u64> = 52..64;

pub fn step(stream: &mut Stream) {
    match stream.random.below(8) {
        0 | 1 => cr0(stream),
        2 => status_word(stream),
        3 => cr3(stream),
        4 => cr4(stream),
        5 => cr8(stream),
        6 => absent(stream),
        _ => xcr0(stream),
    }
}

/// Reads a control register.
fn read(code: &[u8]) -> u64 {
    let mut registers = Registers([2; 8]);
    // SAFETY: only reads it.
    unsafe { execute(code, &mut registers) };
    registers.0[RAX]
}

/// Writes RAX to a control register.
fn write(code: &[u8], value: u64) {
    let mut registers = Registers([value, 0, 0, 0, 0, 0, 0, 2]);
    // SAFETY: puts back what the guest began with.
    unsafe { execute(code, &mut registers) };
}

/// All bits that the guest needs raise #GP when they are cleared: PE and PG; the others may be
/// anything for a while.
fn cr0(stream: &mut Stream) {
    let old = read(&READ_CR0);
    // The upper half raises #GP. QEMU's processor ignores it, and does not exit for it alone.
    let width = if stream.is_exact { 64 } else { 32 };
    let mut value = old ^ 1 << stream.random.below(width);
    if stream.random.below(2) == 0 {
        value ^= 1 << stream.random.below(32);
    }
    let mut registers = stream.registers();
    registers.0[RAX] = value;
    // SAFETY: as said above.
    unsafe { stream.run(&WRITE_CR0, &mut registers) };
    note_machine_status(stream);
    write(&WRITE_CR0, old);
}

fn note_machine_status(stream: &mut Stream) {
    stream.note(read(&READ_CR0));
}

/// LMSW, CLTS, SMSW of 2, 4 or 8 bytes.
fn status_word(stream: &mut Stream) {
    let old = read(&READ_CR0);
    let mut registers = stream.registers();
    let code: &[u8] = match stream.random.below(5) {
        0 => &CLTS,
        1 => &[0x66, 0x0F, 0x01, 0xE0],
        2 => &[0x0F, 0x01, 0xE0],
        3 => &[0x48, 0x0F, 0x01, 0xE0],
        _ => &LMSW_AX,
    };
    // SAFETY: LMSW cannot clear PE.
    unsafe { stream.run(code, &mut registers) };
    note_machine_status(stream);
    write(&WRITE_CR0, old);
}

/// PWT and PCD, what is ignored, and what is reserved.
fn cr3(stream: &mut Stream) {
    let old = read(&READ_CR3);
    let bit = match stream.random.below(4) {
        // QEMU's processor ends its guest for these, SVM_EXIT_ERR, instead of raising #GP.
        0 if stream.is_exact => CR3_RESERVED.start + stream.random.below(11),
        _ => stream.random.below(12),
    };
    let mut registers = stream.registers();
    registers.0[RAX] = old ^ 1 << bit;
    // SAFETY: the address stays.
    unsafe { stream.run(&WRITE_CR3, &mut registers) };
    stream.note(read(&READ_CR3));
    write(&WRITE_CR3, old);
}

/// Bits of CR4 that depend on a feature: the bit, and where CPUID shows it.
fn optional() -> [(u64, u32); 9] {
    let (one, seven) = (cpu::cpuid(1), cpu::cpuid(7));
    [
        (11, seven.ecx >> 2),  // UMIP
        (16, seven.ebx),       // FSGSBASE
        (17, one.ecx >> 17),   // PCIDE
        (18, one.ecx >> 26),   // OSXSAVE
        (20, seven.ebx >> 7),  // SMEP
        (21, seven.ebx >> 20), // SMAP
        (22, seven.ecx >> 3),  // PKE
        (12, seven.ecx >> 16), // LA57, whose change in long mode raises #GP as well
        (13, one.ecx >> 5),    // VMXE
    ]
}

/// A bit that depends on a feature is held against CPUID, as processors differ in it; the others
/// are noted.
fn cr4(stream: &mut Stream) {
    let old = read(&READ_CR4);
    let bit = match stream.random.below(4) {
        // The upper half raises #GP; Linux's KVM on QEMU's SVM ignores it.
        0 => stream.random.below(if stream.is_bare { 64 } else { 32 }),
        _ => stream.random.below(32),
    };
    let value = old ^ 1 << bit;
    let mut registers = stream.registers();
    registers.0[RAX] = value;
    let shown = optional().into_iter().find(|(optional, _)| *optional == bit);
    if let Some((_, shown)) = shown {
        // SAFETY: as below.
        let trap = unsafe { execute(&WRITE_CR4, &mut registers) };
        let is_taken = read(&READ_CR4) == value;
        let is_right = (shown & 1 == 1) == is_taken && trap.is_none() == is_taken;
        stream.note(bit);
        stream.note(is_right.into());
    } else {
        // SAFETY: clearing PAE raises #GP; the others may be anything for a while.
        unsafe { stream.run(&WRITE_CR4, &mut registers) };
        // Those of the features above are the same before and after.
        stream.note(read(&READ_CR4));
    }
    write(&WRITE_CR4, old);
}

fn cr8(stream: &mut Stream) {
    let mut registers = stream.registers();
    // QEMU's processor takes the four bits that it has.
    registers.0[RAX] = match stream.random.below(4) {
        0 if stream.is_exact => stream.random.any(),
        _ => stream.random.below(16),
    };
    // SAFETY: no interrupt is let through.
    unsafe { stream.run(&WRITE_CR8, &mut registers) };
    // SAFETY: only reads it.
    unsafe { stream.run(&READ_CR8, &mut registers) };
    write(&WRITE_CR8, 0);
}

/// Control registers that no processor has raise #UD.
fn absent(stream: &mut Stream) {
    let number = *stream.random.pick(&[1, 5, 6, 7, 9, 10, 13, 15]);
    let opcode = *stream.random.pick(&[0x20, 0x22]);
    let mut registers = stream.registers();
    let code = [0x40 | (number >> 3) << 2, 0x0F, opcode, 0xC0 | (number & 7) << 3];
    // SAFETY: does nothing.
    unsafe { stream.run(&code, &mut registers) };
}

/// What XSETBV takes follows from CPUID (SDM vol. 1, 13.3; vol. 2, XSETBV), and is held against
/// that, as processors differ in their components.
fn xcr0(stream: &mut Stream) {
    const X87: u64 = 1;
    const SSE: u64 = 1 << 1;
    const AVX: u64 = 1 << 2;
    const AVX512: u64 = 0b111 << 5;
    let value = match stream.random.below(2) {
        0 => stream.random.below(256),
        _ => X87 | 1 << stream.random.below(64),
    };
    let index = u64::from(stream.random.below(8) == 0);
    let mut registers = stream.registers();
    if cpu::cpuid(1).ecx >> 26 & 1 == 0 {
        return stream.note(1);
    }
    let old = read(&READ_CR4);
    write(&WRITE_CR4, old | OSXSAVE);
    let components = core::arch::x86_64::__cpuid_count(0xD, 0);
    let shown = u64::from(components.edx) << 32 | u64::from(components.eax);
    let is_legal = index == 0
        && value & X87 != 0
        && value & !shown == 0
        && (value & AVX == 0 || value & SSE != 0)
        && (value & AVX512 == 0 || value & (AVX512 | AVX | SSE) == AVX512 | AVX | SSE);
    registers.0[RAX] = value & 0xFFFF_FFFF;
    registers.0[RCX] = index;
    registers.0[RDX] = value >> 32;
    // SAFETY: this guest uses none of the components.
    let trap = unsafe { execute(&XSETBV, &mut registers) };
    let is_general_protection = trap.is_some_and(|trap| (trap.vector, trap.error) == (13, 0));
    stream.note(u64::from(if is_legal { trap.is_none() } else { is_general_protection }));
    (registers.0[RAX], registers.0[RCX], registers.0[RDX]) = (X87, 0, 0);
    // SAFETY: as it was.
    unsafe { execute(&XSETBV, &mut registers) };
    write(&WRITE_CR4, old);
}
