//! Reads and writes model-specific registers over wide ranges: each is read, written back, and
//! written with all ones. A #GP is the right answer for most; its handler skips the instruction.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::descriptors::{self, Caller};
use common::{console, interrupts, power};
use core::arch::{asm, global_asm};
use core::ops::Range;

const GENERAL_PROTECTION: usize = 13;
const RANGES: [Range<u32>; 5] = [
    0..0x1000,
    0x4000_0000..0x4000_0200,
    0x8000_0000..0x8000_0100,
    0xC000_0000..0xC000_0400,
    0xC001_0000..0xC001_1400,
];

/// All ones in these would stop this guest or its clock: the time stamp and its adjustment, the
/// deadline, the extended features.
fn keeps_its_value(register: u32) -> bool {
    matches!(register, 0x10 | 0x3B | 0x6E0 | 0xC000_0080)
}

global_asm!(
    "
    .section .text.skip_instruction, \"ax\"
skip_instruction:                   // #GP: RDMSR and WRMSR are two bytes long
    mov byte ptr [was_refused], 1
    add qword ptr [rsp + 8], 2
    add rsp, 8                      // the error code
    iretq
    .section .bss.skip_instruction, \"aw\", @nobits
was_refused: .skip 1
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static skip_instruction: u8;
    static mut was_refused: u8;
}

struct Counts {
    read: u64,
    written: u64,
    refused: u64,
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let handler = &raw const skip_instruction as u64;
    descriptors::set_gate(GENERAL_PROTECTION, handler, Caller::Hardware);
    let mut counts = Counts { read: 0, written: 0, refused: 0 };
    for register in RANGES.into_iter().flatten() {
        let value = read(register, &mut counts);
        write(register, value, &mut counts);
        if !keeps_its_value(register) {
            write(register, u64::MAX, &mut counts);
            write(register, value, &mut counts);
        }
    }
    let mut line = console::Line::new();
    line.text("bad_msrs: ").decimal(counts.read).text(" read, ").decimal(counts.written);
    line.text(" written, ").decimal(counts.refused).text(" refused").print();
    power::off(0)
}

fn read(register: u32, counts: &mut Counts) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: a refused read is skipped and leaves the zeros.
    unsafe {
        asm!("rdmsr", in("ecx") register, inout("eax") 0_u32 => low, inout("edx") 0_u32 => high);
    }
    counts.note_access(|counts| &mut counts.read);
    u64::from(high) << 32 | u64::from(low)
}

fn write(register: u32, value: u64, counts: &mut Counts) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller keeps from the registers that this code depends on.
    unsafe { asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high) }
    counts.note_access(|counts| &mut counts.written);
}

impl Counts {
    fn note_access(&mut self, accepted: fn(&mut Self) -> &mut u64) {
        let flag = &raw mut was_refused;
        // SAFETY: only the handler above writes it, within the access before this.
        if unsafe { flag.read_volatile() } == 0 {
            *accepted(self) += 1;
        } else {
            self.refused += 1;
            // SAFETY: as above.
            unsafe { flag.write_volatile(0) };
        }
    }
}
