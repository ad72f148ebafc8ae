//! The network device (5.1): two drivers, and frames from the one to the other.

use super::net_driver::*;
use crate::memory::GuestMemory;
use crate::virtio::net::{DropReason, RECEIVE, Received, TRANSMIT};
use crate::virtio::{Device, Event, RingError};

extern crate std;
use std::vec::Vec;

#[test]
fn a_frame_arrives_as_it_was_sent() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    to.offer(RECEIVE, &[(ROOM, 5, true), (ROOM + 5, 2000, true)]);
    let sent = frame(MAC, 1514);
    from.send([0; 12], &sent);
    assert_eq!(from.returned(TRANSMIT), None);
    assert_eq!(pass(&mut from, &mut to), Received::Done);
    assert_eq!(from.returned(TRANSMIT), Some(0));
    assert_eq!(to.returned(RECEIVE), Some(1526));
    assert_eq!(to.ram.bytes(ROOM, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(to.ram.bytes(ROOM + 12, 1514), sent);
    let (of_sender, of_receiver) = (from.net.counts(), to.net.counts());
    assert_eq!((of_sender.sent, of_sender.sent_bytes), (1, 1514));
    assert_eq!((of_receiver.received, of_receiver.received_bytes), (1, 1514));
    assert!(from.net.next(&from.ram).is_none());
}

#[test]
fn segments_and_checksums_pass_untouched_over_merged_buffers() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    let sent = frame(MAC, 65_549);
    from.send(SEGMENTS, &sent);
    for n in 0..9 {
        to.offer(RECEIVE, &[(ROOM + n * 0x2000, 0x2000, true)]);
    }
    assert_eq!(pass(&mut from, &mut to), Received::Done);
    let mut header = SEGMENTS;
    header[10] = 9;
    assert_eq!(to.ram.bytes(ROOM, 12), header);
    assert_eq!(to.ram.bytes(ROOM + 12, sent.len()), sent, "the buffers lie side by side");
    let returned: Vec<_> = core::iter::from_fn(|| to.returned(RECEIVE)).collect();
    assert_eq!(returned, [[0x2000; 8].as_slice(), &[65_561 - 8 * 0x2000]].concat());
}

#[test]
fn a_frame_waits_until_there_are_buffers_for_all_of_it() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    let sent = frame(MAC, 1000);
    from.send([0; 12], &sent);
    from.send([0; 12], &frame(MAC, 60));
    to.offer(RECEIVE, &[(ROOM, 512, true)]);
    for _ in 0..3 {
        assert_eq!(pass(&mut from, &mut to), Received::NoBuffers);
    }
    assert_eq!((to.returned(RECEIVE), from.returned(TRANSMIT)), (None, None));
    to.offer(RECEIVE, &[(ROOM + 512, 512, true)]);
    from.ram.put(OUT + 12, &sent);
    assert_eq!(pass(&mut from, &mut to), Received::Done);
    assert_eq!((to.returned(RECEIVE), to.returned(RECEIVE)), (Some(512), Some(500)));
    assert_eq!(to.ram.bytes(ROOM + 10, 1002), [&[2, 0], &sent[..]].concat());
    assert_eq!(from.returned(TRANSMIT), Some(0));
}

#[test]
fn what_does_not_fit_or_has_to_be_segmented_is_refused() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, GUEST_CSUM));
    to.offer(RECEIVE, &[(ROOM, 1525, true)]);
    to.offer(RECEIVE, &[(ROOM, 1525, true)]);
    from.send([0; 12], &frame(MAC, 1514));
    let too_large = Received::Refused(DropReason::TooLarge);
    assert_eq!(pass(&mut from, &mut to), too_large);
    from.send(SEGMENTS, &frame(MAC, 1000));
    assert_eq!(pass(&mut from, &mut to), Received::Refused(DropReason::Segments));
    assert_eq!(to.returned(RECEIVE), None);
    from.send([0; 12], &frame(MAC, 1513));
    assert_eq!(pass(&mut from, &mut to), Received::Done);
    assert_eq!(to.returned(RECEIVE), Some(1525));
    // All of the ring's buffers together are too small.
    let mut small = Driver::start(MAC, ALL);
    (0..SIZE.into()).for_each(|n| small.offer(RECEIVE, &[(ROOM + n * 64, 64, true)]));
    from.send([0; 12], &frame(MAC, 1013));
    assert_eq!(pass(&mut from, &mut small), too_large);
    from.send([0; 12], &frame(MAC, 1012));
    assert_eq!(pass(&mut from, &mut small), Received::Done);
}

