//! A frame of several TCP segments for interfaces whose drivers take them one by one.

use super::held_frames::{FRAME, RECEIVE, TRANSMIT, World, mac};
use crate::memory::GuestMemory;
use crate::system::networks::HELD_NS;
use devices::virtio::net::DropReason;

/// CSUM and HOST_TSO4 (5.1.3).
const SENDER: u64 = 1 << 0 | 1 << 11;
const ALL: [u8; 6] = [0xff; 6];

/// VMs of which the first one sends segments, and the others take none.
fn world(vms: usize) -> World {
    let mut world = World::stopped(vms, true);
    world.start(0, SENDER);
    (1..vms).for_each(|vm| world.start(vm, 0));
    let put = |at: u64, bytes: &[u8]| assert!(world.rams[0].write(FRAME + at, bytes));
    // Checksum, TCPv4, 2 bytes each; Ethernet, IPv4, TCP, 6 bytes.
    put(0, &[1, 1, 0, 0, 2, 0, 34, 0, 16, 0, 0, 0]);
    put(24, &[0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 6]);
    put(12 + 34 + 12, &[5 << 4]);
    world
}

#[test]
fn a_sender_goes_on_where_its_receiver_has_stopped() {
    let mut world = world(2);
    world.offer(1, RECEIVE, 2);
    world.send(0, mac(1), 2);
    assert_eq!((world.returned(1, RECEIVE), world.returned(0, TRANSMIT)), (2, 0));
    world.offer(1, RECEIVE, 1);
    assert_eq!((world.returned(1, RECEIVE), world.returned(0, TRANSMIT)), (3, 1));
    world.offer(1, RECEIVE, 4);
    assert_eq!((world.returned(1, RECEIVE), world.returned(0, TRANSMIT)), (6, 2));
    assert_eq!(world.dropped(0), []);
    assert_eq!(world.counts(1).received, 6);
}

#[test]
fn others_get_it_behind_the_one_that_has_a_part() {
    let mut world = world(4);
    world.offer(1, RECEIVE, 8);
    world.offer(2, RECEIVE, 2);
    world.offer(3, RECEIVE, 8);
    world.send(0, ALL, 1);
    let returned = |world: &World| [1, 2, 3].map(|vm| world.returned(vm, RECEIVE));
    assert_eq!(returned(&world), [3, 2, 0]);
    world.offer(2, RECEIVE, 1);
    assert_eq!(returned(&world), [3, 3, 3]);
    assert_eq!((world.returned(0, TRANSMIT), world.dropped(0)), (1, [].into()));
}

#[test]
fn a_receiver_that_stops_in_the_middle_is_waited_for_from_its_last_segment_on() {
    let mut world = world(2);
    world.offer(1, RECEIVE, 1);
    world.send(0, mac(1), 1);
    *world.place.now_ns.borrow_mut() += HELD_NS - 1;
    world.offer(1, RECEIVE, 1);
    *world.place.now_ns.borrow_mut() += HELD_NS - 1;
    let _ = world.system.next(&mut world.place);
    assert_eq!((world.returned(1, RECEIVE), world.dropped(0)), (2, [].into()));
    *world.place.now_ns.borrow_mut() += 1;
    let _ = world.system.next(&mut world.place);
    assert_eq!(world.dropped(0), [(DropReason::NoBuffers, 1)]);
    assert_eq!(world.returned(0, TRANSMIT), 1);
    // The next one begins with its first segment.
    world.offer(1, RECEIVE, 8);
    world.send(0, mac(1), 1);
    assert_eq!((world.returned(1, RECEIVE), world.returned(0, TRANSMIT)), (5, 2));
}
