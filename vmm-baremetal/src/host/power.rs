//! The end: an exit code for the program that runs the emulator, and the power off.

use super::serial::Serial;
use metal::cpu;
use metal::port::Port;

/// This machine cannot run it.
pub const MACHINE_REFUSED: u8 = 3;

/// Bochs and QEMU log what is written to this port.
pub(super) const DEBUG_CONSOLE: Port = Port::new(0xe9);

/// Writes a line for the program that runs the emulator; a real machine ignores it.
pub fn debug_line(text: &str) {
    for byte in text.bytes().chain([b'\n']) {
        DEBUG_CONSOLE.write(byte);
    }
}

/// Ends with `code`.
pub fn off(code: u8) -> ! {
    Serial::again().drain();
    debug_line(&alloc::format!("tandem-exit: {code}"));
    // QEMU with isa-debug-exit, then Bochs, then QEMU's two boards as ACPI has it.
    const DEBUG_EXIT: Port = Port::new(0xf4);
    const BOCHS: Port = Port::new(0x8900);
    const Q35: Port = Port::new(0x604);
    const PC: Port = Port::new(0xb004);
    const SLEEP: u16 = 0x2000;
    DEBUG_EXIT.write_word(code.into());
    for byte in *b"Shutdown" {
        BOCHS.write(byte);
    }
    Q35.write_word(SLEEP);
    PC.write_word(SLEEP);
    cpu::halt_for_ever()
}
