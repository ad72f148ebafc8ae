//! What the guests with several processors share: finding them in firmware's tables, the way of a
//! processor from a start-up IPI to Rust, interprocessor interrupts, and handlers that count.
//!
//! The image's root provides `fn run_processor(me: &'static Processor) -> !`, which a processor
//! runs once it has started.
#![allow(dead_code, reason = "each image uses its own part")]

pub mod firmware_tables;
pub mod handlers;
pub mod ipi;
pub mod processors;
pub mod trampoline;

use crate::common::{console, interrupt_controller, interrupts};

/// Prepares the console, the gates and the controllers of the processor that runs this.
pub fn begin() {
    console::initialise(console::COM1);
    interrupts::initialise();
    handlers::initialise();
    interrupt_controller::mask_8259();
}
