//! What the images share: the way from the loader into 64-bit code, the console, power-off, the
//! clock and the memory functions the compiler calls. Everything here runs in ring 0.
//!
//! Ring 0 may be interpreted at about a microsecond an instruction (a KVM without hardware help),
//! so this code counts instructions, formats no numbers through `core::fmt` (its padding reaches
//! SSE code that such an interpreter refuses) and prints in bursts of the UART's FIFO.
#![allow(dead_code, reason = "each image uses its own part")]

pub mod boot;
pub mod clock;
pub mod command_line;
pub mod console;
pub mod cpu;
pub mod descriptors;
pub mod global;
pub mod interrupt_controller;
pub mod interrupts;
pub mod link;
pub mod memory;
pub mod power;
pub mod ring3;
pub mod timer;

use core::panic::PanicInfo;

/// The status a guest ends with when its own code is wrong.
pub const STATUS_PANIC: u32 = 101;

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    let mut line = console::Line::new();
    line.text("panic");
    if let Some(place) = information.location() {
        line.text(" at ").text(place.file()).text(":").decimal(u64::from(place.line()));
    }
    if let Some(message) = information.message().as_str() {
        line.text(": ").text(message);
    }
    line.print();
    power::off(STATUS_PANIC)
}
