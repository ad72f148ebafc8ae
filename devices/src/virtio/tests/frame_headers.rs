//! What a sender leaves to be done to its frame (5.1.6.2), and what a receiver gets of it
//! (5.1.6.4).

use super::net_driver::*;
use crate::virtio::RingError;
use crate::virtio::net::{DropReason, RECEIVE, Received, TRANSMIT};

#[test]
fn a_checksum_is_computed_for_a_driver_that_cannot() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, MRG_RXBUF));
    // The checksum of the bytes from 14 on belongs to bytes 20 and 21, in two buffers.
    let mut sent = frame(MAC, 64);
    sent[20..22].copy_from_slice(&[0x12, 0x34]);
    to.offer(RECEIVE, &[(ROOM, 33, true)]);
    to.offer(RECEIVE, &[(ROOM + 0x1000, 100, true)]);
    from.send([1, 0, 0, 0, 0, 0, 14, 0, 6, 0, 0, 0], &sent);
    assert_eq!(pass(&mut from, &mut to), Received::Done);
    assert_eq!(to.ram.bytes(ROOM, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    let got = [to.ram.bytes(ROOM + 12, 21), to.ram.bytes(ROOM + 0x1000, 43)].concat();
    // RFC 1071: a receiver's sum over all, the pseudo header's part left out of it again, is ones.
    let sum = |bytes: &[u8]| {
        let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum: u32 = words.sum();
        (sum & 0xffff) + (sum >> 16)
    };
    assert_eq!(sum(&got[14..]) + 0x1234, 0xffff);
    let is_other = |at: &usize| !(20..22).contains(at);
    assert!((0..64).filter(is_other).all(|at| got[at] == sent[at]), "nothing else has changed");
}

#[test]
fn malformed_frames_are_dropped_and_the_next_one_passes() {
    let mut from = Driver::start(PEER, CSUM);
    let good = [1, 0, 0, 0, 0, 0, 14, 0, 6, 0, 0, 0];
    for (header, len) in [
        ([0; 12], 13),
        ([0; 12], 65_554),
        // A checksum beyond the end; segments that were not accepted; a kind that is none.
        ([1, 0, 0, 0, 0, 0, 50, 0, 9, 0, 0, 0], 60),
        (SEGMENTS, 1000),
        ([1, 9, 0, 0, 1, 0, 14, 0, 6, 0, 0, 0], 1000),
    ] {
        from.send(header, &frame(MAC, len));
        assert!(from.net.next(&from.ram).is_none(), "{header:?} {len}");
        assert_eq!(from.returned(TRANSMIT), Some(0));
    }
    from.send(good, &frame(MAC, 60));
    let next = from.net.next(&from.ram).expect("a frame");
    assert_eq!((next.destination, next.source, next.bytes), (MAC, PEER, 60));
    assert_eq!(from.net.counts().dropped(DropReason::Malformed), 5);
    let mut from = Driver::start(PEER, 0);
    from.send(good, &frame(MAC, 60));
    assert!(from.net.next(&from.ram).is_none(), "the checksum was not accepted");
    from.offer(TRANSMIT, &[(OUT, 11, false)]);
    assert!(from.net.next(&from.ram).is_none());
    assert_eq!(from.net.transport.error(), Some(RingError::TooShort));
}

#[test]
fn segments_go_to_drivers_that_take_their_kind() {
    const GSO_TCPV6: u8 = 4;
    let six = |size: u8| [1, GSO_TCPV6, 54, 0, size, 0, 34, 0, 16, 0, 0, 0];
    let four = |size: u8| [1, 1, 54, 0, size, 0, 34, 0, 16, 0, 0, 0];
    let basic = CSUM | GUEST_CSUM | MRG_RXBUF;
    let (v4, v6) = (GUEST_TSO4 | HOST_TSO4, GUEST_TSO6 | HOST_TSO6);
    let segments = Received::Refused(DropReason::Segments);
    for (features, header, expected) in [
        (basic | v4, four(200), Received::Done),
        (basic | v4, six(200), segments),
        (basic | v6, four(200), segments),
        (basic | v6, six(200), Received::Done),
        (v4 | v6, four(200), segments),
        (basic, four(200), segments),
    ] {
        let mut from = Driver::start(PEER, basic | v4 | v6);
        let mut to = Driver::start(MAC, features);
        to.offer(RECEIVE, &[(ROOM, 2000, true)]);
        from.send(header, &frame(MAC, 1000));
        assert_eq!(pass(&mut from, &mut to), expected, "{features:#x} {header:?}");
    }
    // Nor may a driver leave more to be done than it has accepted, or packets of no bytes.
    for (features, header) in [
        (basic | v4, six(200)),
        (basic | v6, four(200)),
        (basic | v4, four(0)),
        (basic | v6, six(0)),
        (basic | v4, {
            let mut header = four(200);
            header[0] = 0;
            header
        }),
        (basic | v6, {
            let mut header = six(200);
            header[0] = 2;
            header
        }),
    ] {
        let mut from = Driver::start(PEER, features);
        from.send(header, &frame(MAC, 1000));
        assert!(from.net.next(&from.ram).is_none(), "{features:#x} {header:?}");
        assert_eq!(from.net.counts().dropped(DropReason::Malformed), 1);
    }
}

#[test]
fn a_header_passes_on_what_can_be_right_alone() {
    let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    // The longest headers, and a size of packets where there is one: 64 bytes from 14 on, 6.
    for (sent, received) in [
        // Nothing is left to be done, whatever else the header says.
        ([0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
        // VIRTIO_NET_HDR_F_DATA_VALID and another flag are the device's.
        ([0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
        ([0xff, 0, 20, 0, 7, 7, 14, 0, 6, 0, 9, 9], [1, 0, 20, 0, 0, 0, 14, 0, 6, 0, 1, 0]),
        ([1, 1, 0xff, 0xff, 7, 0, 14, 0, 6, 0, 0, 0], [1, 1, 64, 0, 7, 0, 14, 0, 6, 0, 1, 0]),
        // The checksum's place ends with the frame.
        ([1, 0, 0, 0, 0, 0, 62, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 62, 0, 0, 0, 1, 0]),
    ] {
        to.offer(RECEIVE, &[(ROOM, 100, true)]);
        from.send(sent, &frame(MAC, 64));
        assert_eq!(pass(&mut from, &mut to), Received::Done, "{sent:?}");
        assert_eq!(to.ram.bytes(ROOM, 12), received, "{sent:?}");
    }
}

#[test]
fn a_checksum_covers_an_odd_last_byte_and_is_never_zero() {
    for (content, checksum) in [
        // 0x1234 of the pseudo header, and 0x0102 and 0x0300.
        ([0x12, 0x34, 1, 2, 3], [0xe9, 0xc9]),
        // The sum is all ones: UDP's 0 would say that there is none.
        ([0xff, 0xff, 0, 0, 0], [0xff, 0xff]),
    ] {
        let (mut from, mut to) = (Driver::start(PEER, ALL), Driver::start(MAC, 0));
        // Longer than the pieces that the sum is made of, which the other words do not change.
        let sent = [&frame(MAC, 14)[..], &[0xff; 600], &content].concat();
        to.offer(RECEIVE, &[(ROOM, 2000, true)]);
        from.send([1, 0, 0, 0, 0, 0, 14, 0, 0x58, 2, 0, 0], &sent);
        assert_eq!(pass(&mut from, &mut to), Received::Done);
        assert_eq!(to.ram.bytes(ROOM + 12 + 614, 2), checksum);
    }
}
