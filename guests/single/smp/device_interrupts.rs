//! A device's interrupt for a processor that halts, raised by what another one writes: the first
//! serial port's, for an empty transmitter (IRQ 4, by the I/O APIC).

use super::processors::{self, Processor};
use super::{Verdict, expect};
use crate::common::console::{COM1, INTERRUPT_ENABLE};
use crate::common::cpu;

const VECTOR: u32 = 57;
const IO_APIC: u64 = 0xFEC0_0000;
const IO_APIC_DATA: u64 = IO_APIC + 0x10;
const MASKED: u32 = 1 << 16;
/// Index of the low half of a pin's redirection entry; the high half follows.
const ENTRY_4: u32 = 0x10 + 2 * 4;
const TRANSMITTER_EMPTY: u8 = 1 << 1;

fn write_io_apic(index: u32, value: u32) {
    // SAFETY: the boot tables map the page, uncached.
    unsafe { cpu::write_device32(IO_APIC, index) };
    // SAFETY: as above; handlers preserve what they interrupt.
    unsafe { cpu::write_device32(IO_APIC_DATA, value) };
}

pub fn check() -> Verdict {
    let verdict = processors::others().iter().try_for_each(take_one);
    write_io_apic(ENTRY_4, MASKED);
    verdict
}

fn take_one(processor: &Processor) -> Verdict {
    let before = processor.count(VECTOR);
    write_io_apic(ENTRY_4, MASKED);
    write_io_apic(ENTRY_4 + 1, processor.id() << 24);
    write_io_apic(ENTRY_4, VECTOR); // edge, physical
    cpu::out8(COM1 + INTERRUPT_ENABLE, TRANSMITTER_EMPTY);
    let has_come = processors::wait_until(|| processor.count(VECTOR) > before);
    cpu::out8(COM1 + INTERRUPT_ENABLE, 0);
    expect(has_come, "it does not come")?;
    expect(processor.count(VECTOR) == before + 1, "it comes twice")
}
