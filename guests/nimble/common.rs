//! What this guest takes of `guests/common/`: not the way into 64-bit mode and not the gates, which
//! are of another layout here, and nothing that uses string I/O.
#![allow(dead_code, reason = "each image uses its own part")]

#[path = "../common/command_line.rs"]
pub mod command_line;
#[path = "../common/console.rs"]
pub mod console;
#[path = "../common/cpu.rs"]
pub mod cpu;
#[path = "../common/global.rs"]
pub mod global;
#[path = "../common/interrupt_controller.rs"]
pub mod interrupt_controller;
#[path = "../common/memory.rs"]
pub mod memory;
#[path = "../common/power.rs"]
pub mod power;
