//! Frames of several TCP segments for a driver that takes them one by one.

use super::driver::Ram;
use super::net_driver::*;
use crate::virtio::net::{DropReason, Frame, RECEIVE, Received};

extern crate std;
use std::vec::Vec;

/// Bytes of a receive buffer.
const BUFFER: u64 = 0x800;
const FLAGS_ALL: u8 = 0x80 | 0x10 | 0x08 | 0x01;

/// Ethernet with a tag for version 6, IP, and TCP with an option, over so many bytes of payload;
/// the header of its frame, with segments of `size`.
fn tcp(version: u8, payload: usize, size: u16) -> ([u8; 12], Vec<u8>) {
    let mut all = [MAC, PEER].concat();
    let tcp_bytes = 24 + payload;
    let transport = match version {
        4 => {
            all.extend([0x08, 0x00, 0x45, 0]);
            all.extend((20 + tcp_bytes as u16).to_be_bytes());
            // Identification, which will wrap; not to be fragmented; TCP; a checksum that is wrong.
            all.extend([0xff, 0xff, 0x40, 0, 64, 6, 0xde, 0xad]);
            all.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            34
        }
        _ => {
            all.extend([0x81, 0x00, 0, 5, 0x86, 0xdd, 0x60, 0, 0, 0]);
            all.extend((tcp_bytes as u16).to_be_bytes());
            all.extend([6, 64]);
            all.extend((0..32).map(|at| 0xf0 ^ at));
            58
        }
    };
    all.extend([0x1f, 0x90, 0xc0, 0x01]);
    all.extend(0xffff_ff80_u32.to_be_bytes());
    // Acknowledgement, 6 words, flags, window, a checksum of the pseudo header that is not used.
    all.extend([1, 2, 3, 4, 6 << 4, FLAGS_ALL, 0x20, 0, 0xbe, 0xef, 0, 0]);
    all.extend([2, 4, 5, 0xb4]);
    all.extend((0..payload).map(|at| (at * 11 + at / 256) as u8));
    let [low, high] = size.to_le_bytes();
    let gso = if version == 4 { 1 } else { 4 };
    ([1, gso, 0, 0, low, high, transport, 0, 16, 0, 0, 0], all)
}

/// RFC 1071: words and checksum add up to all ones.
fn adds_up(parts: &[&[u8]]) -> bool {
    let mut all = parts.concat();
    all.resize(all.len().next_multiple_of(2), 0);
    let words = all.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.fold(0, |sum: u32, word| ((sum + word) & 0xffff) + ((sum + word) >> 16));
    sum == 0xffff
}

fn sender() -> Driver {
    Driver::start(PEER, ALL | HOST_TSO6 | GUEST_TSO6)
}

fn offer_buffers(to: &mut Driver, count: u64) {
    for _ in 0..count {
        let at = ROOM + BUFFER * u64::from(to.made_available(RECEIVE));
        to.offer(RECEIVE, &[(at, BUFFER as u32, true)]);
    }
}

