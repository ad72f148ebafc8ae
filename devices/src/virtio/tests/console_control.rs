//! What a console's driver is told (5.3.6.2), and what it tells, over its life.

use super::console_ports::{ADD, Guest, IS_CONSOLE, MULTIPORT, NAME, OPEN, PORT_READY, READY};
use super::driver::WRITE;
use crate::link::LinkPort;
use crate::uart::ModemInputs;
use crate::virtio::console::PortUse;

extern crate std;
use std::vec::Vec;

fn events(guest: &mut Guest) -> Vec<(u8, u16, u16)> {
    guest.told().into_iter().map(|(port, event, value, _)| (port, event, value)).collect()
}

#[test]
fn a_driver_that_takes_over_is_told_all_anew() {
    let mut guest = Guest::start(&[PortUse::Console, PortUse::Link], MULTIPORT);
    let all = [(0, ADD, 1), (0, IS_CONSOLE, 1), (0, OPEN, 1), (1, ADD, 1), (1, NAME, 1)];
    for _ in 0..2 {
        guest.tell(0, READY, 1);
        (0..2).for_each(|port| guest.tell(port, PORT_READY, 1));
        let told = events(&mut guest);
        assert_eq!(told, all);
        guest.restart(MULTIPORT);
    }
    // What its predecessor has asked for and not been told it is not told.
    guest.tell(0, READY, 1);
    guest.tell(1, PORT_READY, 1);
    guest.restart(MULTIPORT);
    assert_eq!(events(&mut guest), []);
}

#[test]
fn a_driver_that_cannot_use_a_port_or_the_device_is_told_no_more_of_it() {
    let mut guest = Guest::start(&[PortUse::Console, PortUse::Link], MULTIPORT);
    guest.tell(0, READY, 0);
    (0..2).for_each(|port| guest.tell(port, PORT_READY, 0));
    assert_eq!(events(&mut guest), [], "VIRTIO_CONSOLE_BAD_..: value 0");
    guest.restart(MULTIPORT);
    guest.tell(0, PORT_READY, 1);
    assert_eq!(events(&mut guest), [(0, IS_CONSOLE, 1), (0, OPEN, 1)]);
    guest.tell(0, PORT_READY, 1);
    assert_eq!(events(&mut guest), [(0, IS_CONSOLE, 1), (0, OPEN, 1)], "it has set it up again");
}

#[test]
fn a_far_side_that_comes_and_goes_is_a_change_each_time() {
    let mut guest = Guest::linked();
    assert_eq!(events(&mut guest), [(1, ADD, 1), (1, NAME, 1)]);
    for (has_peer, has_changed) in [(true, true), (true, false), (false, true), (false, false)] {
        let inputs = ModemInputs::default();
        let changes = guest.run(|console, _| console.link_end(1).set_inputs(inputs, has_peer));
        assert_eq!(changes, has_changed);
        let told = events(&mut guest);
        let expected = [(1, OPEN, u16::from(has_peer))];
        assert_eq!(told, &expected[..usize::from(has_changed)]);
    }
}

#[test]
fn a_driver_that_knows_one_port_has_the_first_open_and_no_other() {
    let mut guest = Guest::start(&[PortUse::Console, PortUse::Link], 0);
    let is_listening = guest.run(|console, _| console.link_end(1).is_listening());
    assert!(!is_listening);
    assert_ne!(guest.console().input_space(), 0);
}

#[test]
fn buffers_that_come_back_at_the_last_port_interrupt() {
    let mut guest = Guest::linked();
    guest.run(|console, ram| console.signal(ram));
    guest.driver.put(0x064, 3);
    guest.send(1, b"x");
    guest.run(|console, ram| {
        console.exchange(1, ram);
        assert_eq!(LinkPort::take(&mut console.link_end(1)), Some(b'x'));
        console.exchange(1, ram);
        console.signal(ram);
    });
    assert!(guest.returned(5).is_some());
    assert!(guest.driver.device.pin());
}

#[test]
fn a_transmit_queue_that_is_withdrawn_takes_what_was_not_fetched_along_and_counts_it() {
    let mut guest = Guest::linked();
    guest.send(1, &[7; 3000]);
    guest.run(|console, ram| console.exchange(1, ram));
    guest.driver.put(0x030, 5);
    guest.driver.put(0x044, 0);
    let counts = guest.run(|console, _| console.link_end(1).counts().expect("a link"));
    assert_eq!((counts.written, counts.flushed), (3000, 3000 - 1024));
    let taken = guest.run(|console, ram| {
        let mut taken = 0;
        while LinkPort::take(&mut console.link_end(1)).is_some() {
            taken += 1;
            console.exchange(1, ram);
        }
        taken
    });
    assert_eq!(taken, 1024, "what had been fetched");
    // Another queue's ends nothing.
    guest.lend(4, 64, WRITE);
    guest.driver.put(0x030, 4);
    guest.driver.put(0x044, 0);
    let counts = guest.run(|console, _| console.link_end(1).counts().expect("a link"));
    assert_eq!(counts.flushed, 1976);
}

#[test]
fn a_reset_with_a_chain_in_hand_leaves_none_for_the_next_driver() {
    let mut guest = Guest::linked();
    guest.send(1, &[7; 3000]);
    guest.run(|console, ram| console.exchange(1, ram));
    guest.restart(MULTIPORT);
    guest.run(|console, ram| console.exchange(1, ram));
    assert_eq!(LinkPort::in_flight(&guest.console().link_end(1)), 0);
    assert_eq!(guest.returned(5), None);
}
