//! Frames that lie in the host's memory, for a driver.

use super::driver::Ram;
use super::net_driver::*;
use crate::virtio::net::{DropReason, Frame, RECEIVE, Received};

extern crate std;
use std::vec::Vec;

/// What comes from outside: a header, and a frame.
fn arrived(header: [u8; 12], frame: &[u8]) -> Vec<u8> {
    [&header, frame].concat()
}

fn receive(to: &mut Driver, bytes: &[u8]) -> Received {
    let frame: Frame<'_, Ram> = Frame::from_outside(bytes).expect("it is a frame");
    to.net.receive(&to.ram, &frame, &mut 0)
}

#[test]
fn segments_of_64_kib_come_over_merged_buffers_wherever_these_are_cut() {
    let mut to = Driver::start(MAC, ALL);
    let sent = frame(MAC, 65_549);
    let bytes = arrived(SEGMENTS, &sent);
    for n in 0..8 {
        assert_eq!(receive(&mut to, &bytes), Received::NoBuffers);
        let at = ROOM + n * 0x2400;
        to.offer(RECEIVE, &[(at, 13, true), (at + 13, 0x2400 - 13, true)]);
    }
    assert_eq!(receive(&mut to, &bytes), Received::Done);
    let mut header = SEGMENTS;
    header[10] = 8;
    assert_eq!(to.ram.bytes(ROOM, 12), header);
    assert_eq!(to.ram.bytes(ROOM + 12, sent.len()), sent, "the buffers lie side by side");
    assert_eq!((to.net.counts().received, to.net.counts().received_bytes), (1, 65_549));
}

#[test]
fn a_driver_without_offloads_gets_finished_frames_and_no_segments() {
    let mut to = Driver::start(MAC, 0);
    to.offer(RECEIVE, &[(ROOM, 2000, true)]);
    let segments = arrived(SEGMENTS, &frame(MAC, 1000));
    assert_eq!(receive(&mut to, &segments), Received::Refused(DropReason::Segments));
    // RFC 1071, 3: the words 0001 f203 f4f5 f6f7 add up to ddf2.
    let mut sent = frame(MAC, 24);
    sent[14..].copy_from_slice(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0]);
    let checksum_from_14_at_22 = [1, 0, 0, 0, 0, 0, 14, 0, 8, 0, 0, 0];
    assert_eq!(receive(&mut to, &arrived(checksum_from_14_at_22, &sent)), Received::Done);
    assert_eq!(to.ram.bytes(ROOM, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(to.ram.bytes(ROOM + 12 + 22, 2), [0x22, 0x0d]);
}

#[test]
fn what_the_host_says_beyond_the_checksum_is_left_out_of_headers() {
    let mut to = Driver::start(MAC, ALL);
    to.offer(RECEIVE, &[(ROOM, 2000, true)]);
    let valid = arrived([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9], &frame(MAC, 60));
    assert_eq!(receive(&mut to, &valid), Received::Done);
    assert_eq!(to.ram.bytes(ROOM, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_frame_from_outside_has_14_to_65553_bytes_and_a_header_that_is_known() {
    let is_one = |bytes: &[u8]| Frame::<Ram>::from_outside(bytes).is_some();
    for (bytes, expected) in [(13, false), (14, true), (65_553, true), (65_554, false)] {
        assert_eq!(is_one(&arrived([0; 12], &frame(MAC, bytes))), expected, "{bytes}");
    }
    let header = |flags, kind| [flags, kind, 0, 0, 100, 0, 14, 0, 6, 0, 0, 0];
    for (flags, kind, expected) in
        [(1, 1, true), (1, 4, true), (0, 1, false), (1, 3, false), (1, 5, false), (1, 0x81, false)]
    {
        let bytes = arrived(header(flags, kind), &frame(MAC, 200));
        assert_eq!(is_one(&bytes), expected, "{flags} {kind:#x}");
    }
}
