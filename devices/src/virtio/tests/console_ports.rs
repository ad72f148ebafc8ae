//! The console device (5.3): ports, control messages, and bytes both ways.

use super::driver::{Driver, WRITE};
use crate::link::{
    AnyPort, Link, LinkEnd, LinkPort, LinkSettings, LossReason, Port, PortMode, Ports,
};
use crate::time::Instant;
use crate::virtio::console::{BUFFER_BYTES, Console, PortEnd, PortUse};
use crate::virtio::{Device, Event, RingError};
use std::vec::Vec;

extern crate std;

const SIZE: u16 = 8;
pub const MULTIPORT: u64 = 2;
/// Events (5.3.6.2).
pub const READY: u16 = 0;
pub const ADD: u16 = 1;
pub const PORT_READY: u16 = 3;
pub const IS_CONSOLE: u16 = 4;
pub const OPEN: u16 = 6;
pub const NAME: u16 = 7;

/// A driver of several queues, each with a table of its own and a buffer for each descriptor.
pub struct Guest {
    pub driver: Driver,
    /// Available and used index of each queue.
    indices: [(u16, u16); 12],
}

const fn table(queue: u16) -> u64 {
    0x2_0000 + 0x1_0000 * queue as u64
}

const fn buffer(queue: u16, head: u16) -> u64 {
    table(queue) + 0x4000 + 0x1000 * head as u64
}

impl Guest {
    pub fn start(uses: &[PortUse], features: u64) -> Self {
        let device = Device::Console(Console::new(uses));
        let driver = Driver::start(device, SIZE, features);
        let mut guest = Self { driver, indices: [(0, 0); 12] };
        guest.restart(features);
        guest
    }

    pub fn restart(&mut self, features: u64) {
        self.indices = [(0, 0); 12];
        self.driver.negotiate(features);
        for queue in 0..12 {
            let put = |driver: &mut Driver, at, value: u64| {
                driver.put(at, value as u32);
            };
            put(&mut self.driver, 0x030, queue.into());
            put(&mut self.driver, 0x038, SIZE.into());
            for (at, address) in [(0x080, 0), (0x090, 0x1000), (0x0a0, 0x2000)] {
                put(&mut self.driver, at, table(queue) + address);
                put(&mut self.driver, at + 4, 0);
            }
            self.driver.ram.put(table(queue) + 0x1000, &[0; 4]);
            self.driver.ram.put(table(queue) + 0x2000, &[0; 4]);
            put(&mut self.driver, 0x044, 1);
        }
        self.driver.put(0x070, 15);
    }

    /// One that has opened a link's port 1, whose far side is there.
    pub fn linked() -> Self {
        let mut guest = Self::start(&[PortUse::Absent, PortUse::Link], MULTIPORT);
        guest.tell(0, READY, 1);
        guest.tell(1, PORT_READY, 1);
        guest.tell(1, OPEN, 1);
        guest
    }

    pub fn console(&mut self) -> &mut Console {
        let Device::Console(console) = &mut self.driver.device else { unreachable!("it is one") };
        console
    }

    pub fn run<T>(&mut self, of: impl FnOnce(&mut Console, &super::driver::Ram) -> T) -> T {
        let ram = self.driver.ram.clone();
        of(self.console(), &ram)
    }

    /// Makes a buffer of so many bytes available, at the slot's own place.
    pub fn lend(&mut self, queue: u16, bytes: u32, flags: u16) -> u16 {
        let (available, _) = &mut self.indices[usize::from(queue)];
        let head = *available % SIZE;
        *available += 1;
        let available = *available;
        self.driver.describe(table(queue), head, (buffer(queue, head), bytes, flags, 0));
        let ring = table(queue) + 0x1000;
        self.driver.ram.put(ring + 4 + 2 * u64::from(head), &head.to_le_bytes());
        self.driver.ram.put(ring + 2, &available.to_le_bytes());
        head
    }

