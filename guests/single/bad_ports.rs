//! Writes and reads every port, one byte each, except those that end or reset the machine.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{console, cpu, power};

/// Power-off: 0x604, 0xB004 (ACPI). Status: 0xF4 to 0xF7. Reset: 0xCF9, 0x64, 0x92. Panic: 0x505.
fn ends_machine(port: u16) -> bool {
    matches!(port, 0x604 | 0xB004 | 0xF4..=0xF7 | 0xCF9 | 0x64 | 0x92 | 0x505)
}

/// What is written there is printed: a debug console's port.
const DEBUG_CONSOLE: u16 = 0xE9;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    for port in 0..=u16::MAX {
        if ends_machine(port) {
            continue;
        }
        // A value that differs from port to port, but keeps the console's transcript readable.
        let prints = [console::COM1, DEBUG_CONSOLE].contains(&port);
        let value = if prints { b'\n' } else { port as u8 };
        cpu::out8(port, value);
        cpu::in8(port);
    }
    console::initialise(console::COM1);
    console::Line::new().text("all ports done").print();
    power::off(0)
}
