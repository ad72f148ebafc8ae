//! `elf_prstatus` of Linux, by which gdb gets a thread's general registers (`linux/elfcore.h`,
//! `asm/user_64.h`, `asm/user_32.h`).

use vmm_common::registers::{CpuState, general, segment};

/// SIGTRAP: a debugger shows some signal.
const SIGNAL: u16 = 5;

/// Of a 64-bit core: 336 bytes, with 27 registers from byte 112 on.
pub fn wide(id: u32, state: &CpuState) -> Vec<u8> {
    let g = &state.general;
    let selector = |register: usize| u64::from(state.segments[register].selector);
    let registers: [u64; 27] = [
        g[15],
        g[14],
        g[13],
        g[12],
        g[general::RBP],
        g[general::RBX],
        g[11],
        g[10],
        g[9],
        g[8],
        g[general::RAX],
        g[general::RCX],
        g[general::RDX],
        g[general::RSI],
        g[general::RDI],
        // The number of a system call, of which there is none.
        u64::MAX,
        state.rip,
        selector(segment::CS),
        state.rflags,
        g[general::RSP],
        selector(segment::SS),
        state.segments[segment::FS].base,
        state.segments[segment::GS].base,
        selector(segment::DS),
        selector(segment::ES),
        selector(segment::FS),
        selector(segment::GS),
    ];
    let registers = registers.iter().flat_map(|value| value.to_le_bytes());
    status((336, 32, 112), id, registers.collect())
}

/// Of a 32-bit core: 144 bytes, with 17 registers from byte 72 on.
pub fn narrow(id: u32, state: &CpuState) -> Vec<u8> {
    let g = &state.general;
    let selector = |register: usize| u64::from(state.segments[register].selector);
    let registers: [u64; 17] = [
        g[general::RBX],
        g[general::RCX],
        g[general::RDX],
        g[general::RSI],
        g[general::RDI],
        g[general::RBP],
        g[general::RAX],
        selector(segment::DS),
        selector(segment::ES),
        selector(segment::FS),
        selector(segment::GS),
        u64::MAX,
        state.rip,
        selector(segment::CS),
        state.rflags,
        g[general::RSP],
        selector(segment::SS),
    ];
    let registers = registers.iter().flat_map(|value| (*value as u32).to_le_bytes());
    status((144, 24, 72), id, registers.collect())
}

/// The structure of `bytes`, with the thread's number at `id_at` and its registers behind.
fn status(
    (bytes, id_at, registers_at): (usize, usize, usize),
    id: u32,
    registers: Vec<u8>,
) -> Vec<u8> {
    /// `pr_cursig`.
    const SIGNAL_AT: usize = 12;
    let mut status = vec![0; bytes];
    status[SIGNAL_AT..SIGNAL_AT + 2].copy_from_slice(&SIGNAL.to_le_bytes());
    status[id_at..id_at + 4].copy_from_slice(&id.to_le_bytes());
    status[registers_at..registers_at + registers.len()].copy_from_slice(&registers);
    status
}
