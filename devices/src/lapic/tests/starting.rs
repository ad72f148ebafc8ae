//! INIT, start-up and NMI.

extern crate std;

use std::vec::Vec;

use super::super::bus::carry_commands;
use super::super::{LocalApic, Processors, StartEvent};
use super::{ESR, ICR_HIGH, ICR_LOW, LVT_LINT0, LVT_TIMER, NOW, SVR, TSC, ns};

const INIT: u32 = 0x0000_4500;
const INIT_DEASSERT: u32 = 0x0000_8500;
const START_UP_AT_0X9000: u32 = 0x0000_4609;
const NMI: u32 = 0x0000_4400;
const ALL_BUT_ME: u32 = 0x000C_0000;

/// Processor 0 runs; the others wait.
fn machine() -> Vec<LocalApic> {
    (0..3).map(|id| LocalApic::new(id, TSC)).collect()
}

fn send(apics: &mut [LocalApic], from: usize, command: u32, destination: u32) -> Processors {
    apics[from].mmio_write(ICR_HIGH, destination << 24, NOW);
    apics[from].mmio_write(ICR_LOW, command, NOW);
    carry_commands(apics, from)
}

const START: Option<StartEvent> = Some(StartEvent::StartUp { vector: 0x09 });

#[test]
fn the_first_processor_runs_and_the_others_wait_with_masked_pins() {
    let mut apics = machine();
    assert!(!apics[0].is_waiting_for_startup());
    for apic in &mut apics[1..] {
        assert!(apic.is_waiting_for_startup());
        assert_eq!(apic.base(), 0xFEE0_0800);
        for offset in (0x320..=0x370).step_by(16) {
            assert_eq!(apic.mmio_read(offset, NOW), 0x1_0000);
        }
        assert!(!apic.accepts_external());
    }
    assert_eq!(apics[2].mmio_read(0x20, NOW), 2 << 24);
}

#[test]
fn init_and_two_start_ups_start_a_processor_once() {
    let mut apics = machine();
    assert_eq!(send(&mut apics, 0, INIT, 1), Processors::only(1));
    assert_eq!(apics[1].take_start_event(), Some(StartEvent::Init));
    assert_eq!(send(&mut apics, 0, INIT_DEASSERT, 1), Processors::NONE);
    assert!(apics[1].is_waiting_for_startup());
    send(&mut apics, 0, START_UP_AT_0X9000, 1);
    assert!(!apics[1].is_waiting_for_startup());
    assert_eq!(apics[1].take_start_event(), START);
    send(&mut apics, 0, START_UP_AT_0X9000, 1);
    assert_eq!(apics[1].take_start_event(), None);
    assert!(apics[2].is_waiting_for_startup());
}

#[test]
fn a_start_up_replaces_the_init_before_it_and_an_init_the_start_up() {
    let mut apics = machine();
    send(&mut apics, 0, ALL_BUT_ME | INIT, 0);
    send(&mut apics, 0, ALL_BUT_ME | START_UP_AT_0X9000, 0);
    assert_eq!(apics[1].take_start_event(), START);
    send(&mut apics, 0, INIT, 2);
    assert_eq!(apics[2].take_start_event(), Some(StartEvent::Init));
    assert!(apics[2].is_waiting_for_startup());
    assert_eq!(apics[0].take_start_event(), None);
}

