//! An exit storm that never ends: its neighbours must get their share all the same.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::console;
use core::arch::asm;

const SCRATCH_PORT: u16 = console::COM1 + 7;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    console::Line::new().text("storm_forever: starting").print();
    // SAFETY: writes a scratch register for ever.
    unsafe {
        asm!("2: out dx, al", "jmp 2b", in("dx") SCRATCH_PORT, in("al") 0_u8,
            options(noreturn, nomem, nostack));
    }
}
