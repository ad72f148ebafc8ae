//! Uplinks over sockets of datagrams, which keep messages apart and have bounded queues as a TAP
//! does.

use super::*;
use crate::events::HostEvents;
use devices::virtio::Buffer;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use vmm_common::memory::GuestMemory;

const MINUTE_NS: u64 = 60_000_000_000;

/// An uplink, and what is at its other end.
fn joined() -> (Uplinks, UnixDatagram) {
    let (tap, other) = UnixDatagram::pair().expect("a pair");
    tap.set_nonblocking(true).expect("it can be");
    let uplink = Uplink::new(File::from(OwnedFd::from(tap)), String::from("network out: TAP t"));
    (Uplinks { uplinks: vec![None, Some(uplink)], troubles: VecDeque::new() }, other)
}

fn frame(byte: u8) -> Vec<u8> {
    [[0; HEADER_BYTES].as_slice(), &[byte; 60]].concat()
}

fn awaited(uplinks: &mut Uplinks) -> Vec<(Awaited, Awaited)> {
    uplinks.take_changes().map(|(_, before, awaited)| (before, awaited)).collect()
}

#[test]
fn a_frame_is_the_same_until_it_is_finished_and_not_waited_for_meanwhile() {
    let (mut uplinks, other) = joined();
    let (none, frames) = (Awaited::default(), Awaited { frames: true, room: false });
    assert_eq!(awaited(&mut uplinks), [(none, frames)]);
    assert_eq!(uplinks.receive(1), FromUplink::Nothing);
    for byte in [1, 2] {
        other.send(&frame(byte)).expect("there is room");
    }
    for byte in [1, 2] {
        assert_eq!(uplinks.receive(1), FromUplink::Frame(&frame(byte)));
        assert_eq!(uplinks.receive(1), FromUplink::Frame(&frame(byte)));
        assert_eq!(uplinks.held(1), Some(&*frame(byte)));
        assert_eq!(awaited(&mut uplinks), [(frames, none)]);
        uplinks.finish(1);
        assert_eq!(awaited(&mut uplinks), [(none, frames)]);
    }
    assert_eq!(uplinks.receive(1), FromUplink::Nothing);
    assert_eq!(uplinks.receive(0), FromUplink::Gone);
    assert_eq!([0, 1].map(|network| uplinks.held(network)), [None; 2]);
    assert_eq!((awaited(&mut uplinks), uplinks.take_trouble()), (vec![], None));
}

#[test]
fn a_wait_ends_with_a_frame_and_with_room_for_one() {
    let (mut uplinks, other) = joined();
    let mut events = HostEvents::new(None).expect("epoll");
    let mut wait = |uplinks: &mut Uplinks| {
        for change in uplinks.take_changes() {
            events.await_uplink(change).expect("it can be watched");
        }
        let begin = std::time::Instant::now();
        events.wait(0, MINUTE_NS).expect("it ends");
        assert!(begin.elapsed().as_nanos() < u128::from(MINUTE_NS));
    };
    other.send(&frame(1)).expect("there is room");
    wait(&mut uplinks);
    // The second one stays in the queue and ends no wait, which room does.
    other.send(&frame(2)).expect("there is room");
    assert_eq!(uplinks.receive(1), FromUplink::Frame(&frame(1)));
    let bytes = frame(3);
    while send_host(&mut uplinks, &bytes) == ToUplink::Done {}
    let mut room = vec![0; 100];
    other.set_nonblocking(true).expect("it can be");
    let mut sent = ToUplink::Full;
    while sent == ToUplink::Full {
        while other.recv(&mut room).is_ok() {}
        wait(&mut uplinks);
        sent = send_host(&mut uplinks, &bytes);
    }
    // Nobody waits for room after that, though there is some.
    let is_for_room = |(_, _, awaited): (_, _, Awaited)| awaited.room;
    assert_eq!(sent, ToUplink::Done);
    assert!(!uplinks.take_changes().any(is_for_room));
    assert_eq!(other.recv(&mut room).expect("it was sent"), bytes.len());
}

/// Sends what lies in memory of the host.
fn send_host(uplinks: &mut Uplinks, bytes: &[u8]) -> ToUplink {
    uplinks.send(1, &Frame::from_outside(bytes).expect("it is a frame"))
}

#[test]
fn a_frame_of_several_pieces_leaves_as_one_message_behind_its_header() {
    let (mut uplinks, other) = joined();
    let ram = GuestRam::new(1 << 20).expect("a megabyte");
    let parts = [(0x1000, 14), (0x8003, 0), (0x9007, 1000), (0xf_fff0, 16)];
    let buffers = parts.map(|(address, bytes)| Buffer { address, bytes });
    let mut expected = vec![0; HEADER_BYTES];
    for (number, Buffer { address, bytes }) in buffers.iter().enumerate() {
        let content = vec![number as u8 + 1; *bytes as usize];
        assert!(ram.write(*address, &content));
        expected.extend(content);
    }
    let bytes = frame(0);
    let mut frame: Frame<'_, GuestRam> = Frame::from_outside(&bytes).expect("it is a frame");
    frame.content = Content::Guest { buffers: &buffers, memory: &ram };
    assert_eq!(uplinks.send(1, &frame), ToUplink::Done);
    let mut message = vec![0; 2000];
    let len = other.recv(&mut message).expect("it was sent");
    assert!(message[..len] == expected, "{len} bytes");
    let beyond = [Buffer { address: 0xf_fff0, bytes: 17 }];
    frame.content = Content::Guest { buffers: &beyond, memory: &ram };
    assert_eq!(uplinks.send(1, &frame), ToUplink::Refused);
}

#[test]
fn an_end_that_refuses_or_is_gone_is_told_once() {
    let (mut uplinks, other) = joined();
    drop(other);
    for _ in 0..2 {
        assert_eq!(send_host(&mut uplinks, &frame(1)), ToUplink::Refused);
    }
    let refuses = "network out: TAP t refuses frames: Connection refused (os error 111); they are \
                   dropped";
    assert_eq!(uplinks.take_trouble().as_deref(), Some(refuses));
    let uplink = uplinks.uplinks[1].as_mut().expect("there is one");
    let gone = uplink.lose(&io::Error::from_raw_os_error(libc::EBADFD)).expect("it is new");
    assert_eq!(
        gone,
        "network out: TAP t is gone: its interface was removed; its network goes on without it"
    );
    assert_eq!(uplink.lose(&io::Error::from_raw_os_error(libc::EBADFD)), None);
    assert_eq!(send_host(&mut uplinks, &frame(1)), ToUplink::Gone);
    assert_eq!(uplinks.receive(1), FromUplink::Gone);
    assert_eq!((uplinks.take_trouble(), awaited(&mut uplinks)), (None, vec![]));
}