#[test]
fn init_resets_the_apic_but_for_its_id_and_base() {
    let mut apics = machine();
    send(&mut apics, 0, START_UP_AT_0X9000, 2);
    let apic = &mut apics[2];
    apic.set_base(0xFED4_0800).expect("the page may be moved");
    for (offset, value) in
        [(SVR, 0x1FF), (0x80, 0x30), (0xD0, 1 << 24), (LVT_TIMER, 0x40), (LVT_LINT0, 0x700)]
    {
        apic.mmio_write(offset, value, NOW);
    }
    apic.mmio_write(0x380, 1000, NOW);
    apic.accept(0x46, false);
    assert_eq!(apic.acknowledge(), Some(0x46));
    apic.accept(0x55, true);
    apic.accept(5, false);
    apic.accept_nmi();
    assert!(apic.has_nmi() && apic.has_interrupt() && apic.deadline().is_some());
    send(&mut apics, 0, INIT, 2);
    let apic = &mut apics[2];
    assert_eq!((apic.base(), apic.mmio_read(0x20, NOW)), (0xFED4_0800, 2 << 24));
    apic.mmio_write(ESR, 0, NOW);
    for (offset, value) in [
        (SVR, 0xFF),
        (0x80, 0),
        (0xD0, 0),
        (0xE0, 0xFFFF_FFFF),
        (LVT_TIMER, 0x1_0000),
        (LVT_LINT0, 0x1_0000),
        (0x380, 0),
        (0x390, 0),
        (0x120, 0),
        (0x220, 0),
        (0x1A0, 0),
        (ESR, 0),
    ] {
        assert_eq!(apic.mmio_read(offset, ns(5)), value, "{offset:#x}");
    }
    assert!(!apic.has_nmi() && !apic.has_interrupt() && apic.deadline().is_none());
}

#[test]
fn init_keeps_x2apic_mode_and_processors_may_stop_themselves() {
    let mut apics = machine();
    send(&mut apics, 0, START_UP_AT_0X9000, 1);
    apics[1].take_start_event();
    apics[1].set_base(0xFEE0_0C00).expect("xAPIC to x2APIC is legal");
    assert_eq!(apics[1].msr_write(0x830, 1 << 32 | u64::from(INIT), NOW), Ok(()));
    assert_eq!(carry_commands(&mut apics, 1), Processors::only(1));
    assert!(apics[1].is_waiting_for_startup());
    assert_eq!(apics[1].base(), 0xFEE0_0C00);
    assert_eq!((apics[1].msr_read(0x802, NOW), apics[1].msr_read(0x80D, NOW)), (Ok(1), Ok(2)));
    assert_eq!(apics[1].msr_read(0x830, NOW), Ok(0));
    assert_eq!(apics[1].take_start_event(), Some(StartEvent::Init));
}

#[test]
fn init_of_the_bootstrap_processor_is_the_machine_s_reset() {
    let mut apics = machine();
    send(&mut apics, 0, START_UP_AT_0X9000, 1);
    assert_eq!(send(&mut apics, 1, INIT, 0), Processors::only(0));
    send(&mut apics, 1, START_UP_AT_0X9000, 0);
    assert!(!apics[0].is_waiting_for_startup());
    assert_eq!(apics[0].take_start_event(), Some(StartEvent::Init));
    // A guest may clear the flag that makes it the bootstrap processor (SDM vol. 3, 9.4.3).
    apics[0].set_base(0xFEE0_0800).expect("the flag can be written");
    send(&mut apics, 1, INIT, 0);
    assert!(apics[0].is_waiting_for_startup());
}

#[test]
fn a_waiting_processor_drops_vectors_and_keeps_an_nmi_until_it_starts() {
    let mut apics = machine();
    send(&mut apics, 0, 0x55, 1);
    send(&mut apics, 0, NMI, 1);
    assert!(!apics[1].has_interrupt() && !apics[1].has_nmi());
    send(&mut apics, 0, START_UP_AT_0X9000, 1);
    apics[1].mmio_write(SVR, 0x1FF, NOW);
    assert!(!apics[1].has_interrupt());
    assert!(apics[1].take_nmi() && !apics[1].take_nmi());

    send(&mut apics, 0, NMI, 2);
    send(&mut apics, 0, INIT, 2);
    send(&mut apics, 0, START_UP_AT_0X9000, 2);
    assert!(!apics[2].has_nmi(), "INIT dropped it");
}
