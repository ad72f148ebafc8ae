//! What a driver asks of its interface (5.1.6.5), and the state of the link (5.1.4).

use super::net_driver::*;
use crate::virtio::Device;
use crate::virtio::net::{DropReason, Net, RECEIVE, Received, TRANSMIT};

extern crate std;
use std::vec;

#[test]
fn the_filter_follows_the_driver() {
    let mut to = Driver::start(MAC, ALL);
    let takes = |to: &mut Driver, destination| {
        let mut from = Driver::start(PEER, ALL);
        to.offer(RECEIVE, &[(ROOM, 100, true)]);
        from.send([0; 12], &frame(destination, 60));
        pass(&mut from, to) == Received::Done
    };
    let stranger = [2, 0, 0, 0, 0, 7];
    assert!(takes(&mut to, stranger), "at first it is promiscuous");
    assert_eq!(to.command(0, 0, &[0]), 0);
    assert!(takes(&mut to, MAC) && takes(&mut to, [0xff; 6]));
    assert!(!takes(&mut to, stranger) && !takes(&mut to, GROUP));
    assert_eq!(to.command(0, 1, &[1]), 0, "all multicast");
    assert!(takes(&mut to, GROUP) && !takes(&mut to, stranger));
    assert_eq!(to.command(0, 1, &[0]), 0);
    let table = |unicast: &[[u8; 6]], multicast: &[[u8; 6]]| {
        let list =
            |list: &[[u8; 6]]| [&(list.len() as u32).to_le_bytes(), list.as_flattened()].concat();
        [list(unicast), list(multicast)].concat()
    };
    assert_eq!(to.command(1, 0, &table(&[], &[GROUP])), 0);
    assert!(takes(&mut to, GROUP) && !takes(&mut to, stranger));
    assert_eq!(to.command(1, 0, &table(&[stranger], &[])), 0);
    assert!(!takes(&mut to, GROUP) && takes(&mut to, stranger));
    assert_eq!(to.command(1, 0, &table(&[], &[[3; 6]; 65])), 0, "more than it keeps");
    assert!(takes(&mut to, GROUP) && !takes(&mut to, stranger));
    for (class, command, data) in [(0, 0, vec![]), (1, 0, vec![1, 0, 0, 0, 9]), (2, 0, vec![1, 0])]
    {
        assert_eq!(to.command(class, command, &data), 1, "VIRTIO_NET_ERR");
    }
}

#[test]
fn a_link_that_is_down_says_so_and_one_without_its_cable_passes_nothing() {
    let mut to = Driver::start(MAC, ALL | STATUS);
    let mut from = Driver::start(PEER, ALL);
    let status = |net: &Net| {
        let device = Device::Net(net.clone());
        [(0x104, 4), (0x060, 4), (0x0fc, 4)].map(|(at, size)| device.read(at, size))
    };
    assert_eq!(status(&to.net), [0x1_0100, 0, 0], "the address's end, and the status");
    assert!(to.net.set_peer(false));
    assert!(!to.net.set_peer(false));
    assert_eq!(status(&to.net), [0x100, 2, 1], "down: changed, once");
    // Who sends all the same is received.
    to.offer(RECEIVE, &[(ROOM, 100, true)]);
    from.send([0; 12], &frame(MAC, 60));
    assert_eq!(pass(&mut from, &mut to), Received::Done);
    to.net.set_plugged(false);
    assert_eq!(status(&to.net), [0x100, 2, 1], "it was down before");
    from.send([0; 12], &frame(MAC, 60));
    assert_eq!(pass(&mut from, &mut to), Received::Refused(DropReason::NotReady));
    to.send([0; 12], &frame(PEER, 60));
    assert!(to.net.next(&to.ram).is_none());
    assert_eq!(to.returned(TRANSMIT), Some(0));
    assert_eq!((to.net.counts().dropped(DropReason::NoReceiver), to.net.counts().sent), (1, 0));
    assert!(!to.net.set_peer(true));
    to.net.set_plugged(true);
    assert_eq!(status(&to.net), [0x1_0100, 2, 2]);
    // A driver that does not know the status is not interrupted for it.
    from.net.set_plugged(false);
    assert_eq!(status(&from.net), [0x200, 0, 1]);
}