    pub fn send(&mut self, port: u16, bytes: &[u8]) {
        let queue = if port == 0 { 1 } else { 2 * port + 3 };
        let head = self.lend(queue, bytes.len() as u32, 0);
        self.driver.ram.put(buffer(queue, head), bytes);
    }

    /// The next buffer that came back: its bytes as far as they were written, and its head.
    pub fn returned(&mut self, queue: u16) -> Option<(u16, Vec<u8>)> {
        let (_, used) = &mut self.indices[usize::from(queue)];
        let ring = table(queue) + 0x2000;
        if self.driver.ram.u16_at(ring + 2) == *used {
            return None;
        }
        let at = ring + 4 + 8 * u64::from(*used % SIZE);
        *used += 1;
        let head = self.driver.ram.u32_at(at) as u16;
        let len = self.driver.ram.u32_at(at + 4) as usize;
        Some((head, self.driver.ram.bytes(buffer(queue, head), len)))
    }

    /// A control message to the device, and the device's turn.
    pub fn tell(&mut self, port: u32, event: u16, value: u16) {
        let head = self.lend(3, 8, 0);
        let mut message = port.to_le_bytes().to_vec();
        message.extend(event.to_le_bytes());
        message.extend(value.to_le_bytes());
        self.driver.ram.put(buffer(3, head), &message);
        self.run(|console, ram| console.control(ram));
        assert_eq!(self.returned(3).map(|(_, bytes)| bytes), Some(Vec::new()));
    }

    /// What the device tells: port, event, value, and what follows.
    pub fn told(&mut self) -> Vec<(u8, u16, u16, Vec<u8>)> {
        let mut told = Vec::new();
        loop {
            self.lend(2, 64, WRITE);
            self.run(|console, ram| console.control(ram));
            let Some((_, bytes)) = self.returned(2) else { break };
            let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            told.push((bytes[0], half(4), half(6), bytes[8..].to_vec()));
        }
        // The last buffer stays with the device.
        told
    }
}

#[test]
fn configuration_has_size_and_ports_by_the_book() {
    let guest = Guest::start(&[PortUse::Console, PortUse::Absent, PortUse::Link], MULTIPORT);
    assert_eq!(guest.driver.get(0x008), 3);
    assert_eq!(guest.driver.device.read(0x100, 2), 80);
    assert_eq!(guest.driver.device.read(0x102, 2), 25);
    assert_eq!(guest.driver.get(0x104), 3);
    assert_eq!(guest.driver.device.read(0x108, 4), 0);
}

#[test]
fn ports_are_added_described_and_opened_in_order() {
    let mut guest = Guest::start(&[PortUse::Console, PortUse::Absent, PortUse::Link], MULTIPORT);
    assert_eq!(guest.told(), []);
    let mut guest = Guest::start(&[PortUse::Console, PortUse::Absent, PortUse::Link], MULTIPORT);
    guest.tell(0, READY, 1);
    assert_eq!(guest.told(), [(0, ADD, 1, Vec::new()), (2, ADD, 1, Vec::new())]);
    let mut guest = Guest::start(&[PortUse::Console, PortUse::Absent, PortUse::Link], MULTIPORT);
    for port in 0..3 {
        guest.tell(port, PORT_READY, 1);
    }
    let expected =
        [(0, IS_CONSOLE, 1, Vec::new()), (0, OPEN, 1, Vec::new()), (2, NAME, 1, b"hvc2".to_vec())];
    assert_eq!(guest.told(), expected);
}

#[test]
fn without_buffers_for_control_messages_they_wait_and_a_flood_of_requests_adds_none() {
    let mut guest = Guest::start(&[PortUse::Console], MULTIPORT);
    for _ in 0..100 {
        guest.tell(0, READY, 1);
        guest.tell(0, PORT_READY, 1);
    }
    let events: Vec<_> = guest.told().into_iter().map(|(_, event, ..)| event).collect();
    assert_eq!(events, [ADD, IS_CONSOLE, OPEN]);
}

