//! The first exception: what the instruction raises if it is carried out once more.

use super::scene::Scene;
use crate::memory::GuestMemory;
use crate::registers::INSTRUCTION_BYTES;
use crate::x86::paging::{Access, AccessKind};
use crate::x86::segmentation::{is_canonical, linear};
use crate::x86::{Exception, Guest, Outcome, Reads, Refusal, carry_out, decode};
use alloc::format;
use alloc::string::String;

/// What a replay shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It raises this.
    Raises(Exception),
    /// It is a software interrupt with this vector.
    Interrupts(u8),
    /// It raises nothing.
    Nothing,
    /// It is not among the instructions that can be carried out here.
    Unknown,
}

/// Reads of devices that are answered with 0 before the replay is given up.
const MOST_READS: usize = 8;

/// What the instruction at RIP raises.
pub fn first_exception<M: GuestMemory>(scene: &Scene<'_, M>) -> Replayed {
    let mut bytes = [0; INSTRUCTION_BYTES];
    let (len, missing) = match fetch(scene, &mut bytes) {
        (0, Some(exception)) => return Replayed::Raises(exception),
        fetched => fetched,
    };
    match decode(scene.code_bits(), &bytes[..len]) {
        Ok(instruction) => {
            let mut copy = scene.copy();
            let mut reads = Reads::NONE;
            for _ in 0..MOST_READS {
                match carry_out(&mut copy, &instruction, &reads, None) {
                    Outcome::Exception(exception) => return Replayed::Raises(exception),
                    Outcome::Done { .. } if copy.has_used_vectors.get() => break,
                    Outcome::Done { .. } => return Replayed::Nothing,
                    Outcome::Wants(_) => reads.push(0),
                }
            }
            Replayed::Unknown
        }
        Err(Refusal::Truncated) => missing.map_or(Replayed::Unknown, Replayed::Raises),
        Err(Refusal::TooLong) => Replayed::Raises(Exception::GENERAL_PROTECTION),
        Err(Refusal::Undefined) => Replayed::Raises(Exception::UNDEFINED),
        Err(Refusal::Unknown) => of_its_own(scene, &bytes[..len]),
    }
}

/// Why the instruction at RIP raises #GP or #SS without a selector, if its addresses show it.
pub fn bad_address<M: GuestMemory>(scene: &Scene<'_, M>) -> Option<String> {
    let is_long = scene.code_bits() == 64;
    if is_long && !is_canonical(scene.rip()) {
        return Some(format!("{:#x} is no canonical address", scene.rip()));
    }
    let mut bytes = [0; INSTRUCTION_BYTES];
    let (len, _) = fetch(scene, &mut bytes);
    let instruction = decode(scene.code_bits(), &bytes[..len]).ok()?;
    let memory = instruction.memory.filter(|memory| !memory.is_rip_relative)?;
    let base = memory.base.map_or(0, |base| scene.general(base));
    let index = memory.index.map_or(0, |(index, scale)| scene.general(index) << scale);
    let offset = memory.displacement.wrapping_add(base).wrapping_add(index);
    let offset = offset & (u64::MAX >> (64 - u32::from(instruction.address_bits.clamp(16, 64))));
    let size = u64::from(instruction.memory_size.max(1));
    linear(scene, memory.segment, offset, size, AccessKind::Read).err()?;
    Some(match is_long {
        true => format!("{offset:#x} is no canonical address"),
        false => format!("offset {offset:#x} is not in its segment"),
    })
}

/// What instructions raise that access no memory, as far as their first bytes show it (SDM vol. 2:
/// INT n, UD, DIV and IDIV, and those that ring 0 has for itself).
fn of_its_own<M: GuestMemory>(scene: &Scene<'_, M>, mut bytes: &[u8]) -> Replayed {
    let (mut rex, mut size) = (0, u64::MAX);
    loop {
        match bytes {
            [0x66, rest @ ..] => (bytes, size) = (rest, 0xffff),
            [prefix @ 0x40..=0x4f, rest @ ..] if scene.code_bits() == 64 => {
                (bytes, rex) = (rest, *prefix);
            }
            _ => break,
        }
    }
    size = if rex & 8 == 0 { size & 0xffff_ffff } else { u64::MAX };
    let is_outer = scene.cpl() > 0;
    match bytes {
        [0xcc, ..] => Replayed::Interrupts(3),
        [0xcd, vector, ..] => Replayed::Interrupts(*vector),
        [0x0f, 0x0b | 0xb9 | 0xff, ..] => Replayed::Raises(Exception::UNDEFINED),
        [opcode @ (0xf6 | 0xf7), mod_rm @ 0xf0..=0xff, ..] => {
            let register = (mod_rm & 7) | (rex & 1) << 3;
            // Without REX the byte registers 4 to 7 are AH to BH.
            let (register, shift) = match (*opcode, register) {
                (0xf6, 4..=7) if rex == 0 => (register - 4, 8),
                (_, register) => (register, 0),
            };
            let size = if *opcode == 0xf6 { 0xff } else { size };
            match scene.general(register) >> shift & size {
                0 => Replayed::Raises(Exception::DIVIDE),
                _ => Replayed::Unknown,
            }
        }
        [0x8e, mod_rm @ 0xc0..=0xff, ..] if scene.is_protected() => {
            let register = (mod_rm & 7) | (rex & 1) << 3;
            scene.loads_segment(mod_rm >> 3 & 7, scene.general(register) as u16)
        }
        [0xf4, ..] | [0x0f, 0x06 | 0x08 | 0x09 | 0x20..=0x23 | 0x30 | 0x32, ..] if is_outer => {
            Replayed::Raises(Exception::GENERAL_PROTECTION)
        }
        _ => Replayed::Unknown,
    }
}

/// Reads the bytes at CS:RIP; how many there are, and what the fetch of the next one raises.
fn fetch<M: GuestMemory>(
    scene: &Scene<'_, M>,
    to: &mut [u8; INSTRUCTION_BYTES],
) -> (usize, Option<Exception>) {
    for (at, byte) in to.iter_mut().enumerate() {
        match fetch_byte(scene, at as u64) {
            Ok(fetched) => *byte = fetched,
            Err(exception) => return (at, Some(exception)),
        }
    }
    (to.len(), None)
}

fn fetch_byte<M: GuestMemory>(scene: &Scene<'_, M>, distance: u64) -> Result<u8, Exception> {
    const CS: u8 = crate::registers::segment::CS as u8;
    let offset = scene.rip().wrapping_add(distance);
    if scene.code_bits() == 64 && !is_canonical(offset) {
        return Err(Exception::GENERAL_PROTECTION);
    }
    let linear = linear(scene, CS, offset, 1, AccessKind::Execute)?;
    let access =
        Access { kind: AccessKind::Execute, is_user: scene.cpl() == 3, may_reach_user: false };
    let physical = scene.paging().translate(scene.memory(), linear, access);
    let physical = physical.map_err(|fault| Exception::page_fault(fault.error, linear))?;
    let mut byte = [0xff];
    // Where there is no RAM the bus reads as ones.
    let _ = scene.memory().read(physical, &mut byte);
    Ok(byte[0])
}
