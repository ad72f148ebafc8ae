//! Halts with interrupts off: nothing can wake it.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{console, power};

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    console::Line::new().text("halt_cli: halting").print();
    power::halt_for_ever()
}
