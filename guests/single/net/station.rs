//! An interface with an address: answers ARP requests and pings, waits by halting, and speaks with
//! its peer, another guest like this one.
//!
//! Both carry out the same checks, each of which begins and ends with [`Station::meet`]: neither
//! goes on before the other one is there. Frames may be lost while a device is reset, so all that
//! is waited for is asked for again.

use super::nic::{HEADER_BYTES, NO_HEADER, Nic, Way};
use super::packets::{
    Between, Content, ECHO, ECHO_REPLY, Ip, Mac, UNREACHABLE, Writer, bytes_at, parse, u32_at,
};
use super::registers::Window;
use super::{Verdict, wait};
use crate::common::cpu;

/// The port that the peers speak at.
pub const PORT: u16 = 4711;
/// The longest frame.
pub const FRAME_BYTES: usize = 65_549;
/// A message between peers: a mark, its kind, the sender's phase, a value, then data.
pub const MESSAGE_BYTES: usize = 16;
const MARK: u32 = u32::from_be_bytes(*b"net:");
/// How long an answer is waited for until it is asked for again.
const REPEAT_MS: u64 = 500;

/// Kinds of messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The sender has reached its phase; a value of 1 asks for an answer.
    Phase,
    Data,
    Acknowledgement,
}

/// What came.
pub enum Packet {
    /// The peer's address has become known.
    Resolved,
    EchoReply {
        rest: [u8; 4],
        data: (usize, usize),
    },
    /// The peer has nothing at the port.
    Unreachable,
    /// From another port than that of the peers.
    Datagram {
        data: (usize, usize),
    },
    Message {
        kind: Kind,
        phase: u32,
        value: u32,
        data: (usize, usize),
    },
    /// Anything else: its length.
    Frame(usize),
}

/// This end.
pub struct Station {
    pub nic: Nic,
    pub own: (Mac, Ip),
    pub peer: Option<(Mac, Ip)>,
    /// Whose address is asked for: None if the peer comes by itself.
    pub wanted: Option<Ip>,
    /// The last frame that came, and its header.
    pub frame: &'static mut [u8],
    pub header: [u8; HEADER_BYTES],
    outgoing: &'static mut [u8],
    /// How many meetings there were; and the peer's number.
    pub phase: u32,
    peer_phase: u32,
    /// What this end has received of a transfer.
    pub received: u32,
    /// The last transfer that is complete here: its phase and its bytes.
    pub completed: Option<(u32, u32)>,
    cycles_per_ms: u64,
}

