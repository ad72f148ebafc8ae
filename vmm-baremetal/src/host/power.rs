//! The end: an exit code for the program that runs the emulator, and the power off. Nothing here
//! allocates: there may be no heap yet, or none left.

use super::emulator::Beneath;
use super::serial::Serial;
use core::fmt;
use metal::cpu;
use metal::port::Port;

/// This machine cannot run it.
pub const MACHINE_REFUSED: u8 = 3;

/// Bochs and QEMU log what is written to this port.
pub(super) const DEBUG_CONSOLE: Port = Port::new(0xe9);

struct DebugConsole;

impl fmt::Write for DebugConsole {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            DEBUG_CONSOLE.write(byte);
        }
        Ok(())
    }
}

/// Writes a line for the program that runs the emulator.
pub fn debug_line(line: fmt::Arguments<'_>) {
    use fmt::Write;
    if Beneath::find().is_emulator() {
        // This console takes everything.
        let _ = writeln!(DebugConsole, "{line}");
    }
}

/// Ends with `code`.
pub fn off(code: u8) -> ! {
    Serial::again().drain();
    debug_line(format_args!("tandem-exit: {code}"));
    if Beneath::find().is_emulator() {
        emulator_off(code);
    }
    cpu::halt_for_ever()
}

/// QEMU with isa-debug-exit, then Bochs, then QEMU's two boards as ACPI has it.
fn emulator_off(code: u8) {
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
}
