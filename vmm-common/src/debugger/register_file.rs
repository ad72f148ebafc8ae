//! The registers as the bytes that gdb reads and writes.

use super::full_state::FullState;
use super::places::{MAX_BYTES, Register, Width, places};
use crate::architecture::efer;
use crate::registers::Segment;
use alloc::vec::Vec;

/// Registers as gdb sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterFile {
    bytes: Vec<u8>,
    pc: u64,
}

/// A register by gdb's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterNumber(pub usize);

impl RegisterFile {
    /// The vCPU's.
    #[must_use]
    pub fn of(state: &FullState, width: Width) -> Self {
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        for place in places(width) {
            let mut value = [0; 16];
            get(state, place.register, &mut value);
            bytes.extend_from_slice(&value[..place.bytes]);
        }
        Self { bytes, pc: state.cpu.rip }
    }

    /// The bytes, all registers one behind the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// RIP.
    #[must_use]
    pub const fn pc(&self) -> u64 {
        self.pc
    }

    /// Takes what gdb wrote.
    pub fn set_bytes(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(MAX_BYTES)]);
    }

    /// Puts the values into `state`, as far as gdb wrote them.
    pub fn store(&self, state: &mut FullState, width: Width) {
        let mut rest = &*self.bytes;
        for place in places(width) {
            let Some((value, behind)) = rest.split_at_checked(place.bytes) else { return };
            set(state, place.register, value, width);
            rest = behind;
        }
    }
}

/// The bytes of one register; None if there is none of this number.
pub fn read_one(
    state: &FullState,
    width: Width,
    RegisterNumber(number): RegisterNumber,
    to: &mut [u8],
) -> Option<usize> {
    let place = *places(width).get(number)?;
    let mut value = [0; 16];
    get(state, place.register, &mut value);
    to.get_mut(..place.bytes)?.copy_from_slice(&value[..place.bytes]);
    Some(place.bytes)
}

/// Sets one register; false if there is none of this number and size.
pub fn write_one(
    state: &mut FullState,
    width: Width,
    RegisterNumber(number): RegisterNumber,
    value: &[u8],
) -> bool {
    let Some(place) = places(width).get(number).copied() else { return false };
    let is_whole = value.len() == place.bytes;
    if is_whole {
        set(state, place.register, value, width);
    }
    is_whole
}

fn get(state: &FullState, register: Register, to: &mut [u8; 16]) {
    let cpu = &state.cpu;
    let value = match register {
        Register::General(at) => cpu.general[at],
        Register::Ip => cpu.rip,
        Register::Flags => cpu.rflags,
        Register::Selector(at) => cpu.segments[at].selector.into(),
        Register::Base(at) => cpu.segments[at].base,
        Register::KernelGsBase => state.kernel_gs_base,
        Register::Cr(0) => cpu.cr0,
        Register::Cr(2) => cpu.cr2,
        Register::Cr(3) => cpu.cr3,
        Register::Cr(4) => cpu.cr4,
        Register::Cr(_) => state.cr8,
        Register::Efer => cpu.efer,
        Register::St(at) => {
            to[..10].copy_from_slice(&state.fxsave[32 + 16 * at..][..10]);
            return;
        }
        Register::Xmm(at) => {
            to.copy_from_slice(&state.fxsave[160 + 16 * at..][..16]);
            return;
        }
        Register::Mxcsr => double(&state.fxsave, 24).into(),
        Register::X87(at) => x87(&state.fxsave, at).into(),
    };
    to[..8].copy_from_slice(&value.to_le_bytes());
}