/// The frames that the driver has got.
fn received(to: &mut Driver) -> Vec<Vec<u8>> {
    let lengths: Vec<u32> = core::iter::from_fn(|| to.returned(RECEIVE)).collect();
    let place = |n: usize| ROOM + BUFFER * n as u64;
    let frame = |(n, len): (usize, &u32)| {
        assert_eq!(to.ram.bytes(place(n), 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        to.ram.bytes(place(n) + 12, *len as usize - 12)
    };
    lengths.iter().enumerate().map(frame).collect()
}

#[test]
fn segments_are_cut_with_headers_of_their_own() {
    for (version, network, transport) in [(4_u8, 14, 34), (6, 18, 58)] {
        let (header, whole) = tcp(version, 250, 100);
        let (mut from, mut to) = (sender(), Driver::start(MAC, 0));
        offer_buffers(&mut to, 4);
        from.send(header, &whole);
        assert_eq!(pass(&mut from, &mut to), Received::Done);
        let frames = received(&mut to);
        let payload = transport + 24;
        let sizes: Vec<usize> = frames.iter().map(|frame| frame.len() - payload).collect();
        assert_eq!(sizes, [100, 100, 50]);
        let all: Vec<u8> = frames.iter().flat_map(|frame| frame[payload..].to_vec()).collect();
        assert_eq!(all, whole[payload..]);
        for (n, frame) in frames.iter().enumerate() {
            assert_eq!(frame[..network], whole[..network], "Ethernet");
            let sequence = 0xffff_ff80_u32.wrapping_add(100 * n as u32).to_be_bytes();
            assert_eq!(frame[transport + 4..transport + 8], sequence);
            let flags = [0x90, 0x10, 0x19][n];
            assert_eq!(
                frame[transport + 13],
                flags,
                "CWR with the first, PSH and FIN with the last"
            );
            let tcp_bytes = (frame.len() - transport) as u16;
            let lengths = [0, 6].into_iter().chain(tcp_bytes.to_be_bytes()).collect::<Vec<u8>>();
            let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let addresses = match version {
                4 => {
                    assert_eq!(word(network + 2), 20 + tcp_bytes);
                    assert_eq!(word(network + 4), 0xffff_u16.wrapping_add(n as u16));
                    assert!(adds_up(&[&frame[network..transport]]), "IP's checksum");
                    &frame[network + 12..network + 20]
                }
                _ => {
                    assert_eq!(word(network + 4), tcp_bytes);
                    &frame[network + 8..network + 40]
                }
            };
            assert!(adds_up(&[addresses, &lengths, &frame[transport..]]), "TCP's checksum");
        }
        let counts = to.net.counts();
        assert_eq!((counts.received, counts.received_bytes as usize), (3, payload * 3 + 250));
        assert_eq!(
            (from.net.counts().sent, from.net.counts().sent_bytes as usize),
            (1, whole.len())
        );
    }
}

#[test]
fn a_frame_of_64_kib_comes_in_as_many_buffers_as_there_are_at_a_time() {
    let (header, whole) = tcp(4, 60_000, 1448);
    let (mut from, mut to) = (sender(), Driver::start(MAC, 0));
    from.send(header, &whole);
    let (mut done, mut rounds) = (0, 0);
    let mut payload = Vec::new();
    loop {
        offer_buffers(&mut to, 3);
        let frame = from.net.next(&from.ram).expect("the same one");
        let received = to.net.receive(&to.ram, &frame, &mut done);
        while let Some(len) = to.returned(RECEIVE) {
            let at = ROOM + BUFFER * u64::from(to.seen_returned(RECEIVE) - 1);
            payload.extend(to.ram.bytes(at + 12 + 58, len as usize - 70));
        }
        rounds += 1;
        if received == Received::Done {
            break;
        }
        assert_eq!((received, done), (Received::NoBuffers, 3 * rounds));
    }
    assert_eq!((done, rounds), (42, 14));
    assert_eq!(payload, whole[58..]);
}

#[test]
fn segments_from_outside_come_over_buffers_that_cut_their_headers() {
    let (header, whole) = tcp(4, 250, 100);
    let mut to = Driver::start(MAC, MRG_RXBUF);
    let bytes = [&header, &whole[..]].concat();
    let frame: Frame<'_, Ram> = Frame::from_outside(&bytes).expect("it is a frame");
    let (mut done, mut next, mut all) = (0, 0, Vec::new());
    loop {
        // Each is a header's length and 8 bytes; the ring has 16.
        for _ in 0..10 {
            to.offer(RECEIVE, &[(ROOM + 20 * next, 20, true)]);
            next += 1;
        }
        let received = to.net.receive(&to.ram, &frame, &mut done);
        while let Some(len) = to.returned(RECEIVE) {
            let at = ROOM + 20 * u64::from(to.seen_returned(RECEIVE) - 1);
            all.push(to.ram.bytes(at, len as usize));
        }
        if received == Received::Done {
            break;
        }
    }
    // 158 bytes with 12 before them are 9 buffers, 108 are 6.
    let lengths = |count: usize, last: usize| [std::vec![20; count], std::vec![last]].concat();
    let got: Vec<usize> = all.iter().map(Vec::len).collect();
    assert_eq!(got, [lengths(8, 10), lengths(8, 10), lengths(6, 0)].concat()[..got.len()]);
    let payload: Vec<u8> = [&all[..9], &all[9..18], &all[18..]]
        .iter()
        .flat_map(|segment| segment.concat()[12 + 58..].to_vec())
        .collect();
    assert_eq!(payload, whole[58..]);
}

#[test]
fn what_is_no_tcp_or_too_many_segments_is_refused() {
    let segments = Received::Refused(DropReason::Segments);
    let (good, whole) = tcp(4, 250, 100);
    let changed = |at: usize, to: u8| {
        let mut changed = whole.clone();
        changed[at] = to;
        changed
    };
    let header = |at: usize, to: u8| {
        let mut header = good;
        header[at] = to;
        header
    };
    for (header, frame) in [
        (good, changed(12, 9)),
        (good, changed(14, 0x65)),
        (good, changed(14, 0x46)),
        (good, changed(23, 17)),
        (good, changed(46, 4 << 4)),
        (header(6, 35), whole.clone()),
        (header(6, 250), whole.clone()),
        (header(8, 14), whole.clone()),
        // 257 segments of a byte, and a header longer than any.
        ((tcp(4, 257, 1)).0, tcp(4, 257, 1).1),
        (good, whole[..57].to_vec()),
    ] {
        let (mut from, mut to) = (sender(), Driver::start(MAC, 0));
        offer_buffers(&mut to, 4);
        from.send(header, &frame);
        assert_eq!(pass(&mut from, &mut to), segments, "{header:?}");
        assert_eq!(to.returned(RECEIVE), None);
    }
    let (header, most) = tcp(4, 256, 1);
    let (mut from, mut to) = (sender(), Driver::start(MAC, 0));
    offer_buffers(&mut to, 4);
    from.send(header, &most);
    assert_eq!(pass(&mut from, &mut to), Received::NoBuffers, "as many as may be");
}
