//! Spins in ring 0 with interrupts off, for ever.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::console;
use core::arch::asm;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    console::Line::new().text("spin_cli: spinning").print();
    // SAFETY: touches nothing.
    unsafe { asm!("cli", "2: jmp 2b", options(noreturn, nomem, nostack)) }
}
