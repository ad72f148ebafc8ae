//! Interprocessor interrupts and devices' messages between the processors of a machine.

extern crate std;

use std::vec::Vec;

use super::super::bus::{Delivery, carry_commands, deliver};
use super::super::{LocalApic, Processors};
use super::{DFR, EOI, ESR, ICR_HIGH, ICR_LOW, LDR, NOW, SVR, TPR, enabled, enabled_as};
use crate::message::{DeliveryMode, Message};

/// Processors 0 to `count` - 1, all running, in xAPIC mode.
fn machine(count: u8) -> Vec<LocalApic> {
    (0..count).map(enabled_as).collect()
}

fn set(processors: &[usize]) -> Processors {
    processors.iter().fold(Processors::NONE, |all, &index| all.with(index))
}

/// Processor `from` sends `command` to `destination` in its mode.
fn send(apics: &mut [LocalApic], from: usize, command: u32, destination: u32) -> Processors {
    if apics[from].is_x2apic() {
        let value = u64::from(destination) << 32 | u64::from(command);
        assert_eq!(apics[from].msr_write(0x830, value, NOW), Ok(()));
    } else {
        apics[from].mmio_write(ICR_HIGH, destination << 24, NOW);
        apics[from].mmio_write(ICR_LOW, command, NOW);
    }
    carry_commands(apics, from)
}

/// The processors that now take `vector`.
fn takers(apics: &mut [LocalApic], vector: u8) -> Processors {
    let mut takers = Processors::NONE;
    for (index, apic) in apics.iter_mut().enumerate() {
        if apic.acknowledge() == Some(vector) {
            takers = takers.with(index);
        }
    }
    takers
}

fn use_x2apic(apic: &mut LocalApic) {
    apic.set_base(apic.base() | 1 << 10).expect("xAPIC to x2APIC is legal");
}

#[test]
fn interprocessor_interrupts_of_one_processor_reach_it_alone() {
    // Command, destination, vector that arrives.
    let cases = [
        (0x0004_0055, 0, Some(0x55)),
        (0x0008_0055, 0, Some(0x55)),
        (0x000C_0055, 0, None),
        (0x0000_0055, 3 << 24, Some(0x55)),
        (0x0000_0055, 4 << 24, None),
        (0x0000_0055, 0xFF << 24, Some(0x55)),
        (0x0000_0155, 3 << 24, Some(0x55)),
        (0x0000_0855, 0x02 << 24, Some(0x55)),
        (0x0000_0855, 0x05 << 24, None),
        (0x000C_4500, 0, None),
        (0x000C_8500, 0, None),
        (0x000C_4608, 0, None),
        (0x0000_C055, 3 << 24, Some(0x55)),
        (0x0000_8055, 3 << 24, Some(0x55)),
    ];
    for (command, destination, arrives) in cases {
        let mut apic = enabled();
        apic.mmio_write(LDR, 0x02 << 24, NOW);
        apic.mmio_write(ICR_HIGH, destination, NOW);
        apic.mmio_write(ICR_LOW, command | 1 << 12, NOW);
        carry_commands(core::slice::from_mut(&mut apic), 0);
        assert_eq!(apic.acknowledge(), arrives, "{command:#x} to {destination:#x}");
        assert_eq!(apic.mmio_read(ICR_LOW, NOW), command, "the busy bit reads 0");
        assert!(!apic.take_nmi());
        assert_eq!(apic.take_start_event(), None);
    }
}

#[test]
fn an_nmi_to_oneself_is_taken_once() {
    let mut apics = machine(4);
    assert_eq!(send(&mut apics, 3, 0x4400, 3), set(&[3]));
    assert!(apics[3].take_nmi());
    assert!(!apics[3].take_nmi());
    assert!(!apics[3].has_interrupt());
}

#[test]
fn a_fixed_interrupt_reaches_those_that_destination_or_shorthand_names() {
    // Command, destination, receivers of 4 processors with flat logical IDs 1, 2, 4 and 8.
    let cases: [(u32, u32, &[usize]); 10] = [
        (0x0_0055, 2, &[2]),
        (0x0_0055, 1, &[1]),
        (0x0_0055, 0xFF, &[0, 1, 2, 3]),
        (0x0_0055, 9, &[]),
        (0x0_0855, 0x06, &[1, 2]),
        (0x0_0855, 0xFF, &[0, 1, 2, 3]),
        (0x0_0855, 0xF0, &[]),
        (0x4_0055, 2, &[1]),
        (0x8_0055, 2, &[0, 1, 2, 3]),
        (0xC_0055, 1, &[0, 2, 3]),
    ];
    for (command, destination, receivers) in cases {
        let mut apics = machine(4);
        for (index, apic) in apics.iter_mut().enumerate() {
            apic.mmio_write(LDR, 1 << (24 + index), NOW);
        }
        let reached = send(&mut apics, 1, command, destination);
        assert_eq!(takers(&mut apics, 0x55), set(receivers), "{command:#x}, {destination:#x}");
        let is_self = command >> 18 == 1;
        assert_eq!(reached, if is_self { Processors::NONE } else { set(receivers) });
        assert_eq!(carry_commands(&mut apics, 1), Processors::NONE, "sent once");
    }
}