#[test]
fn a_frame_may_be_cut_anyhow_at_either_side() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    let sent = frame(MAC, 300);
    from.ram.put(OUT, &[0; 12]);
    from.ram.put(OUT + 12, &sent);
    // Header and addresses over several buffers, one of them empty.
    let cuts = [5, 0, 9, 3, 95, 200];
    let mut at = OUT;
    let parts = cuts.map(|bytes| {
        at += u64::from(bytes);
        (at - u64::from(bytes), bytes, false)
    });
    from.offer(TRANSMIT, &parts);
    for parts in [[(0, 4), (4, 9)], [(13, 100), (113, 50)], [(163, 148), (400, 1)]] {
        to.offer(RECEIVE, &parts.map(|(at, bytes)| (ROOM + at, bytes, true)));
    }
    assert_eq!(pass(&mut from, &mut to), Received::Done);
    let returned: Vec<_> = core::iter::from_fn(|| to.returned(RECEIVE)).collect();
    assert_eq!(returned, [13, 150, 149]);
    assert_eq!(to.ram.bytes(ROOM + 10, 2), [3, 0]);
    let got = [to.ram.bytes(ROOM + 12, 299), to.ram.bytes(ROOM + 400, 1)].concat();
    assert_eq!(got, sent);
}

#[test]
fn a_frame_has_14_to_65553_bytes() {
    for (bytes, is_one) in [(13, false), (14, true), (65_553, true), (65_554, false)] {
        let mut from = Driver::start(PEER, ALL);
        from.send([0; 12], &frame(MAC, bytes));
        assert_eq!(from.net.next(&from.ram).is_some(), is_one, "{bytes}");
    }
}

#[test]
fn a_receiver_that_breaks_a_rule_stops_and_holds_nobody() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    to.offer(RECEIVE, &[(ROOM, 11, true)]);
    from.send([0; 12], &frame(MAC, 60));
    assert_eq!(pass(&mut from, &mut to), Received::Refused(DropReason::NotReady));
    assert_eq!(to.net.transport.error(), Some(RingError::TooShort));
    let mut to = Driver::start(MAC, ALL);
    to.offer(RECEIVE, &[(u64::MAX - 20, 10, true)]);
    from.send([0; 12], &frame(MAC, 60));
    assert_eq!(pass(&mut from, &mut to), Received::Refused(DropReason::NotReady));
}

#[test]
fn a_transmit_queue_that_is_withdrawn_takes_the_frame_in_hand_along() {
    let mut from = Driver::start(PEER, ALL);
    from.send([0; 12], &frame(MAC, 60));
    assert!(from.net.next(&from.ram).is_some());
    let mut device = Device::Net(from.net);
    device.write(0x030, 4, 0);
    assert_eq!(device.write(0x044, 4, 0), Some(Event::Withdrawn(RECEIVE)));
    let Device::Net(net) = &mut device else { unreachable!("it is one") };
    assert!(net.next(&from.ram).is_some(), "another queue");
    device.write(0x030, 4, 1);
    assert_eq!(device.write(0x044, 4, 0), Some(Event::Withdrawn(TRANSMIT)));
    let Device::Net(net) = &mut device else { unreachable!("it is one") };
    assert!(net.next(&from.ram).is_none());
}

#[test]
fn a_reset_drops_the_frame_that_waits() {
    let (mut from, to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    from.send([0; 12], &frame(MAC, 60));
    let frame = from.net.next(&from.ram).expect("a frame");
    let mut receiver = to.net.clone();
    assert_eq!(receiver.receive(&to.ram, &frame, &mut 0), Received::NoBuffers);
    let mut device = Device::Net(from.net);
    assert_eq!(device.write(0x070, 4, 0), Some(Event::Reset));
    let Device::Net(mut net) = device else { unreachable!("it is one") };
    assert!(net.next(&from.ram).is_none());
    net.finish(&from.ram);
    assert_eq!(net.counts().sent, 0);
    assert!(from.ram.has(0, 1) && from.ram.u16_at(base(TRANSMIT) + 0x802) == 0);
}