fn set(state: &mut FullState, register: Register, value: &[u8], width: Width) {
    let mut bytes = [0; 16];
    bytes[..value.len()].copy_from_slice(value);
    let number = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
    // What a 32-bit gdb does not see stays.
    let merged = |before: u64| match width {
        Width::Bits64 => number,
        Width::Bits32 => before & !0xffff_ffff | number,
    };
    let cpu = &mut state.cpu;
    match register {
        Register::General(at) => cpu.general[at] = merged(cpu.general[at]),
        Register::Ip => cpu.rip = number,
        Register::Flags => cpu.rflags = cpu.rflags & !0xffff_ffff | number,
        Register::Selector(at) => select(&mut cpu.segments[at], number as u16, cpu.cr0),
        Register::Base(at) => cpu.segments[at].base = merged(cpu.segments[at].base),
        Register::KernelGsBase => state.kernel_gs_base = merged(state.kernel_gs_base),
        Register::Cr(0) => cpu.cr0 = merged(cpu.cr0),
        Register::Cr(2) => cpu.cr2 = merged(cpu.cr2),
        Register::Cr(3) => cpu.cr3 = merged(cpu.cr3),
        Register::Cr(4) => cpu.cr4 = merged(cpu.cr4),
        Register::Cr(_) => {}
        // LMA follows from LME and CR0.PG.
        Register::Efer => cpu.efer = number & !efer::LMA | cpu.efer & efer::LMA,
        Register::St(at) => state.fxsave[32 + 16 * at..][..10].copy_from_slice(value),
        Register::Xmm(at) => state.fxsave[160 + 16 * at..][..16].copy_from_slice(value),
        Register::Mxcsr => state.fxsave[24..28].copy_from_slice(value),
        Register::X87(at) => set_x87(&mut state.fxsave, at, number as u32),
    }
}

/// A selector that gdb writes: in real mode the base follows; in protected mode the hidden part is
/// that of a descriptor which gdb does not load, and stays.
fn select(segment: &mut Segment, selector: u16, cr0: u64) {
    const PROTECTED: u64 = 1;
    if segment.selector != selector && cr0 & PROTECTED == 0 {
        segment.base = u64::from(selector) << 4;
    }
    segment.selector = selector;
}

fn word(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([image[at], image[at + 1]])
}

fn double(image: &[u8], at: usize) -> u32 {
    u32::from(word(image, at)) | u32::from(word(image, at + 2)) << 16
}

/// FCTRL and so on, from their places (SDM vol. 1, table 10-2, with REX.W: pointers of 64 bits).
fn x87(image: &[u8], at: usize) -> u32 {
    match at {
        0 => word(image, 0).into(),
        1 => word(image, 2).into(),
        2 => full_tags(image).into(),
        3 => word(image, 12).into(),
        4 => double(image, 8),
        5 => word(image, 20).into(),
        6 => double(image, 16),
        _ => word(image, 6).into(),
    }
}

fn set_x87(image: &mut [u8], at: usize, value: u32) {
    let bytes = value.to_le_bytes();
    let (place, len) = match at {
        0 => (0, 2),
        1 => (2, 2),
        2 => {
            // A register is empty if its tag is 3.
            image[4] = (0..8).filter(|at| value >> (2 * at) & 3 != 3).map(|at| 1u8 << at).sum();
            return;
        }
        3 => (12, 2),
        4 => (8, 4),
        5 => (20, 2),
        6 => (16, 4),
        _ => (6, 2),
    };
    image[place..place + len].copy_from_slice(&bytes[..len]);
}

/// The tag word that FXSAVE abridges (SDM vol. 1, 10.5.1.1 and table 10-3).
fn full_tags(image: &[u8]) -> u16 {
    let top = word(image, 2) >> 11 & 7;
    let tag = |physical: u16| {
        if image[4] & 1 << physical == 0 {
            return 3;
        }
        let st = &image[32 + 16 * usize::from((physical + 8 - top) & 7)..][..10];
        let exponent = word(st, 8) & 0x7fff;
        let is_zero = st[..8].iter().all(|byte| *byte == 0);
        match (exponent, st[7] & 0x80 != 0) {
            (0, false) if is_zero => 1,
            (0x7fff, _) | (0, _) | (_, false) => 2,
            (_, true) => 0,
        }
    };
    (0..8).map(|physical| tag(physical) << (2 * physical)).sum()
}
