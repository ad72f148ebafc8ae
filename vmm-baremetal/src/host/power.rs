//! The end: an exit code for the program that runs the emulator, and the power off. Nothing here
//! allocates: there may be no heap yet, or none left.

use super::acpi::SoftOff;
use super::emulator::Beneath;
use super::serial::Serial;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
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
    if let Some(soft_off) = SoftOff::unpacked(SOFT_OFF.load(Ordering::Relaxed)) {
        enter_s5(soft_off);
    }
    if Beneath::find().is_emulator() {
        emulator_off(code);
    }
    debug_line(format_args!("tandem-off: no way to switch off is known"));
    super::console::report(format_args!("it is now safe to switch this machine off"));
    cpu::halt_for_ever()
}

/// How the machine is switched off, packed; 0: unknown.
static SOFT_OFF: AtomicU64 = AtomicU64::new(0);

/// Sets how the machine is switched off.
pub fn switch_off_by(soft_off: SoftOff) {
    SOFT_OFF.store(soft_off.packed(), Ordering::Relaxed);
}

/// ACPI's state S5 (ACPI 6.5, 4.8.3.2.1 and 16.1.1).
fn enter_s5(soft_off: SoftOff) {
    const SCI_ENABLED: u16 = 1 << 0;
    const SLEEP_TYPE: u16 = 7 << 10;
    const SLEEP_ENABLE: u16 = 1 << 13;
    /// Looks at whether firmware has switched ACPI on.
    const PATIENCE: u32 = 1_000_000;
    let SoftOff { control_ports, sleep_types, enable: (command, value) } = soft_off;
    let controls = control_ports.map(Port::of_power_management);
    let [Some(first), _] = controls else { return };
    if let (0, Some(command)) = (first.read_word() & SCI_ENABLED, Port::of_smi_command(command)) {
        command.write(value);
        for _ in 0..PATIENCE {
            if first.read_word() & SCI_ENABLED != 0 {
                break;
            }
        }
    }
    debug_line(format_args!("tandem-off: S5"));
    for (control, sleep_type) in controls.into_iter().zip(sleep_types) {
        let Some(control) = control else { continue };
        let others = control.read_word() & !(SLEEP_TYPE | SLEEP_ENABLE);
        control.write_word(others | u16::from(sleep_type) << 10 | SLEEP_ENABLE);
    }
}

/// QEMU with isa-debug-exit, then Bochs, then QEMU's two boards as ACPI has it.
fn emulator_off(code: u8) {
    debug_line(format_args!("tandem-off: by a port of emulators"));
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
