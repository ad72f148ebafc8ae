//! Whether an event can be delivered through the guest's IDT, and what it raises if not (SDM vol.
//! 3, 6.10 to 6.14; the error codes are those of "INT n", SDM vol. 2).

use super::scene::Scene;
use super::tables::Failure;
use crate::memory::GuestMemory;
use crate::registers::segment;
use crate::x86::segmentation::is_canonical;
use crate::x86::{Exception, Guest};
use alloc::format;
use alloc::string::String;

/// Vectors (SDM vol. 3, table 6-1).
const SEGMENT_NOT_PRESENT: u8 = 11;
const INVALID_TSS: u8 = 10;
/// Error codes (SDM vol. 3, 6.13): the event was external to the program, the selector is of the
/// IDT, of the LDT.
const EXTERNAL: u32 = 1;
const OF_IDT: u32 = 2;
const OF_LDT: u16 = 4;
/// Gate types (SDM vol. 3, table 3-2).
const TASK_GATE: u8 = 0x5;
const GATES_16: [u8; 2] = [0x6, 0x7];
const GATES: [u8; 2] = [0xe, 0xf];
/// Bits of the upper half of a descriptor (SDM vol. 3, 3.4.5).
const CODE: u64 = 0x18 << 40;
const CONFORMING: u64 = 1 << 42;
const PRESENT: u64 = 1 << 47;
const LONG: u64 = 1 << 53;
const BIG: u64 = 1 << 54;

/// What an IDT's entry says.
struct Gate {
    selector: u16,
    offset: u64,
    /// Interrupt stack table entry, 0 for none.
    stack: u8,
}

/// The event that is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub vector: u8,
    /// By INT n: the gate's DPL counts.
    pub is_software: bool,
    pub has_error_code: bool,
}

/// What the delivery raises; None: the handler would have been entered.
pub fn deliver<M: GuestMemory>(scene: &Scene<'_, M>, event: Event) -> Option<Failure> {
    match scene.is_protected() {
        true => protected(scene, event),
        false => real_mode(scene, event),
    }
    .err()
}

fn real_mode<M: GuestMemory>(scene: &Scene<'_, M>, event: Event) -> Result<(), Failure> {
    let (idt, at) = (scene.state.idtr, u64::from(event.vector) * 4);
    if at + 3 > idt.limit.into() {
        let why = no_gate(event.vector, idt.limit);
        return Err(Failure::new(Exception::GENERAL_PROTECTION, why));
    }
    scene.read_linear(idt.base.wrapping_add(at), &mut [0; 4], "the interrupt vector")
}

fn protected<M: GuestMemory>(scene: &Scene<'_, M>, event: Event) -> Result<(), Failure> {
    let gate = gate(scene, event)?;
    let descriptor = code_segment(scene, event, &gate)?;
    let is_inner = (descriptor >> 45 & 3) < u64::from(scene.cpl()) && descriptor & CONFORMING == 0;
    push(scene, event, &gate, is_inner)?;
    if scene.is_long() && !is_canonical(gate.offset) {
        let why = format!("its handler is at {:#x}, which is no canonical address", gate.offset);
        return Err(Failure::new(general_protection(external(event)), why));
    }
    Ok(())
}

fn gate<M: GuestMemory>(scene: &Scene<'_, M>, event: Event) -> Result<Gate, Failure> {
    let Event { vector, .. } = event;
    let code = (u32::from(vector) * 8) | OF_IDT | external(event);
    let general = |why| Failure::new(general_protection(code), why);
    let (idt, is_long) = (scene.state.idtr, scene.is_long());
    let size: u64 = if is_long { 16 } else { 8 };
    let at = u64::from(vector) * size;
    if at + size - 1 > idt.limit.into() {
        return Err(general(no_gate(vector, idt.limit)));
    }
    let mut bytes = [0; 16];
    let entry = &mut bytes[..size as usize];
    scene.read_linear(idt.base.wrapping_add(at), entry, "the IDT's entry")?;
    let (low, high) = (u64_at(&bytes, 0), u64_at(&bytes, 8));
    let (kind, dpl) = ((low >> 40 & 0x1f) as u8, (low >> 45 & 3) as u8);
    if kind == TASK_GATE && !is_long {
        return Err(general(format!("the IDT's entry {vector} is a task gate, not followed here")));
    }
    if !(GATES.contains(&kind) || GATES_16.contains(&kind) && !is_long) {
        return Err(general(format!("the IDT's entry {vector} is no gate ({low:#x})")));
    }
    if event.is_software && scene.cpl() > dpl {
        return Err(general(format!("the IDT's gate {vector} is for ring {dpl}")));
    }
    if low & PRESENT == 0 {
        let why = format!("the IDT's gate {vector} is not present");
        return Err(Failure::new(Exception::coded(SEGMENT_NOT_PRESENT, code), why));
    }
    let offset = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
    Ok(Gate { selector: (low >> 16) as u16, offset, stack: (low >> 32 & 7) as u8 })
}

