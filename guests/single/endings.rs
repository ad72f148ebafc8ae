//! Ends its machine by the way that its command line names: those without a status, a panic, and a
//! power-off of which one byte is written.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, console, cpu, power};

/// A port, and the byte written to it.
const WAYS: [(&str, u16, u8); 7] = [
    // The keyboard controller pulses its output line 0.
    ("keyboard", 0x64, 0xFE),
    // System control port A: fast reset.
    ("port92", 0x92, 0x01),
    // The reset control register: of the system; of the processor alone.
    ("cf9", 0xCF9, 0x06),
    ("cf9_processor", 0xCF9, 0x04),
    // SLP_EN, in the second byte of PM1a control.
    ("sleep_byte", 0x605, 0x20),
    // The panic port: with a crash kernel, which is to go on; without one.
    ("crash_loaded", 0x505, 0x02),
    ("panicked", 0x505, 0x01),
];

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    console::Line::new().text("endings: going").print();
    if boot::has_word("halt") {
        power::halt_for_ever();
    }
    for (way, port, value) in WAYS {
        if boot::has_word(way) {
            cpu::out8(port, value);
        }
    }
    console::Line::new().text("endings: went on").print();
    power::off(1)
}