#[test]
fn logical_clusters_name_members_of_one_cluster() {
    let mut apics = machine(4);
    for (apic, ldr) in apics.iter_mut().zip([0x11, 0x12, 0x21, 0xE2]) {
        apic.mmio_write(DFR, 0x0FFF_FFFF, NOW);
        apic.mmio_write(LDR, ldr << 24, NOW);
    }
    for (destination, receivers) in
        [(0x13, &[0, 1][..]), (0x23, &[2]), (0xEF, &[3]), (0x3F, &[]), (0xFF, &[0, 1, 2, 3])]
    {
        assert_eq!(send(&mut apics, 0, 0x855, destination), set(receivers), "{destination:#x}");
    }
    apics[0].mmio_write(DFR, 0x5FFF_FFFF, NOW);
    assert_eq!(send(&mut apics, 1, 0x855, 0x13), set(&[1]), "a model that does not exist");
}

#[test]
fn x2apic_destinations_are_ids_clusters_and_all_ones() {
    let mut apics = machine(16);
    apics.iter_mut().for_each(use_x2apic);
    let all: Vec<usize> = (0..16).collect();
    let cases = [
        (0x55, 15, &[15][..]),
        (0x55, 0xFF, &[]),
        (0x55, u32::MAX, &all),
        (0x855, 0x8001, &[0, 15]),
        (0x855, 0x0001_0001, &[]),
        (0x855, u32::MAX, &all),
    ];
    for (command, destination, receivers) in cases {
        assert_eq!(send(&mut apics, 7, command, destination), set(receivers), "{destination:#x}");
        assert_eq!(takers(&mut apics, 0x55), set(receivers));
        apics.iter_mut().for_each(|apic| apic.msr_write(0x80B, 0, NOW).expect("EOI"));
    }
}

#[test]
fn each_apic_compares_by_its_own_mode() {
    let mut apics = machine(4);
    for (index, apic) in apics.iter_mut().enumerate() {
        apic.mmio_write(LDR, 1 << (24 + index), NOW);
    }
    use_x2apic(&mut apics[2]);
    use_x2apic(&mut apics[3]);
    let cases = [
        (0, 0x55, 2, &[2][..]),
        (2, 0x55, 0, &[0]),
        (0, 0x55, 0xFF, &[0, 1]),
        (0, 0x855, 0xFF, &[0, 1, 2, 3]),
        (2, 0x55, u32::MAX, &[2, 3]),
        (2, 0x55, 0xFF, &[0, 1]),
        (2, 0x8_0055, 0, &[0, 1, 2, 3]),
        (2, 0x855, 0x5, &[0, 2]),
    ];
    for (from, command, destination, receivers) in cases {
        let reached = send(&mut apics, from, command, destination);
        assert_eq!(reached, set(receivers), "{from}: {command:#x}, {destination:#x}");
    }
}

#[test]
fn lowest_priority_picks_one_of_the_lowest_class_that_is_enabled() {
    let mut apics = machine(4);
    for (index, apic) in apics.iter_mut().enumerate() {
        apic.mmio_write(LDR, 1 << (24 + index), NOW);
    }
    apics[0].mmio_write(TPR, 0x20, NOW);
    apics[3].mmio_write(SVR, 0xFF, NOW);
    // By the vector among processors 1 and 2.
    assert_eq!(send(&mut apics, 0, 0x980, 0x0F), set(&[1]));
    assert_eq!(send(&mut apics, 0, 0x981, 0x0F), set(&[2]));
    assert_eq!(apics[2].acknowledge(), Some(0x81));
    assert_eq!(send(&mut apics, 0, 0x983, 0x0F), set(&[1]), "2 is in service of a higher class");
    assert_eq!(send(&mut apics, 0, 0x983, 0x05), set(&[0]));
    assert_eq!(send(&mut apics, 0, 0x983, 0x08), set(&[]), "disabled");
    assert_eq!(send(&mut apics, 0, 0xC_0185, 0), set(&[1]), "by shorthand");
    assert_eq!(send(&mut apics, 0, 0x186, 2), set(&[2]), "a physical ID needs no arbitration");
    assert_eq!(send(&mut apics, 0, 0x187, 0xFF), set(&[0, 1, 2, 3]), "nor does a broadcast");
}

#[test]
fn an_nmi_by_a_shorthand_that_names_the_sender_is_sent() {
    for (command, takers) in [(0x4_4400, set(&[0])), (0x8_4400, set(&[0, 1]))] {
        let mut apics = machine(2);
        assert_eq!(send(&mut apics, 0, command, 1), takers, "{command:#x}");
        for (index, apic) in apics.iter_mut().enumerate() {
            assert_eq!(apic.take_nmi(), takers.contains(index), "{command:#x}");
        }
    }
}

