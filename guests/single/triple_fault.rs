//! A fault without any gate to handle it, which shuts the processor down.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::console;
use core::arch::asm;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    console::Line::new().text("triple_fault: going").print();
    let no_gates = [0_u64; 2];
    // SAFETY: it is not safe: the processor finds no gate, no double-fault gate, and gives up.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const no_gates, options(noreturn)) }
}
