//! Links under random interleavings: guests that poll and guests that are interrupted, links that
//! hold and links that drop, rates that change, machines that end.
//!
//! The oracle is a second account, kept by the guests' programs: what each wrote and what each
//! read. Whatever happens in between, bytes in = bytes out + in flight + counted lost, and every
//! receiver sees each sender's bytes in the order they were written.

#[path = "uart_random/mod.rs"]
mod random;

use devices::link::LinkEnd;
use devices::link::{EndSet, Link, LinkSettings, LossReason};
use devices::time::Instant;
use devices::uart::{Port, PortMode};
use random::{Random, for_each_seed};

const SEEDS: u64 = 4000;
const STEPS: usize = 250;

const DATA: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;

const READY: u8 = 0x01;
const THRE: u8 = 0x20;

/// How a guest's program goes about its port.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    /// Reads LSR before each byte.
    Polled,
    /// Acts when the interrupt line is up, on what IIR says; writes bursts of up to 16.
    Interrupted,
    /// Writes without looking.
    Careless,
}

/// A guest: its habit, and its account of what it wrote and read.
struct Guest {
    habit: Habit,
    is_stopped: bool,
    wrote: Vec<u8>,
    read: Vec<u8>,
    /// Received bytes it flushed unread.
    dropped: u64,
    divisor: u8,
}

struct World {
    link: Link,
    ports: Vec<Port>,
    guests: Vec<Guest>,
    now: u64,
    /// Every end stays live at one rate, and no guest reads late: then nothing may be lost.
    is_gentle: bool,
}

impl World {
    fn new(random: &mut Random, ends: usize, is_lossy: bool, is_gentle: bool) -> Self {
        let baud = random.once_in(5).then_some(38_400);
        let habits: &[Habit] = if is_gentle {
            &[Habit::Polled, Habit::Interrupted]
        } else {
            &[Habit::Polled, Habit::Interrupted, Habit::Careless]
        };
        let guests = (0..ends).map(|_| Guest {
            habit: random.pick(habits),
            is_stopped: false,
            wrote: Vec::new(),
            read: Vec::new(),
            dropped: 0,
            divisor: 1,
        });
        let guests = guests.collect();
        let link = Link::new(LinkSettings { baud, is_lossy }, ends).with_tap(1 << 16);
        let modes = [PortMode::Link, PortMode::Link, PortMode::Switched];
        let ports = (0..ends).map(|_| Port::new(random.pick(&modes))).collect();
        Self { link, ports, guests, now: 0, is_gentle }
    }

    /// What a machine does after each access: pump, and believe the set of ends it returns.
    fn pump(&mut self) -> EndSet {
        self.now += 1;
        let pins: Vec<bool> = self.ports.iter().map(Port::pin).collect();
        let touched = self.link.pump(self.ports.as_mut_slice(), Instant::from_ns(self.now));
        for (end, port) in self.ports.iter().enumerate() {
            assert!(
                port.pin() == pins[end] || touched.contains(LinkEnd(end)),
                "end {end} is not woken"
            );
        }
        self.check_books();
        touched
    }

    fn out(&mut self, end: usize, offset: u8, value: u8) {
        self.ports[end].write(offset, value);
        self.pump();
    }

    fn input(&mut self, end: usize, offset: u8) -> u8 {
        let value = self.ports[end].read(offset);
        self.pump();
        value
    }

    fn in_flight(&self, end: usize) -> usize {
        self.ports[end].link_line().map_or(0, |line| line.in_flight())
    }

    fn check_books(&self) {
        for (end, guest) in self.guests.iter().enumerate() {
            let books = self.link.statistics(LinkEnd(end));
            assert_eq!(books.sent, guest.wrote.len() as u64, "end {end}: sent");
            let accounted = books.delivered + books.lost_total() + self.in_flight(end) as u64;
            assert_eq!(books.sent, accounted, "end {end}: the books do not add up");
            assert!(books.received >= guest.read.len() as u64, "end {end} read what never came");
            if self.link.settings().is_lossy {
                assert_eq!(self.in_flight(end), 0, "end {end}: held on a lossy link");
            } else {
                assert_eq!(books.missed + books.lost(LossReason::ReceiverOverrun), 0);
            }
        }
    }