impl Station {
    pub fn new(nic: Nic, own: (Mac, Ip), buffers: [&'static mut [u8]; 2], kilohertz: u64) -> Self {
        let [frame, outgoing] = buffers;
        Self {
            nic,
            own,
            peer: None,
            wanted: None,
            frame,
            header: NO_HEADER,
            outgoing,
            phase: 0,
            peer_phase: 0,
            received: 0,
            completed: None,
            cycles_per_ms: kilohertz,
        }
    }

    /// Takes the interface over anew.
    pub fn restart(&mut self, window: Window, way: Way) -> Verdict {
        self.nic = Nic::start(window, way).ok_or("it does not start")?;
        Ok(())
    }

    pub fn between(&self) -> Option<Between> {
        self.peer.map(|to| Between { from: self.own, to })
    }

    /// The next frame, if one is there. Answers what others ask for.
    pub fn next(&mut self) -> Option<Packet> {
        const NEEDS_CSUM: u8 = 1;
        let len = self.nic.receive(&mut self.header, self.frame)?;
        let [flags, ..] = self.header;
        let frame = self.frame.get(..len)?;
        let packet = match parse(frame, flags & NEEDS_CSUM != 0) {
            Content::ArpRequest { from, wanted } if wanted == self.own.1 => {
                self.answer_arp(from);
                self.learn(from)
            }
            Content::ArpReply { from } => self.learn(from),
            Content::Icmp { from, kind: ECHO, data } => {
                self.answer_ping(from, data);
                Packet::Frame(len)
            }
            Content::Icmp { kind: ECHO_REPLY, data, .. } => {
                Packet::EchoReply { rest: bytes_at(frame, data.0 - 4), data }
            }
            Content::Icmp { kind: UNREACHABLE, .. } => Packet::Unreachable,
            Content::Udp { from_port: PORT, port: PORT, data, .. } => {
                self.message(data).unwrap_or(Packet::Frame(len))
            }
            Content::Udp { data, .. } => Packet::Datagram { data },
            Content::ArpRequest { .. } | Content::Icmp { .. } | Content::Other => {
                Packet::Frame(len)
            }
        };
        Some(packet)
    }

    fn learn(&mut self, from: (Mac, Ip)) -> Packet {
        if self.wanted.is_none_or(|wanted| wanted == from.1) {
            self.peer = Some(from);
        }
        Packet::Resolved
    }

    fn message(&mut self, data: (usize, usize)) -> Option<Packet> {
        let message = self.frame.get(data.0..data.1)?;
        if message.len() < MESSAGE_BYTES || u32_at(message, 0) != MARK {
            return None;
        }
        let [kind, phase, value] = [4, 8, 12].map(|at| u32_at(message, at));
        self.peer_phase = self.peer_phase.max(phase);
        let kind = match kind {
            0 => {
                // It waits for an answer: this end has gone on, or has not got there.
                if value == 1 {
                    self.tell_phase(false);
                }
                Kind::Phase
            }
            1 => {
                // The peer has not heard that all of it came.
                if let Some((_, bytes)) = self.completed.filter(|(of, _)| *of == phase) {
                    self.tell_in(phase, Kind::Acknowledgement, bytes, &[]);
                }
                Kind::Data
            }
            _ => Kind::Acknowledgement,
        };
        Some(Packet::Message { kind, phase, value, data: (data.0 + MESSAGE_BYTES, data.1) })
    }

    fn answer_arp(&mut self, to: (Mac, Ip)) {
        let len = Writer::new(self.outgoing).arp_reply(self.own, to);
        self.put(len);
    }

    fn answer_ping(&mut self, from: Ip, data: (usize, usize)) {
        let to = (bytes_at(self.frame, 6), from);
        let between = Between { from: self.own, to };
        let Some(bytes) = self.frame.get(data.0..data.1) else { return };
        let rest = bytes_at(self.frame, data.0 - 4);
        let len = Writer::new(self.outgoing).icmp(&between, ECHO_REPLY, rest, bytes);
        self.put(len);
    }

    /// Sends what was written; false if there is no room.
    fn put(&mut self, len: usize) -> bool {
        let frame = self.outgoing.get(..len).unwrap_or(&[]);
        self.nic.send(&NO_HEADER, frame)
    }

    /// Sends a frame; false if there is no room.
    pub fn send_frame(
        &mut self,
        header: &[u8; HEADER_BYTES],
        write: impl FnOnce(&mut Writer<'_>),
    ) -> bool {
        let mut writer = Writer::new(self.outgoing);
        write(&mut writer);
        let len = writer.len;
        let frame = self.outgoing.get(..len).unwrap_or(&[]);
        self.nic.send(header, frame)
    }

    /// Whether the last frame's header leaves nothing to be done.
    pub fn header_is_plain(&self) -> bool {
        self.header.iter().take(HEADER_BYTES - 2).all(|&byte| byte == 0)
    }

    /// Asks for the address of the peer.
    pub fn ask_for_address(&mut self) {
        if let Some(wanted) = self.wanted {
            let len = Writer::new(self.outgoing).arp_request(self.own, wanted);
            self.put(len);
        }
    }

    /// Pings the peer.
    pub fn ping(&mut self, rest: [u8; 4], data: &[u8]) {
        let Some(between) = self.between() else { return };
        let len = Writer::new(self.outgoing).icmp(&between, ECHO, rest, data);
        self.put(len);
    }

    /// Sends a datagram to the peer.
    pub fn send_datagram(&mut self, ports: (u16, u16), data: &[u8]) {
        let Some(between) = self.between() else { return };
        let len = Writer::new(self.outgoing).udp(&between, ports, [data, &[]]);
        self.put(len);
    }

    /// Waits until the device is done with all that was sent.
    pub fn settle(&mut self) {
        self.nic.notify();
        while !self.nic.is_idle() {
            self.wait(self.deadline(), true);
        }
    }

    /// Sends a message to the peer; false if there is no room.
    pub fn tell(&mut self, kind: Kind, value: u32, data: &[u8]) -> bool {
        self.tell_in(self.phase, kind, value, data)
    }

    fn tell_in(&mut self, phase: u32, kind: Kind, value: u32, data: &[u8]) -> bool {
        let Some(between) = self.between() else { return false };
        let mut head = [0; MESSAGE_BYTES];
        let mut writer = Writer::new(&mut head);
        for word in [MARK, kind as u32, phase, value] {
            writer.put(&word.to_be_bytes());
        }
        let len = Writer::new(self.outgoing).udp(&between, (PORT, PORT), [&head, data]);
        self.put(len)
    }

    fn tell_phase(&mut self, asks: bool) {
        self.tell(Kind::Phase, asks.into(), &[]);
    }

    /// Does `act`, and again whenever nothing has come of it for a while, until `take` says of what
    /// came that it is enough.
    pub fn until(
        &mut self,
        mut act: impl FnMut(&mut Self),
        mut take: impl FnMut(&mut Self, Packet) -> bool,
    ) {
        loop {
            act(self);
            self.nic.notify();
            let deadline = self.deadline();
            while cpu::time_stamp() < deadline {
                let packet = self.next();
                match packet {
                    Some(packet) => {
                        let is_enough = take(self, packet);
                        self.nic.notify();
                        if is_enough {
                            return;
                        }
                    }
                    None => self.wait(deadline, false),
                }
            }
        }
    }

    /// When what was asked for is asked for again.
    pub fn deadline(&self) -> u64 {
        cpu::time_stamp() + REPEAT_MS * self.cycles_per_ms
    }

    /// Halts until a frame comes, or a time stamp.
    pub fn wait(&mut self, deadline: u64, waits_for_slots: bool) {
        if self.nic.arm(waits_for_slots) {
            wait(deadline);
        }
        self.nic.disarm();
    }

    /// Tells the peer that this end is here, and waits until the peer is; false if the peer is none
    /// of these guests.
    pub fn meet(&mut self) -> bool {
        self.phase += 1;
        let phase = self.phase;
        let mut is_guest = true;
        if self.peer_phase >= phase {
            self.tell_phase(false);
            self.nic.notify();
        } else {
            self.until(
                |station| station.tell_phase(true),
                |station, packet| {
                    is_guest = !matches!(packet, Packet::Unreachable);
                    !is_guest || station.peer_phase >= phase
                },
            );
        }
        is_guest
    }

    /// Does `act`, and again until the peer is content; takes what comes until that is all; then
    /// meets the peer, which does the same.
    pub fn meet_after(
        &mut self,
        mut act: impl FnMut(&mut Self),
        mut take: impl FnMut(&mut Self, Packet) -> bool,
    ) {
        let next = self.phase + 1;
        self.until(
            |station| {
                if station.peer_phase < next {
                    act(station);
                }
                station.tell_phase(true);
            },
            |station, packet| {
                if station.phase < next && take(station, packet) {
                    station.phase = next;
                    station.tell_phase(false);
                }
                station.phase == next && station.peer_phase >= next
            },
        );
    }
}
