//! The pins of the I/O APIC that virtio devices interrupt by, as levels.

use super::registers::Window;
use crate::common::cpu;

/// The vector of a device's interrupt.
pub const VECTOR: u64 = 57;
const IO_APIC: u64 = 0xFEC0_0000;
const IO_APIC_DATA: u64 = IO_APIC + 0x10;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

fn write(index: u32, value: u32) {
    // SAFETY: the boot tables map the page, uncached.
    unsafe { cpu::write_device32(IO_APIC, index) };
    // SAFETY: as above; handlers preserve what they interrupt.
    unsafe { cpu::write_device32(IO_APIC_DATA, value) };
}

/// Opens the way for the device's interrupt, to this processor.
pub fn route(window: Window) {
    let entry = 0x10 + 2 * window.pin;
    write(entry, MASKED);
    write(entry + 1, 0);
    write(entry, LEVEL | VECTOR as u32);
}

/// Closes it.
pub fn close(window: Window) {
    write(0x10 + 2 * window.pin, MASKED);
}
