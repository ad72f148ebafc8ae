//! One behaviour of the I/O APIC a test.

use super::{DeliveryMode, IoApic, Message};

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
const REMOTE_IRR: u32 = 1 << 14;

fn select(apic: &mut IoApic, index: u32) {
    apic.write(0x00, index);
}

fn read(apic: &mut IoApic, index: u32) -> u32 {
    select(apic, index);
    apic.read(0x10)
}

fn write(apic: &mut IoApic, index: u32, value: u32) {
    select(apic, index);
    apic.write(0x10, value);
}

fn with_entry(pin: u32, low: u32) -> IoApic {
    let mut apic = IoApic::new(1);
    write(&mut apic, 0x10 + 2 * pin, low);
    apic
}

/// The next message, which a local APIC accepts.
fn taken(apic: &mut IoApic) -> Option<Message> {
    let (pin, message) = apic.next_message(0)?;
    apic.accepted(pin, &message);
    Some(message)
}

#[test]
fn after_reset_every_pin_is_masked_and_the_version_says_24_pins() {
    let mut apic = IoApic::new(5);
    assert_eq!(read(&mut apic, 0), 5 << 24);
    assert_eq!(read(&mut apic, 1), 0x0017_0020);
    assert_eq!(read(&mut apic, 2), 5 << 24);
    for pin in 0..24 {
        assert_eq!(read(&mut apic, 0x10 + 2 * pin), MASKED);
        assert_eq!(read(&mut apic, 0x11 + 2 * pin), 0);
    }
    assert_eq!(read(&mut apic, 0x40), 0);
}

#[test]
fn an_edge_sends_one_message_with_the_entry_s_fields() {
    let mut apic = with_entry(4, 0x0000_0934);
    write(&mut apic, 0x19, 0xAB00_0000);
    apic.set_line(4, true);
    apic.set_line(4, true);
    let expected = Message {
        vector: 0x34,
        destination: 0xAB,
        is_logical: true,
        delivery_mode: DeliveryMode::LowestPriority,
        is_level: false,
    };
    assert_eq!(taken(&mut apic), Some(expected));
    assert_eq!(taken(&mut apic), None);
    apic.set_line(4, false);
    apic.set_line(4, true);
    assert_eq!(taken(&mut apic), Some(expected));
}

#[test]
fn a_pulse_between_two_looks_is_not_lost() {
    let mut apic = with_entry(2, 0x30);
    apic.set_line(2, true);
    apic.set_line(2, false);
    assert_eq!(taken(&mut apic).map(|message| message.vector), Some(0x30));
}

#[test]
fn an_edge_on_a_masked_pin_is_lost_and_a_level_is_not() {
    let mut apic = with_entry(3, MASKED | 0x33);
    apic.set_line(3, true);
    write(&mut apic, 0x16, 0x33);
    assert_eq!(taken(&mut apic), None);
    write(&mut apic, 0x16, LEVEL | 0x33);
    assert!(taken(&mut apic).is_some());
}

#[test]
fn a_level_waits_for_end_of_interrupt_and_asks_again_while_asserted() {
    let mut apic = with_entry(16, LEVEL | 0x41);
    apic.set_line(16, true);
    assert!(taken(&mut apic).is_some_and(|message| message.is_level));
    assert_eq!(taken(&mut apic), None);
    assert_eq!(read(&mut apic, 0x30) & REMOTE_IRR, REMOTE_IRR);
    apic.end_of_interrupt(0x40);
    assert_eq!(taken(&mut apic), None, "another vector's EOI");
    apic.end_of_interrupt(0x41);
    assert!(taken(&mut apic).is_some());
    apic.set_line(16, false);
    apic.write(0x40, 0x41);
    assert_eq!(taken(&mut apic), None);
    assert_eq!(read(&mut apic, 0x30) & REMOTE_IRR, 0);
}

#[test]
fn guests_cannot_write_remote_irr_but_switching_to_edge_clears_it() {
    let mut apic = with_entry(16, LEVEL | REMOTE_IRR | 0x41);
    assert_eq!(read(&mut apic, 0x30) & REMOTE_IRR, 0);
    apic.set_line(16, true);
    taken(&mut apic);
    write(&mut apic, 0x30, LEVEL | 0x41);
    assert_eq!(read(&mut apic, 0x30) & REMOTE_IRR, REMOTE_IRR);
    write(&mut apic, 0x30, MASKED | 0x41);
    write(&mut apic, 0x30, LEVEL | 0x41);
    assert!(taken(&mut apic).is_some());
}

#[test]
fn every_pin_that_asks_is_served_lowest_first() {
    let mut apic = IoApic::new(0);
    for pin in [20u8, 1, 9] {
        write(&mut apic, 0x10 + 2 * u32::from(pin), 0x50 + u32::from(pin));
        apic.set_line(pin, true);
    }
    let vectors = [(); 4].map(|()| taken(&mut apic).map(|message| message.vector));
    assert_eq!(vectors, [Some(0x51), Some(0x59), Some(0x64), None]);
}

#[test]
fn reserved_delivery_modes_send_nothing() {
    for mode in [0b011, 0b110] {
        let mut apic = with_entry(4, (mode << 8) | 0x34);
        apic.set_line(4, true);
        assert_eq!(taken(&mut apic), None);
    }
}

#[test]
fn pins_and_offsets_that_do_not_exist_are_ignored() {
    let mut apic = IoApic::new(0);
    for pin in 24..=255 {
        apic.set_line(pin, true);
    }
    assert_eq!(taken(&mut apic), None);
    apic.write(0x20, 1);
    assert_eq!(apic.read(0x20), 0);
    assert_eq!(apic.read(u64::MAX), 0);
}

#[test]
fn a_level_that_is_not_accepted_is_due_again_and_remote_irr_stays_clear() {
    let mut apic = with_entry(10, LEVEL | 0x50);
    apic.set_line(10, true);
    for _ in 0..3 {
        assert!(apic.next_message(0).is_some());
        assert_eq!(apic.next_message(11), None, "each pin once a round");
        assert_eq!(read(&mut apic, 0x24) & REMOTE_IRR, 0);
    }
    let (pin, message) = apic.next_message(0).expect("it is still due");
    apic.accepted(pin, &message);
    assert_eq!(read(&mut apic, 0x24) & REMOTE_IRR, REMOTE_IRR);
    assert_eq!(apic.next_message(0), None);
}