#[test]
fn a_driver_may_set_another_address_until_it_resets_the_device() {
    const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 7, 7];
    let mut to = Driver::start(MAC, ALL | CTRL_MAC_ADDR);
    let mut from = Driver::start(PEER, ALL);
    assert_eq!(to.command(0, 0, &[0]), 0, "not promiscuous");
    assert_eq!(to.command(1, 1, &OTHER), 0);
    for (command, data) in [(1, &GROUP[..]), (1, &OTHER[..5]), (2, &OTHER)] {
        assert_eq!(to.command(1, command, data), 1, "VIRTIO_NET_ERR: {command} {data:?}");
    }
    let mut device = Device::Net(to.net.clone());
    assert_eq!(device.read(0x100, 8), 0x0001_0707_0000_5452, "the address and the status");
    for (destination, expected) in [(OTHER, Received::Done), (MAC, Received::NotTaken)] {
        to.offer(RECEIVE, &[(ROOM, 100, true)]);
        from.send([0; 12], &frame(destination, 60));
        assert_eq!(pass(&mut from, &mut to), expected);
    }
    device.write(0x070, 4, 0);
    assert_eq!(device.read(0x100, 8), 0x0001_0100_0000_5452);
}

#[test]
fn a_table_that_ends_early_leaves_the_one_before() {
    let mut to = Driver::start(MAC, ALL);
    let mut from = Driver::start(PEER, ALL);
    assert_eq!(to.command(0, 0, &[0]), 0);
    /// 70 multicast addresses that are not there.
    const TOO_MANY: [u8; 9] = [0, 0, 0, 0, 70, 0, 0, 0, 9];
    let table = [&[0, 0, 0, 0, 1, 0, 0, 0][..], &GROUP].concat();
    assert_eq!(to.command(1, 0, &table), 0);
    for bad in [&[0, 0, 0][..], &[70, 0, 0, 0, 9], &[0, 0, 0, 0, 1, 0, 0, 0, 9, 9], &TOO_MANY] {
        assert_eq!(to.command(1, 0, bad), 1, "{bad:?}");
        to.offer(RECEIVE, &[(ROOM, 100, true)]);
        from.send([0; 12], &frame(GROUP, 60));
        assert_eq!(pass(&mut from, &mut to), Received::Done);
    }
    // Too many of the one kind do not concern the other, and a shorter table ends that.
    let many = [&[65, 0, 0, 0][..], &[2; 65 * 6], &[0; 4]].concat();
    let stranger = [2, 0, 0, 0, 0, 7];
    for (table, unicast) in [(&many, Received::Done), (&vec![0; 8], Received::NotTaken)] {
        assert_eq!(to.command(1, 0, table), 0);
        to.offer(RECEIVE, &[(ROOM, 100, true)]);
        for (destination, expected) in [(GROUP, Received::NotTaken), (stranger, unicast)] {
            from.send([0; 12], &frame(destination, 60));
            assert_eq!(pass(&mut from, &mut to), expected);
        }
    }
}

#[test]
fn the_address_of_its_own_and_broadcasts_are_taken_whatever_the_table_says() {
    let mut to = Driver::start(MAC, ALL);
    let mut from = Driver::start(PEER, ALL);
    assert_eq!(to.command(0, 0, &[0]), 0);
    for (destination, expected) in [
        (MAC, Received::Done),
        ([0xff; 6], Received::Done),
        (GROUP, Received::NotTaken),
        ([2; 6], Received::NotTaken),
    ] {
        to.offer(RECEIVE, &[(ROOM, 100, true)]);
        from.send([0; 12], &frame(destination, 60));
        assert_eq!(pass(&mut from, &mut to), expected, "{destination:x?}");
    }
    assert_eq!(to.net.counts().received_bytes, 120);
    // A reset ends what was asked for: all are taken.
    let mut to = Driver::take_over(to.net, ALL);
    to.offer(RECEIVE, &[(ROOM, 100, true)]);
    from.send([0; 12], &frame([2; 6], 60));
    assert_eq!(pass(&mut from, &mut to), Received::Done);
}