#[test]
fn messages_about_no_port_have_no_effect_and_short_ones_stop_the_device() {
    let mut guest = Guest::start(&[PortUse::Console], MULTIPORT);
    for (port, event) in [(1, OPEN), (u32::MAX, PORT_READY), (0, 77)] {
        guest.tell(port, event, 1);
    }
    assert!(!guest.driver.needs_reset());
    guest.lend(3, 7, 0);
    guest.run(|console, ram| console.control(ram));
    assert_eq!(guest.driver.device.transport().error(), Some(RingError::TooShort));
}

#[test]
fn what_a_console_prints_comes_whole_and_its_chain_goes_back_once_it_is_taken() {
    let mut guest = Guest::start(&[PortUse::Console], 0);
    let printed: Vec<u8> = (0..2500).map(|n| (n % 251) as u8).collect();
    guest.send(0, &printed);
    let mut taken: Vec<u8> = Vec::new();
    for expected in [BUFFER_BYTES, BUFFER_BYTES, 2500 - 2 * BUFFER_BYTES] {
        assert!(guest.run(|console, ram| console.exchange(0, ram)));
        assert_eq!(guest.returned(1), None);
        assert!(!guest.run(|console, ram| console.exchange(0, ram)), "it is not taken yet");
        assert_eq!(guest.console().output().len(), expected);
        taken.extend(guest.console().output());
        guest.console().take_output();
    }
    assert_eq!(taken, printed);
    assert!(guest.run(|console, ram| console.exchange(0, ram)));
    assert_eq!(guest.returned(1), Some((0, Vec::new())));
    guest.run(|console, ram| console.signal(ram));
    assert!(guest.driver.device.pin());
    assert_eq!(guest.console().counts(), [2500, 0]);
}

#[test]
fn what_is_typed_waits_until_the_guest_listens_and_has_buffers() {
    let mut guest = Guest::start(&[PortUse::Console], MULTIPORT);
    assert_eq!(guest.console().input_space(), 0);
    guest.tell(0, PORT_READY, 1);
    guest.tell(0, OPEN, 1);
    assert_eq!(guest.console().input_space(), BUFFER_BYTES);
    for byte in *b"hello" {
        guest.console().feed(byte).expect("there is room");
    }
    assert!(!guest.run(|console, ram| console.exchange(0, ram)));
    guest.lend(0, 3, WRITE);
    guest.lend(0, 64, WRITE);
    assert!(guest.run(|console, ram| console.exchange(0, ram)));
    assert_eq!(guest.returned(0), Some((0, b"hel".to_vec())));
    assert_eq!(guest.returned(0), Some((1, b"lo".to_vec())));
    assert_eq!(guest.returned(0), None);
    guest.driver.put(0x070, 0);
    assert_eq!(guest.console().input_space(), 0, "a driver that is gone does not listen");
}

#[test]
fn an_emergency_write_needs_no_queue() {
    let mut guest = Guest::start(&[PortUse::Console], 0);
    guest.driver.put(0x070, 0);
    assert_eq!(guest.driver.put(0x108, u32::from(b'!')), Some(Event::Notified(1)));
    assert_eq!(guest.console().output(), b"!");
    let mut absent = Guest::start(&[PortUse::Absent, PortUse::Link], 0);
    absent.driver.put(0x108, u32::from(b'!'));
    assert_eq!(absent.console().output(), b"");
}

#[test]
fn what_is_sent_to_a_port_that_is_not_there_is_dropped() {
    let mut guest = Guest::start(&[PortUse::Absent, PortUse::Link], 0);
    guest.send(0, b"nobody");
    assert!(!guest.run(|console, ram| console.exchange(0, ram)));
    assert_eq!(guest.run(|console, _| console.output().len()), 0);
}

/// Two guests whose ports 1 are the ends of a link.
struct Pair {
    guests: [Guest; 2],
    link: Link,
}

