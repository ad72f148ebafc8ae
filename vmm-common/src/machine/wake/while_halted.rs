//! Machines whose processors halt: what may still wake them, and what may not any more.

use super::super::tests::{bare, full, unmask};
use super::*;
use crate::Instant;

/// The 8254's channel 0 at 1 kHz.
fn start_pit(machine: &mut Machine) {
    for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
        assert_eq!(machine.out(port, 1, value, Instant::ZERO), None);
    }
}

fn store(machine: &mut Machine, address: u64, value: u64) {
    assert!(machine.mmio_write(address, 4, value, Instant::ZERO));
}

#[test]
fn nothing_wakes_a_machine_as_firmware_leaves_it() {
    for machine in [bare(), full()] {
        assert!(!machine.can_wake());
        let why = "no timer armed, COM1 enables no interrupt (IER 0)";
        assert_eq!(machine.why_asleep(), why);
    }
}

#[test]
fn a_timer_wakes_it_unless_its_line_is_masked_or_waits_for_an_eoi() {
    let mut machine = bare();
    start_pit(&mut machine);
    assert!(!machine.can_wake());
    assert!(machine.why_asleep().starts_with("the PIT runs, but IRQ0 masked at the 8259, "));
    unmask(&mut machine, 0);
    assert!(machine.can_wake());
    assert_eq!(machine.awaited(), "the PIT");
    // A tick is taken, and its handler ends without an EOI.
    machine.advance(Instant::from_ns(2_000_000));
    assert_eq!(machine.acknowledge(), Some(0x20));
    assert!(!machine.can_wake());
    let why = "the PIT runs, but IRQ0 waits at the 8259 for the EOI of what is in service, ";
    assert!(machine.why_asleep().starts_with(why), "{}", machine.why_asleep());
    assert_eq!(machine.out(0x20, 1, 0x20, Instant::from_ns(2_000_000)), None);
    assert!(machine.can_wake());
}

#[test]
fn a_byte_wakes_it_if_port_and_line_let_it() {
    let mut machine = bare();
    assert_eq!(machine.out(0x3f9, 1, 1, Instant::ZERO), None);
    assert_eq!(machine.why_asleep(), "no timer armed, IRQ4 masked at the 8259");
    unmask(&mut machine, 4);
    assert!(machine.can_wake());
    assert_eq!(machine.awaited(), "COM1");
    // The pin of the I/O APIC does, too: to a local APIC that is enabled.
    let mut machine = full();
    assert_eq!(machine.out(0x3f9, 1, 1, Instant::ZERO), None);
    for (register, value) in [(0x18, 0x30), (0x19, 0)] {
        store(&mut machine, 0xfec0_0000, register);
        store(&mut machine, 0xfec0_0010, value);
    }
    assert!(!machine.can_wake());
    let why = "no timer armed, pin 4 of the I/O APIC waits for an EOI, or no local APIC takes it";
    assert_eq!(machine.why_asleep(), why);
    store(&mut machine, 0xfee0_00f0, 0x1ff);
    assert!(machine.can_wake());
}

#[test]
fn a_local_apics_timer_wakes_it_unless_priority_holds_it_back() {
    let mut machine = full();
    for (register, value) in [(0xf0, 0x1ff), (0x320, 0x30), (0x380, 1_000_000)] {
        store(&mut machine, 0xfee0_0000 + register, value);
    }
    assert!(machine.can_wake());
    assert_eq!(machine.awaited(), "the local APIC's timer");
    machine.set_cr8(5);
    assert!(!machine.can_wake());
    assert!(machine.why_asleep().starts_with("the local APIC's timer cannot interrupt, "));
    machine.set_cr8(0);
    store(&mut machine, 0xfee0_0320, 0x1_0030);
    assert!(machine.why_asleep().starts_with("no timer armed, "), "it is masked");
}

/// What a dump says of the devices.
#[test]
fn the_facts_are_a_line_for_each_part() {
    let mut machine = full();
    unmask(&mut machine, 0);
    start_pit(&mut machine);
    assert_eq!(
        machine.facts(Instant::ZERO),
        [
            "local APIC: off, requested none, in service none, CR8 0",
            "8259: IRR 00 ISR 00 IMR fe; second: IRR 00 ISR 00 IMR ff",
            "I/O APIC: asserted none, unmasked none",
            // 1193 clocks, and one in which the count is loaded (8254 datasheet, "Mode 2").
            "timers: armed the PIT, next in 1000 us",
            "COM1: IER 00 LCR 00 MCR 00 LSR 60, interrupt low",
        ]
    );
}
