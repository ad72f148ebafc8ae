//! Reads and writes model-specific registers over wide ranges: each is read, written back, and
//! written with all ones. A #GP is the right answer for most; its handler skips the instruction.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/refused.rs"]
mod refused;

use common::{console, interrupts, power};
use core::arch::asm;
use core::ops::Range;

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

struct Counts {
    read: u64,
    written: u64,
    refused: u64,
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    refused::skip_refused();
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
    let value = refused::read(register);
    counts.note_access(|counts| &mut counts.read);
    value
}

fn write(register: u32, value: u64, counts: &mut Counts) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller keeps from the registers that this code depends on.
    unsafe { asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high) }
    counts.note_access(|counts| &mut counts.written);
}

impl Counts {
    fn note_access(&mut self, accepted: fn(&mut Self) -> &mut u64) {
        if refused::was_refused() {
            self.refused += 1;
        } else {
            *accepted(self) += 1;
        }
    }
}