struct Ends<'a>(&'a mut [Guest; 2]);

impl Ports for Ends<'_> {
    type Port<'a>
        = PortEnd<'a>
    where
        Self: 'a;

    fn port(&mut self, end: LinkEnd) -> PortEnd<'_> {
        self.0[end.0].console().link_end(1)
    }
}

impl Pair {
    fn new() -> Self {
        let link = Link::new(LinkSettings { baud: Some(9600), is_lossy: false }, 2);
        Self { guests: [Guest::linked(), Guest::linked()], link }
    }

    /// As the owner of both does.
    fn pump(&mut self) {
        loop {
            self.link.pump(&mut Ends(&mut self.guests), Instant::ZERO);
            let moved = self
                .guests
                .each_mut()
                .map(|guest| guest.run(|console, ram| console.exchange(1, ram)));
            if moved == [false; 2] {
                break;
            }
        }
    }
}

#[test]
fn a_receiver_without_buffers_holds_the_sender_and_nothing_is_lost() {
    let mut pair = Pair::new();
    let sent: Vec<u8> = (0..4000).map(|n| (n % 253) as u8).collect();
    pair.guests[0].send(1, &sent);
    pair.pump();
    assert_eq!(pair.guests[0].returned(5), None, "its chain stays with the device");
    let mut got = Vec::new();
    for round in 0..8 {
        pair.guests[1].lend(4, 500, WRITE);
        pair.pump();
        let (_, bytes) = pair.guests[1].returned(4).expect("a buffer came back");
        assert_eq!(bytes.len(), 500);
        got.extend(bytes);
        // The sender goes on once the last byte is in the receiver's buffer.
        let is_back = pair.guests[0].returned(5).is_some();
        assert_eq!(is_back, round == (4000 - BUFFER_BYTES).div_ceil(500) - 1, "{round}");
    }
    assert_eq!(got, sent);
    let statistics = pair.link.statistics(LinkEnd(0));
    assert_eq!((statistics.sent, statistics.delivered, statistics.lost_total()), (4000, 4000, 0));
}

#[test]
fn a_port_that_is_not_open_holds_the_sender() {
    let mut pair = Pair::new();
    pair.guests[1].tell(1, OPEN, 0);
    pair.guests[1].lend(4, 500, WRITE);
    pair.guests[0].send(1, b"abc");
    pair.pump();
    assert_eq!(pair.guests[1].returned(4), None);
    pair.guests[1].tell(1, OPEN, 1);
    pair.pump();
    assert_eq!(pair.guests[1].returned(4), Some((0, b"abc".to_vec())));
}

#[test]
fn a_peer_that_has_ended_closes_the_port_after_its_last_byte_and_what_is_sent_is_counted() {
    let mut pair = Pair::new();
    pair.pump();
    let opened =
        [(1, ADD, 1, Vec::new()), (1, NAME, 1, b"hvc1".to_vec()), (1, OPEN, 1, Vec::new())];
    assert_eq!(pair.guests[1].told(), opened);
    pair.guests[0].send(1, b"last words");
    pair.link.stop(LinkEnd(0));
    pair.pump();
    pair.guests[1].run(|console, ram| console.control(ram));
    assert_eq!(pair.guests[1].returned(2), None, "not before its bytes");
    pair.guests[1].lend(4, 500, WRITE);
    pair.pump();
    assert_eq!(pair.guests[1].returned(4), Some((0, b"last words".to_vec())));
    pair.guests[1].run(|console, ram| console.control(ram));
    let (_, closed) = pair.guests[1].returned(2).expect("a message");
    assert_eq!(closed, [1, 0, 0, 0, 6, 0, 0, 0]);
    pair.guests[1].send(1, b"too late");
    pair.pump();
    assert!(pair.guests[1].returned(5).is_some(), "the guest is not held for ever");
    assert_eq!(pair.link.statistics(LinkEnd(1)).lost(LossReason::PeerStopped), 8);
}

