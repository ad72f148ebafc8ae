//! The end: an exit code for whoever runs us in an emulator, and the power off.

use crate::cpu::{write_port, write_port_word};
use crate::serial::Serial;

/// Everything went as asked.
pub const SUCCESS: u8 = 0;
/// A VM failed.
pub const VM_FAILED: u8 = 1;
/// The plan is wrong.
pub const BAD_PLAN: u8 = 2;
/// Ended from the keyboard, as a shell would say it.
pub const INTERRUPTED: u8 = 130;
/// This machine cannot run it.
pub const MACHINE_REFUSED: u8 = 3;

/// Bochs and QEMU keep what is written to this port.
const DEBUG_CONSOLE: u16 = 0xe9;

/// Writes a line for the program that runs the emulator; on a real machine it goes nowhere.
pub fn debug_line(text: &str) {
    for byte in text.bytes().chain([b'\n']) {
        write_port(DEBUG_CONSOLE, byte);
    }
}

/// Ends with `code`.
pub fn off(code: u8) -> ! {
    Serial::again().drain();
    debug_line(&alloc::format!("tandem-exit: {code}"));
    // QEMU with isa-debug-exit, then Bochs, then QEMU's two boards as ACPI has it.
    write_port_word(0xf4, code.into());
    for byte in *b"Shutdown" {
        write_port(0x8900, byte);
    }
    write_port_word(0x604, 0x2000);
    write_port_word(0xb004, 0x2000);
    loop {
        halt();
    }
}

fn halt() {
    // SAFETY: with interrupts off this ends the processor's work, which is what is wanted.
    unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
}
