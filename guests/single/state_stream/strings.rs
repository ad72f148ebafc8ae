//! INS and OUTS across pages, into pages that are read-only or absent.
//!
//! From 1 GiB on lie five pages: two that can be written, one that can only be read, one that is
//! absent, one that can be written.

use crate::common::global::Global;
use crate::{Stream, ports};

const PAGE: u64 = 4096;
const PAGES: usize = 5;
const WINDOW: u64 = 1 << 30;
const READ_ONLY: usize = 2;
const ABSENT: usize = 3;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
/// What is noted on either side of a page's start; no string reaches farther.
const REACH: u64 = 64;

#[repr(C, align(4096))]
struct Table([u64; 512]);

#[repr(C, align(4096))]
struct Memory([u8; PAGES * PAGE as usize]);

static TABLE: Global<Table> = Global::new(Table([0; 512]));
static MEMORY: Global<Memory> = Global::new(Memory([0; PAGES * PAGE as usize]));

unsafe extern "C" {
    static mut user_directory: [u64; 512];
}

/// Ports of 1, 2 and 4 bytes that strings go to and come from.
const PORTS: &[(u16, &[u8])] = &[
    (0x4CE, &[1, 2, 4]), // up to the 8259's edge/level control, which QEMU does not split off
    (0x3FF, &[1]),
    (0x21, &[1]),
    (0xA1, &[1]),
    (0x71, &[1]),
    (0x80, &[1]),
    (0x1234, &[1, 2, 4]),
];

pub fn initialise() {
    let table = TABLE.pointer() as u64;
    for page in 0..PAGES {
        let address = MEMORY.pointer() as u64 + page as u64 * PAGE;
        let entry = match page {
            READ_ONLY => address | PRESENT,
            ABSENT => 0,
            _ => address | PRESENT | WRITABLE,
        };
        // SAFETY: the only reference; not in use yet.
        unsafe { (*TABLE.pointer()).0[page] = entry };
    }
    let directory = &raw mut user_directory;
    // SAFETY: the boot code left the directory empty, so nothing is there to be dropped from a TLB.
    unsafe { (*directory)[0] = table | PRESENT | WRITABLE };
}

/// INS, OUTS with and without REP, either way, with addresses of 32 and 64 bits.
pub fn step(stream: &mut Stream) {
    const DIRECTION: u64 = 1 << 10;
    let ports = if stream.is_common { &PORTS[1..] } else { PORTS };
    let (port, sizes) = *stream.random.pick(ports);
    let size = *stream.random.pick(sizes);
    let is_short = stream.random.below(3) == 0;
    let is_input = stream.random.below(2) == 0;
    let count = stream.random.below(6);
    let mut boundary = 1 + stream.random.below(PAGES as u64 - 1);
    // Over Linux's KVM (6.1) the part of an element before the page that faults was stored, or RCX
    // and RDI stood an element back. Whether KVM or vmm-kvm's reply to the exit does it is open.
    if is_input && size > 1 && !stream.is_bare {
        boundary = 1;
    }
    let mut registers = stream.registers();
    let [_, rcx, rdx, _, rsi, rdi, _, flags] = &mut registers.0;
    *rdx = (*rdx & !0xFFFF) | u64::from(port);
    *flags |= if stream.random.below(2) == 0 { DIRECTION } else { 0 };
    let pointer = if is_input { rdi } else { rsi };
    *pointer = WINDOW + boundary * PAGE - 20 + stream.random.below(40);
    *rcx = count;
    if is_short && count > 0 {
        // Without an element to move, what becomes of the upper halves is the model's own.
        *rcx |= u64::from(stream.random.next() as u32) << 32;
        *pointer |= u64::from(stream.random.next() as u32) << 32;
    } else if !is_short && stream.random.below(16) == 0 {
        *pointer |= 1 << 47; // not canonical
    }
    let (code, len) = code(stream, size, is_short, is_input);
    fill(stream);
    // SAFETY: changes the pages alone; faults are caught.
    unsafe { stream.run(&code[..len], &mut registers) };
    note_memory(stream, boundary);
    ports::note_devices(stream);
}

fn code(stream: &mut Stream, size: u8, is_short: bool, is_input: bool) -> ([u8; 5], usize) {
    let (mut code, mut len) = ([0; 5], 0);
    let mut put = |is_there: bool, byte: u8| {
        if is_there {
            code[len] = byte;
            len += 1;
        }
    };
    put(stream.random.below(3) > 0, 0xF3);
    // FS, whose base is 0: its use shows that the prefix is no part of the opcode.
    put(stream.random.below(4) == 0, 0x64);
    put(is_short, 0x67);
    put(size == 2, 0x66);
    put(true, if is_input { 0x6C } else { 0x6E } | u8::from(size > 1));
    (code, len)
}

/// New contents around the bounds of all pages.
fn fill(stream: &mut Stream) {
    // SAFETY: the only reference; no string is under way.
    let memory = unsafe { &mut (*MEMORY.pointer()).0 };
    for page in 1..PAGES {
        let start = page * PAGE as usize - REACH as usize;
        for word in memory[start..start + 2 * REACH as usize].chunks_exact_mut(8) {
            word.copy_from_slice(&stream.random.next().to_le_bytes());
        }
    }
}

fn note_memory(stream: &mut Stream, boundary: u64) {
    let start = (boundary * PAGE - REACH) as usize;
    // SAFETY: as for `fill`.
    let memory = unsafe { &(*MEMORY.pointer()).0 };
    let words = memory[start..start + 2 * REACH as usize].chunks_exact(8);
    let sum = words.fold(0_u64, |sum, word| {
        let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        (sum.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    stream.note(sum);
}