#[test]
fn what_the_manual_calls_invalid_reserved_or_obsolete_is_not_sent() {
    // Self and all including self are for fixed interrupts and NMIs; SMI, remote read, ExtINT.
    for command in [
        0x4_0155, 0x4_4500, 0x4_4608, 0x8_0155, 0x8_4500, 0x8_4608, 0x4200, 0x4355, 0x4755, 0x8500,
        0xC_8500,
    ] {
        let mut apics = machine(2);
        assert_eq!(send(&mut apics, 0, command, 1), Processors::NONE, "{command:#x}");
        for apic in &mut apics {
            assert!(!apic.has_interrupt() && !apic.has_nmi(), "{command:#x}");
            assert_eq!(apic.take_start_event(), None);
        }
    }
}

/// SDM vol. 3, table 11-3, note 2.
#[test]
fn an_interprocessor_interrupt_is_an_edge_whatever_its_trigger_mode() {
    for command in [0x0055, 0x4055, 0xC055] {
        let mut apics = machine(2);
        assert_eq!(send(&mut apics, 0, command, 1), set(&[1]));
        assert_eq!(apics[1].mmio_read(0x1A0, NOW), 0, "{command:#x}: TMR, vectors 64 to 95");
        assert_eq!(apics[1].acknowledge(), Some(0x55));
        apics[1].mmio_write(EOI, 0, NOW);
        assert_eq!(apics[1].take_eoi(), None, "{command:#x}: no end for the I/O APIC");
    }
}

#[test]
fn a_remote_read_fails_by_its_status_bits() {
    let mut apics = machine(2);
    send(&mut apics, 0, 0x3_0302, 1);
    assert_eq!(apics[0].mmio_read(ICR_LOW, NOW), 0x302, "bits 17-16: invalid");
    assert_eq!(apics[0].mmio_read(0x0C0, NOW), 0);
}

#[test]
fn an_illegal_vector_is_the_sender_s_error_or_that_of_a_device_s_receiver() {
    let mut apics = machine(2);
    assert_eq!(send(&mut apics, 0, 0x0F, 1), Processors::NONE);
    let message = message(0x0F, 1, false, DeliveryMode::Fixed);
    let refused = Delivery { is_accepted: true, reached: set(&[1]) };
    assert_eq!(deliver(&mut apics, &message), refused, "the I/O APIC is not to send it again");
    for (apic, error) in apics.iter_mut().zip([1 << 5, 1 << 6]) {
        apic.mmio_write(ESR, 0, NOW);
        assert_eq!(apic.mmio_read(ESR, NOW), error);
        assert!(!apic.has_interrupt());
    }
}

fn message(vector: u8, destination: u32, is_level: bool, mode: DeliveryMode) -> Message {
    Message { vector, destination, is_logical: false, delivery_mode: mode, is_level }
}

#[test]
fn a_level_is_accepted_by_an_enabled_apic_and_ended_by_the_one_that_took_it() {
    let mut apics = machine(3);
    apics[1].mmio_write(SVR, 0xFF, NOW);
    let level = |destination| message(0x66, destination, true, DeliveryMode::Fixed);
    assert!(!deliver(&mut apics, &level(1)).is_accepted, "disabled by software");
    assert!(!deliver(&mut apics, &level(9)).is_accepted, "no such APIC");
    let taken = Delivery { is_accepted: true, reached: set(&[2]) };
    assert_eq!(deliver(&mut apics, &level(2)), taken);
    assert_eq!(apics[2].acknowledge(), Some(0x66));
    apics[2].mmio_write(0xB0, 0, NOW);
    assert_eq!(
        apics.iter_mut().map(LocalApic::take_eoi).collect::<Vec<_>>(),
        [None, None, Some(0x66)]
    );
}

#[test]
fn an_apic_disabled_in_hardware_hears_nothing() {
    let mut apics = machine(2);
    apics[1].set_base(0xFEE0_0000).expect("any state may be disabled");
    for command in [0x4400, 0x4500, 0x4608] {
        assert_eq!(send(&mut apics, 0, command, 1), Processors::NONE);
        assert_eq!(send(&mut apics, 0, 0xC_0000 | command, 0), Processors::NONE);
    }
    assert!(!deliver(&mut apics, &message(0, 0xFF, false, DeliveryMode::Init)).reached.contains(1));
    assert!(!apics[1].has_nmi());
    assert_eq!(apics[1].take_start_event(), None);
}

#[test]
fn a_set_of_processors_is_walked_in_ascending_order() {
    let some = set(&[15, 0, 7]);
    assert_eq!(some.collect::<Vec<_>>(), [0, 7, 15]);
    assert_eq!((some.count(), some.is_empty(), Processors::NONE.is_empty()), (3, false, true));
    assert!(some.contains(7) && !some.without(7).contains(7) && !some.contains(16));
    assert_eq!(some.with(16), some);
    assert_eq!(set(&[1]).union(set(&[2])), set(&[1, 2]));
}