/// The descriptor of a gate's code segment.
fn code_segment<M: GuestMemory>(
    scene: &Scene<'_, M>,
    event: Event,
    gate: &Gate,
) -> Result<u64, Failure> {
    let (selector, vector) = (gate.selector, event.vector);
    let code = u32::from(selector & !3) | external(event);
    let of = |what: &str| format!("the gate {vector} has selector {selector:#x}, {what}");
    let general = |what: &str| Failure::new(general_protection(code), of(what));
    if selector & !3 == 0 {
        return Err(Failure::new(general_protection(external(event)), of("which is null")));
    }
    let (base, limit, table) = match selector & OF_LDT {
        0 => (scene.state.gdtr.base, u32::from(scene.state.gdtr.limit), "GDT"),
        _ => {
            let ldt = scene.state.segments[segment::LDTR];
            (ldt.base, ldt.limit, "LDT")
        }
    };
    let at = u64::from(selector & !7);
    if at + 7 > limit.into() {
        return Err(general(&format!("beyond the {table} (limit {limit:#x})")));
    }
    let mut bytes = [0; 8];
    scene.read_linear(
        base.wrapping_add(at),
        &mut bytes,
        &format!("the {table}'s entry {at:#x}"),
    )?;
    let descriptor = u64::from_le_bytes(bytes);
    if descriptor & CODE != CODE {
        return Err(general(&format!("whose descriptor {descriptor:#x} is of no code segment")));
    }
    if scene.is_long() && descriptor & (LONG | BIG) != LONG {
        return Err(general(&format!("whose descriptor {descriptor:#x} is of no 64-bit code")));
    }
    if descriptor >> 45 & 3 > scene.cpl().into() {
        return Err(general(&format!("whose descriptor {descriptor:#x} is of an outer ring")));
    }
    if descriptor & PRESENT == 0 {
        let why = of("whose segment is not present");
        return Err(Failure::new(Exception::coded(SEGMENT_NOT_PRESENT, code), why));
    }
    Ok(descriptor)
}

/// The frame that the handler gets.
fn push<M: GuestMemory>(
    scene: &Scene<'_, M>,
    event: Event,
    gate: &Gate,
    is_inner: bool,
) -> Result<(), Failure> {
    let code = u64::from(event.has_error_code);
    let what = "the stack that its frame goes to";
    if scene.is_long() {
        let top = match (gate.stack, is_inner) {
            (0, false) => scene.state.general[crate::registers::general::RSP],
            (0, true) => task_stack(scene, event, 4, 8, "RSP0")?,
            (entry, _) => {
                let at = 36 + 8 * (u64::from(entry) - 1);
                task_stack(scene, event, at, 8, &format!("IST{entry}"))?
            }
        };
        let words = 5 + code;
        let bottom = (top & !15).wrapping_sub(words * 8);
        if !is_canonical(bottom) {
            let why = format!("{what} is at {bottom:#x}, which is no canonical address");
            return Err(Failure::new(Exception::coded(12, external(event)), why));
        }
        return scene.check_pushes(bottom, (words, 8), what);
    }
    let stack = scene.state.segments[segment::SS];
    let (base, top, words) = match is_inner {
        true => (0, task_stack(scene, event, 4, 4, "ESP0")?, 5 + code),
        false => (stack.base, scene.state.general[crate::registers::general::RSP], 3 + code),
    };
    let bottom = (top & 0xffff_ffff).wrapping_sub(words * 4) & 0xffff_ffff;
    let is_expand_down = stack.access & 4 != 0;
    let last = bottom + words * 4 - 1;
    let is_beyond = !is_inner && !is_expand_down && last > stack.limit.into();
    if is_beyond {
        let why = format!("{what} is at {bottom:#x}, beyond SS (limit {:#x})", stack.limit);
        return Err(Failure::new(Exception::coded(12, external(event)), why));
    }
    scene.check_pushes(base.wrapping_add(bottom) & 0xffff_ffff, (words, 4), what)
}

/// A stack pointer of the task-state segment (SDM vol. 3, 7.2.1 and 7.7).
fn task_stack<M: GuestMemory>(
    scene: &Scene<'_, M>,
    event: Event,
    at: u64,
    bytes: u64,
    what: &str,
) -> Result<u64, Failure> {
    let task = scene.state.segments[segment::TR];
    if at + bytes - 1 > task.limit.into() {
        let code = u32::from(task.selector & !3) | external(event);
        let why = format!("the TSS has no {what} (limit {:#x})", task.limit);
        return Err(Failure::new(Exception::coded(INVALID_TSS, code), why));
    }
    let mut word = [0; 8];
    let place = &mut word[..bytes as usize];
    scene.read_linear(task.base.wrapping_add(at), place, &format!("the TSS's {what}"))?;
    Ok(u64::from_le_bytes(word))
}

/// Why a vector beyond the IDT has no gate.
pub fn no_gate(vector: u8, limit: u16) -> String {
    format!("the IDT has no gate {vector} (limit {limit})")
}

/// INT n is no external event; all others are (SDM vol. 3, 6.13).
const fn external(event: Event) -> u32 {
    if event.is_software { 0 } else { EXTERNAL }
}

const fn general_protection(code: u32) -> Exception {
    Exception::coded(13, code)
}

fn u64_at(bytes: &[u8; 16], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
