//! How the guest came to where it is: return addresses by frame pointers, and the stack's top.
//!
//! A guest's stack may hold anything. The walk goes up alone, so that no chain of frames loops, and
//! ends with the first word that is in no page.

use super::scene::Scene;
use crate::memory::GuestMemory;
use crate::registers::general;
use crate::x86::Guest;
use crate::x86::paging::{Access, AccessKind};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Callers that are shown at most, each recursion as one.
const MOST_FRAMES: usize = 16;
/// Frames that are looked at.
const MOST_WALKED: u32 = 4096;
/// Words of the stack that are shown.
const WORDS: u64 = 8;
const PUSH_BP: u8 = 0x55;
const RET: u8 = 0xc3;
/// The shortest and the longest CALL by a register or by memory, without prefixes.
const SHORTEST_CALL: u64 = 2;
const LONGEST_CALL: u64 = 7;

/// Where it is, and who called: addresses, the innermost first. None in 16-bit code, which keeps no
/// such frames.
pub fn call_trace<M: GuestMemory>(scene: &Scene<'_, M>) -> Option<String> {
    if scene.code_bits() == 16 {
        return None;
    }
    let mut trace = Trace::default();
    trace.add(scene.linear_rip());
    // A CALL of a bad address pushed where it came from, and its target made no frame. Nor is there
    // one before the PUSH of a function's beginning, and at its RET.
    let is_lost = matches!(byte(scene, scene.linear_rip()), None | Some(PUSH_BP | RET));
    if let Some(top) = word(scene, scene.general(general::RSP as u8)).filter(|_| is_lost)
        && follows_call(scene, top)
    {
        trace.add(top);
    }
    let mut frame = scene.general(general::RBP as u8);
    let size = word_bytes(scene);
    for _ in 0..MOST_WALKED {
        let (Some(next), Some(back)) = (word(scene, frame), word(scene, frame.wrapping_add(size)))
        else {
            break;
        };
        // The first function has no caller: none is named, or none is there.
        if frame == 0
            || back == 0
            || byte(scene, back).is_none()
            || !trace.add(back)
            || next <= frame
        {
            break;
        }
        frame = next;
    }
    Some(format!("call trace: {}", trace.in_words()))
}

/// How it came to where no code is, if a RET brought it there: the word that the stack's top has
/// just left is that address.
pub fn bad_return<M: GuestMemory>(scene: &Scene<'_, M>) -> Option<String> {
    let below = scene.general(general::RSP as u8).wrapping_sub(word_bytes(scene));
    let is_code = byte(scene, scene.linear_rip()).is_some();
    let is_returned = scene.code_bits() != 16 && !is_code;
    (is_returned && word(scene, below) == Some(scene.rip()))
        .then(|| format!("a RET took {:#x} from the stack", scene.rip()))
}

/// Return addresses; those of a recursion are counted.
#[derive(Default)]
struct Trace(Vec<(u64, u32)>);

impl Trace {
    /// Whether there is room for a further one.
    fn add(&mut self, address: u64) -> bool {
        match self.0.last_mut() {
            Some((last, count)) if *last == address => *count += 1,
            _ => self.0.push((address, 1)),
        }
        self.0.len() <= MOST_FRAMES
    }

    fn in_words(&self) -> String {
        let one = |(address, count): &(u64, u32)| match count {
            1 => format!("{address:#x}"),
            count => format!("{address:#x} ({count} times)"),
        };
        let shown: Vec<String> = self.0.iter().take(MOST_FRAMES).map(one).collect();
        let more = if self.0.len() > MOST_FRAMES { " <- ..." } else { "" };
        shown.join(" <- ") + more
    }
}

/// The words at the top of the stack.
pub fn stack<M: GuestMemory>(scene: &Scene<'_, M>) -> String {
    let (top, size) = (scene.general(general::RSP as u8), word_bytes(scene));
    let words = (0..WORDS).map_while(|at| word(scene, top.wrapping_add(at * size)));
    let shown: Vec<String> = words.map(|word| format!("{word:x}")).collect();
    match shown.is_empty() {
        true => format!("stack at {top:#x}: in no page"),
        false => format!("stack at {top:#x}: {}", shown.join(" ")),
    }
}

/// Whether the instruction before `address` is a CALL: E8, or FF /2 of any length.
fn follows_call<M: GuestMemory>(scene: &Scene<'_, M>, address: u64) -> bool {
    let at = |back: u64| byte(scene, address.wrapping_sub(back));
    at(5) == Some(0xe8)
        || (SHORTEST_CALL..=LONGEST_CALL).any(|len| {
            at(len) == Some(0xff) && at(len - 1).is_some_and(|mod_rm| mod_rm >> 3 & 7 == 2)
        })
}

fn word_bytes<M: GuestMemory>(scene: &Scene<'_, M>) -> u64 {
    match scene.code_bits() {
        64 => 8,
        32 => 4,
        _ => 2,
    }
}

/// A word of the stack.
fn word<M: GuestMemory>(scene: &Scene<'_, M>, offset: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    for (at, to) in (0..word_bytes(scene)).zip(&mut bytes) {
        *to = byte(scene, scene.stack_linear(offset.wrapping_add(at)))?;
    }
    Some(u64::from_le_bytes(bytes))
}

/// The byte at a linear address, if a page is there, and RAM.
fn byte<M: GuestMemory>(scene: &Scene<'_, M>, linear: u64) -> Option<u8> {
    let access = Access { kind: AccessKind::Read, is_user: false, may_reach_user: true };
    let physical = scene.paging().translate(scene.memory(), linear, access).ok()?;
    let mut byte = [0];
    scene.memory().read(physical, &mut byte).then_some(byte[0])
}

/// The bytes of the instruction, as far as they can be read, for a program that disassembles.
pub fn code<M: GuestMemory>(scene: &Scene<'_, M>) -> Vec<u8> {
    let rip = scene.linear_rip();
    (0..15).map_while(|at| byte(scene, rip.wrapping_add(at))).collect()
}
