//! A fault without any gate to handle it, which shuts the processor down.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{console, power};

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    console::Line::new().text("triple_fault: going").print();
    power::triple_fault()
}