    /// The driver's first steps, at the rate it wants.
    fn start(&mut self, random: &mut Random, end: usize) {
        self.program(end);
        self.control_fifos(end, random.pick(&[0x00, 0x07, 0xc7]));
        self.out(end, MCR, 0x0b);
        if self.guests[end].habit == Habit::Interrupted {
            self.out(end, IER, 0x03);
        } else if self.ports[end].mode() == PortMode::Switched {
            self.out(end, IER, 0x01);
        }
    }

    fn control_fifos(&mut self, end: usize, value: u8) {
        self.ports[end].write(FCR, value);
        let port = &self.ports[end];
        if port.is_linked() && port.clone().read(LSR) & READY == 0 {
            self.guests[end].dropped += self.unread(end);
        }
        self.pump();
    }

    fn unread(&self, end: usize) -> u64 {
        let guest = &self.guests[end];
        self.link.statistics(LinkEnd(end)).received - guest.read.len() as u64 - guest.dropped
    }

    fn program(&mut self, end: usize) {
        let interrupts = self.input(end, IER);
        for (offset, value) in [(LCR, 0x80), (DATA, self.guests[end].divisor), (IER, 0), (LCR, 3)] {
            self.out(end, offset, value);
        }
        assert_eq!(self.input(end, IER), interrupts);
    }

    /// Five bits of count and three of sender, so that a receiver can tell who sent what.
    fn put(&mut self, end: usize) {
        let byte = (end as u8) << 5 | (self.guests[end].wrote.len() as u8 & 0x1f);
        self.guests[end].wrote.push(byte);
        self.out(end, DATA, byte);
    }

    fn get(&mut self, end: usize) {
        let byte = self.input(end, DATA);
        self.guests[end].read.push(byte);
    }

    fn act(&mut self, random: &mut Random, end: usize) {
        match self.guests[end].habit {
            Habit::Polled => {
                let status = self.input(end, LSR);
                if status & READY != 0 && !random.once_in(3) {
                    self.get(end);
                } else if status & THRE != 0 {
                    self.put(end);
                }
            }
            Habit::Interrupted if self.ports[end].pin() => match self.input(end, IIR) & 0x0f {
                0x04 | 0x0c => {
                    while self.input(end, LSR) & READY != 0 {
                        self.get(end);
                    }
                }
                0x02 => {
                    let has_fifos = self.input(end, IIR) & 0xc0 != 0;
                    let burst = if has_fifos { 1 + random.below(16) } else { 1 };
                    (0..burst).for_each(|_| self.put(end));
                }
                other => panic!("end {end}: interrupt {other:#x} was never enabled"),
            },
            Habit::Interrupted => {}
            Habit::Careless => {
                (0..random.below(20)).for_each(|_| self.put(end));
                if self.input(end, LSR) & READY != 0 {
                    self.get(end);
                }
            }
        }
    }

    /// A switched port's guest prints to its console: the link must not notice, nor be noticed.
    fn print(&mut self, end: usize, byte: u8) {
        let interrupts = self.input(end, IER);
        self.out(end, IER, interrupts & !0x01);
        self.out(end, DATA, byte);
        assert_eq!(self.ports[end].console_take(), Some(byte));
        assert_eq!(self.input(end, LSR), 0x60, "end {end}: its console");
        self.out(end, IER, interrupts);
    }

    fn disturb(&mut self, random: &mut Random, end: usize) {
        match random.below(4) {
            0 => {
                self.guests[end].divisor = random.pick(&[1, 1, 12]);
                self.program(end);
            }
            1 => self.control_fifos(end, random.pick(&[0x03, 0x05, 0x01, 0xc1])),
            2 if random.once_in(4) => {
                self.guests[end].is_stopped = true;
                self.link.stop(LinkEnd(end));
                self.pump();
            }
            _ => {
                self.input(end, LSR);
            }
        }
    }