#[test]
fn a_reset_drops_what_the_guest_has_not_got_rid_of_and_counts_it() {
    let mut pair = Pair::new();
    pair.guests[0].send(1, &[7; 3000]);
    pair.pump();
    pair.guests[0].restart(MULTIPORT);
    pair.pump();
    let statistics = *pair.link.statistics(LinkEnd(0));
    let flushed = statistics.lost(LossReason::Flushed);
    assert_eq!((statistics.sent, statistics.delivered, flushed), (3000, 1024, 1976));
    assert!(!pair.guests[0].run(|console, _| console.link_end(1).is_listening()));
}

#[test]
fn a_queue_that_is_withdrawn_with_a_chain_in_hand_gets_nothing_back() {
    let mut pair = Pair::new();
    pair.guests[0].send(1, &[7; 2000]);
    pair.pump();
    for (at, value) in [(0x030, 5), (0x044, 0), (0x038, 0)] {
        pair.guests[0].driver.put(at, value);
    }
    for _ in 0..2 {
        pair.guests[1].lend(4, 2000, WRITE);
    }
    pair.pump();
    assert_eq!(pair.guests[0].returned(5), None);
    let got = pair.guests[1].returned(4).map(|(_, bytes)| bytes.len());
    assert_eq!(got, Some(BUFFER_BYTES));
}

/// A guest's port 1, and a serial port.
struct Mixed<'a>(&'a mut Guest, &'a mut Port);

impl Ports for Mixed<'_> {
    type Port<'a>
        = AnyPort<'a>
    where
        Self: 'a;

    fn port(&mut self, end: LinkEnd) -> AnyPort<'_> {
        match end.0 {
            0 => AnyPort::Console(self.0.console().link_end(1)),
            _ => AnyPort::Uart(self.1),
        }
    }
}

#[test]
fn a_serial_port_of_any_rate_exchanges_bytes_and_modem_lines_with_a_port_of_a_console() {
    const DATA: u8 = 0;
    const LINES_UP: u8 = 0b1011_0000;
    let mut guest = Guest::linked();
    let mut uart = Port::new(PortMode::Link);
    let mut link = Link::new(LinkSettings::default(), 2);
    // 9600 baud; FIFOs on; DTR, RTS and OUT2.
    for (register, value) in [(3, 0x83), (0, 12), (1, 0), (3, 3), (2, 7), (4, 0x0b)] {
        uart.write(register, value);
    }
    let mut pump = |guest: &mut Guest, uart: &mut Port| {
        loop {
            link.pump(&mut Mixed(guest, uart), Instant::ZERO);
            if !guest.run(|console, ram| console.exchange(1, ram)) {
                break *link.statistics(LinkEnd(0));
            }
        }
    };
    let sent: Vec<u8> = (0..40).collect();
    guest.send(1, &sent);
    let mut got = Vec::new();
    for expected in [16, 16, 8] {
        let statistics = pump(&mut guest, &mut uart);
        assert_eq!(uart.read(6) & 0xf0, LINES_UP);
        let before = got.len();
        while uart.read(5) & 1 != 0 {
            got.push(uart.read(DATA));
        }
        assert_eq!(got.len() - before, expected, "{statistics:?}");
        assert_eq!((statistics.sent, statistics.lost_total()), (40, 0));
    }
    assert_eq!(got, sent);
    guest.lend(4, 64, WRITE);
    b"ok".iter().for_each(|byte| uart.write(DATA, *byte));
    pump(&mut guest, &mut uart);
    assert_eq!(guest.returned(4), Some((0, b"ok".to_vec())));
    assert!(guest.returned(5).is_some(), "the chain came back after its last byte");
    guest.tell(1, OPEN, 0);
    pump(&mut guest, &mut uart);
    assert_eq!(uart.read(6) & 0xf0, 0, "who closes its port drops DTR and RTS");
}
