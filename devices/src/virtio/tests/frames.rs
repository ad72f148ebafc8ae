//! The network device (5.1): two drivers, and frames from the one to the other.

use super::driver::{NEXT, Ram, WRITE};
use crate::memory::GuestMemory;
use crate::virtio::net::{CONTROL, DropReason, Net, RECEIVE, Received, TRANSMIT};
use crate::virtio::{Device, Event, RingError};

extern crate std;
use std::vec;
use std::vec::Vec;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const PEER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 9];
const SIZE: u16 = 16;

/// Feature bits, by their numbers in 5.1.3.
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const HOST_TSO4: u64 = 1 << 11;
const MRG_RXBUF: u64 = 1 << 15;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_RX: u64 = 1 << 18;
const ALL: u64 = CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4 | MRG_RXBUF | CTRL_VQ | CTRL_RX;

/// Where received frames go, and where frames to be sent and commands are.
const ROOM: u64 = 0x4_0000;
const OUT: u64 = 0x1_0000;
const COMMAND: u64 = 0x8000;

struct Driver {
    net: Net,
    ram: Ram,
    /// Of each queue: chains made available, chains seen returned, descriptors used.
    available: [u16; 3],
    used: [u16; 3],
    described: [u16; 3],
}

/// The table of a queue, with its rings behind it.
fn base(queue: u16) -> u64 {
    0x1000 + u64::from(queue) * 0x1000
}

impl Driver {
    fn start(mac: [u8; 6], features: u64) -> Self {
        let mut device = Device::Net(Net::new(mac));
        let mut put = |offset, value: u64| device.write(offset, 4, value);
        put(0x070, 3);
        for half in 0..2 {
            put(0x024, half);
            put(0x020, (features | 1 << 32) >> (32 * half) & 0xffff_ffff);
        }
        put(0x070, 11);
        for queue in 0..3_u16 {
            put(0x030, queue.into());
            put(0x038, SIZE.into());
            put(0x080, base(queue));
            put(0x090, base(queue) + 0x400);
            put(0x0a0, base(queue) + 0x800);
            put(0x044, 1);
        }
        assert_eq!(put(0x070, 15), Some(Event::Started));
        let Device::Net(net) = device else { unreachable!("it is made so") };
        let (available, used, described) = Default::default();
        Self { net, ram: Ram::new(), available, used, described }
    }

    /// Makes a chain available: address, bytes, whether the device writes it.
    fn offer(&mut self, queue: u16, parts: &[(u64, u32, bool)]) {
        let n = usize::from(queue);
        let first = self.described[n] % SIZE;
        for (index, (address, bytes, is_writable)) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let slot = self.described[n] % SIZE;
            let flags = if *is_writable { WRITE } else { 0 } | if is_last { 0 } else { NEXT };
            let at = base(queue) + 16 * u64::from(slot);
            self.ram.put(at, &address.to_le_bytes());
            self.ram.put(at + 8, &bytes.to_le_bytes());
            self.ram.put(at + 12, &flags.to_le_bytes());
            self.ram.put(at + 14, &((slot + 1) % SIZE).to_le_bytes());
            self.described[n] += 1;
        }
        let slot = u64::from(self.available[n] % SIZE);
        self.ram.put(base(queue) + 0x404 + 2 * slot, &first.to_le_bytes());
        self.available[n] += 1;
        self.ram.put(base(queue) + 0x402, &self.available[n].to_le_bytes());
    }

    /// Bytes written to the next chain that was returned.
    fn returned(&mut self, queue: u16) -> Option<u32> {
        let n = usize::from(queue);
        if self.ram.u16_at(base(queue) + 0x802) == self.used[n] {
            return None;
        }
        let slot = u64::from(self.used[n] % SIZE);
        self.used[n] += 1;
        Some(self.ram.u32_at(base(queue) + 0x804 + 8 * slot + 4))
    }

    /// Sends a frame with this header.
    fn send(&mut self, header: [u8; 12], frame: &[u8]) {
        self.ram.put(OUT, &header);
        self.ram.put(OUT + 12, frame);
        self.offer(TRANSMIT, &[(OUT, 12 + frame.len() as u32, false)]);
    }

    /// Gives a command; its answer.
    fn command(&mut self, class: u8, command: u8, data: &[u8]) -> u8 {
        self.ram.put(COMMAND, &[class, command]);
        self.ram.put(COMMAND + 2, data);
        self.ram.put(COMMAND + 0xfff, &[0xee]);
        let len = data.len() as u32;
        let parts = [(COMMAND, 2, false), (COMMAND + 2, len, false), (COMMAND + 0xfff, 1, true)];
        self.offer(CONTROL, &parts);
        self.net.control(&self.ram);
        assert_eq!(self.returned(CONTROL), Some(1));
        self.ram.bytes(COMMAND + 0xfff, 1)[0]
    }
}

fn frame(destination: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = [destination, PEER].concat();
    frame.extend((12..len).map(|at| (at * 7) as u8));
    frame
}

/// The header of a frame to be segmented: checksum, TCPv4, 1448 bytes each.
const SEGMENTS: [u8; 12] = [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];

/// Passes the next frame on.
fn pass(from: &mut Driver, to: &mut Driver) -> Received {
    let frame = from.net.next(&from.ram).expect("a frame");
    let received = to.net.receive(&to.ram, &frame);
    if received != Received::NoBuffers {
        from.net.finish(&from.ram);
    }
    received
}

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
fn a_link_that_is_down_receives_nothing_and_says_so() {
    let mut to = Driver::start(MAC, ALL);
    let mut from = Driver::start(PEER, ALL);
    to.net.set_link(false);
    let device = Device::Net(to.net.clone());
    assert_eq!(device.read(0x100, 8), 0x0000_0100_0000_5452, "the address and status 0");
    assert_eq!((device.read(0x060, 4), device.read(0x0fc, 4)), (2, 1), "changed, once");
    from.send([0; 12], &frame(MAC, 60));
    assert_eq!(pass(&mut from, &mut to), Received::Refused(DropReason::NotReady));
    to.net.set_link(true);
    let device = Device::Net(to.net);
    assert_eq!((device.read(0x106, 2), device.read(0x0fc, 4)), (1, 2));
}

#[test]
fn a_reset_drops_the_frame_that_waits() {
    let (mut from, to) = (Driver::start(PEER, ALL), Driver::start(MAC, ALL));
    from.send([0; 12], &frame(MAC, 60));
    let frame = from.net.next(&from.ram).expect("a frame");
    let mut receiver = to.net.clone();
    assert_eq!(receiver.receive(&to.ram, &frame), Received::NoBuffers);
    let mut device = Device::Net(from.net);
    assert_eq!(device.write(0x070, 4, 0), Some(Event::Reset));
    let Device::Net(mut net) = device else { unreachable!("it is one") };
    assert!(net.next(&from.ram).is_none());
    net.finish(&from.ram);
    assert_eq!(net.counts().sent, 0);
    assert!(from.ram.has(0, 1) && from.ram.u16_at(base(TRANSMIT) + 0x802) == 0);
}