    fn run(&mut self, random: &mut Random) {
        let ends = self.guests.len();
        let mut is_started = vec![false; ends];
        for _ in 0..STEPS {
            let end = random.below(ends);
            if self.guests[end].is_stopped {
                continue;
            }
            if !is_started[end] {
                is_started[end] = random.once_in(6);
                if is_started[end] {
                    self.start(random, end);
                }
            } else if self.ports[end].mode() == PortMode::Switched && random.once_in(8) {
                self.print(end, random.byte());
            } else if !self.is_gentle && random.once_in(20) {
                self.disturb(random, end);
            } else {
                self.act(random, end);
            }
        }
        (0..ends).filter(|&end| !is_started[end]).for_each(|end| self.start(random, end));
    }

    /// Everybody stops writing and reads: then every sender must get its THRE.
    fn drain(&mut self) {
        let ends = self.guests.len();
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for end in 0..ends {
                if !self.guests[end].is_stopped && self.input(end, LSR) & READY != 0 {
                    self.get(end);
                    is_quiet = false;
                }
            }
        }
        for end in 0..ends {
            assert_eq!(self.in_flight(end), 0, "end {end} hangs");
            if !self.guests[end].is_stopped {
                assert_eq!(self.input(end, LSR) & THRE, THRE, "end {end}: THRE");
                self.out(end, IER, 0x01);
                self.out(end, IER, 0x03);
                assert_eq!(self.input(end, IIR) & 0x0f, 0x02, "end {end}: THRE interrupt");
                assert_eq!(self.unread(end), 0, "end {end}: read");
            }
        }
    }

    /// What `receiver` read from `sender`.
    fn stream(&self, receiver: usize, sender: usize) -> Vec<u8> {
        let read = self.guests[receiver].read.iter().copied();
        read.filter(|byte| usize::from(byte >> 5) == sender).collect()
    }

    /// No byte out of order, twice, or from nowhere; in a gentle world none missing either.
    fn check_streams(&mut self) {
        let mut tapped = vec![Vec::new(); self.guests.len()];
        let tap = self.link.tap().expect("this link has a tap");
        let mut last = Instant::ZERO;
        while let Some(record) = tap.take() {
            assert!(record.at >= last, "the tap runs backwards");
            last = record.at;
            tapped[record.from_end.0].push(record.byte);
        }
        for (sender, carried) in tapped.iter().enumerate() {
            let wrote = &self.guests[sender].wrote;
            assert_eq!(
                carried.len() as u64,
                self.link.statistics(LinkEnd(sender)).delivered,
                "tap"
            );
            assert!(is_subsequence(carried, wrote), "sender {sender}: the link invents bytes");
            for receiver in (0..self.guests.len()).filter(|&end| end != sender) {
                let stream = self.stream(receiver, sender);
                assert!(is_subsequence(&stream, carried), "{sender} to {receiver}: out of order");
                assert!(!self.is_gentle || stream == *wrote, "{sender} to {receiver}: missing");
            }
            assert!(self.stream(sender, sender).is_empty(), "end {sender} hears itself");
        }
    }
}

fn is_subsequence(part: &[u8], whole: &[u8]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|byte| whole.any(|other| other == byte))
}

fn play(is_lossy: bool, is_gentle: bool) {
    for_each_seed(SEEDS, |random| {
        let ends = 2 + random.below(4);
        let mut world = World::new(random, ends, is_lossy, is_gentle);
        world.run(random);
        world.drain();
        world.check_streams();
    });
}

#[test]
fn gentle_guests_on_a_lossless_link_lose_nothing_in_any_order_of_starting() {
    play(false, true);
}

#[test]
fn rough_guests_on_a_lossless_link_keep_the_books_exact() {
    play(false, false);
}

#[test]
fn lossy_link_keeps_the_books_exact_and_never_holds_a_byte() {
    play(true, false);
}
