//! The console device (5.3): ports that carry bytes both ways.
//!
//! ```text
//! guest -- transmit queue -- chain in hand -- buffer --> output, PortEnd::take: owner
//! guest -- receive queue  --------------- buffer <-- feed, PortEnd::feed:       owner
//! guest == control queues == which ports there are, and which are open at which side
//! ```
//!
//! Port 0 may be the VM's console; further ones may be ends of links ([`PortEnd`]). A chain of the
//! guest's goes back to it once its last byte has been taken, so that a receiver without room holds
//! the sender. [`Console::exchange`] moves bytes between a port's buffers and the guest's; it stops
//! when the one is full or the other is empty.
//!
//! RESIZE is not sent: drivers and section 5.3.6.2 disagree about the order of its two fields. The
//! size is in the configuration space, where they agree, for drivers that take one port only.

mod console_port;
mod control;

pub use console_port::{BUFFER_BYTES, PortEnd, PortUse};

use super::chain::{Chain, total};
use super::{Event, Transport, transport};
use crate::memory::GuestMemory;
use alloc::boxed::Box;
use console_port::Port;

/// The most ports: a console, and ends of links.
pub const MAX_PORTS: usize = 1 + MAX_LINK_PORTS;
/// The most ports that are ends of links.
pub const MAX_LINK_PORTS: usize = 4;

const DEVICE_ID: u32 = 3;
const QUEUE_SIZE: u16 = 64;

/// Feature bits (5.3.3).
const SIZE: u64 = 1 << 0;
const MULTIPORT: u64 = 1 << 1;
const EMERG_WRITE: u64 = 1 << 2;

/// The queues between those of port 0 and those of port 1 (5.3.2).
const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;

/// Columns and rows that a console is said to have: those of a text screen.
const COLUMNS: u16 = 80;
const ROWS: u16 = 25;
/// Bytes of the configuration space, and where its field for emergency writes lies (5.3.4).
const CONFIG_BYTES: usize = 12;
const EMERGENCY: u64 = 8;

/// A console as the driver sees it.
#[derive(Clone, Debug)]
pub struct Console {
    pub(super) transport: Transport,
    config: [u8; CONFIG_BYTES],
    ports: Box<[Port]>,
    /// The chain of a receive or control queue, while it is looked at.
    chain: Box<Chain>,
}

impl Console {
    /// A device with a port for each of `uses`.
    ///
    /// # Panics
    /// If `uses` is none or more than [`MAX_PORTS`]: the plan has been checked for that.
    #[must_use]
    pub fn new(uses: &[PortUse]) -> Self {
        assert!((1..=MAX_PORTS).contains(&uses.len()), "a console has 1 to {MAX_PORTS} ports");
        let queues = [QUEUE_SIZE; 2 * (MAX_PORTS + 1)];
        let features = SIZE | MULTIPORT | EMERG_WRITE;
        Self {
            transport: Transport::new(DEVICE_ID, features, &queues[..2 * (uses.len() + 1)]),
            config: config(uses.len() as u32),
            ports: uses.iter().map(|of| Port::new(*of)).collect(),
            chain: Box::default(),
        }
    }

    /// Bytes that the guest has sent, and that it was given, over all ports.
    #[must_use]
    pub fn counts(&self) -> [u64; 2] {
        let sum = |of: fn(&Port) -> u64| self.ports.iter().map(of).sum();
        [sum(|port| port.counts.written), sum(|port| port.given_bytes)]
    }

    /// How many ports there are.
    #[must_use]
    pub const fn ports(&self) -> usize {
        self.ports.len()
    }

    pub(super) const fn config(&self) -> &[u8] {
        &self.config
    }

    /// A store of the driver's.
    pub(super) fn store(&mut self, offset: u64, size: u8, value: u32) -> Option<Event> {
        if offset == transport::CONFIG + EMERGENCY {
            // Also from a driver that has not begun (5.3.5).
            self.ports[0].emergency(value as u8);
            return Some(Event::Notified(transmit_queue(0) as u16));
        }
        let event = self.transport.write(offset, size, value);
        match event {
            Some(Event::Reset) => self.ports.iter_mut().for_each(Port::reset),
            Some(Event::Withdrawn(queue)) => {
                let is_it = |number: &usize| transmit_queue(*number) == usize::from(queue);
                if let Some(number) = (0..self.ports.len()).find(is_it) {
                    self.ports[number].drop_chain();
                }
            }
            Some(Event::Started | Event::Notified(_)) | None => {}
        }
        event
    }
}

/// For the owner: bytes in and out.
impl Console {
    /// Moves what can move between a port's buffers and the guest's. Whether something has moved.
    pub fn exchange(&mut self, number: usize, memory: &impl GuestMemory) -> bool {
        // Both: a guest may wait for the one before it goes on with the other.
        let is_given = self.give(number, memory);
        self.fetch(number, memory) || is_given
    }

    /// What the guest has sent to its console and is not taken yet.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        match self.ports[0].of {
            PortUse::Console => self.ports[0].sent.bytes(),
            PortUse::Absent | PortUse::Link => &[],
        }
    }

    /// That has been taken.
    pub const fn take_output(&mut self) {
        self.ports[0].sent.clear();
    }

    /// How many bytes can be typed to the console now; 0 while the guest is not ready for them.
    #[must_use]
    pub fn input_space(&self) -> usize {
        match self.ports[0].of {
            PortUse::Console if self.is_listening(0) => self.ports[0].arrived.space(),
            PortUse::Console | PortUse::Absent | PortUse::Link => 0,
        }
    }

    /// Gives the console a byte that was typed.
    ///
    /// # Errors
    /// There was no room ([`Self::input_space`]).
    pub const fn feed(&mut self, byte: u8) -> Result<(), u8> {
        self.ports[0].arrived.push(byte)
    }

    /// A port, for its link.
    pub fn link_end(&mut self, number: usize) -> PortEnd<'_> {
        let is_listening = self.is_listening(number);
        PortEnd { port: &mut self.ports[number], is_listening }
    }

    /// Raises the interrupt if the driver wants one for what has been returned.
    pub fn signal(&mut self, memory: &impl GuestMemory) {
        for queue in 0..2 * (self.ports.len() + 1) {
            self.transport.signal(queue, memory);
        }
    }

    /// Whether the guest takes bytes from a port: data for one that it has not opened it drops. A
    /// driver that knows one port only has it open all the time.
    fn is_listening(&self, number: usize) -> bool {
        let is_open = match self.transport.has(MULTIPORT) {
            true => self.ports[number].is_open,
            false => number == 0,
        };
        is_open && self.transport.is_running()
    }

    /// What has arrived goes to the guest's buffers.
    fn give(&mut self, number: usize, memory: &impl GuestMemory) -> bool {
        let queue = receive_queue(number);
        let is_listening = self.is_listening(number);
        let mut has_moved = false;
        while is_listening
            && !self.ports[number].arrived.bytes().is_empty()
            && self.transport.pop(queue, memory, &mut self.chain)
        {
            let arrived = &mut self.ports[number].arrived;
            let len = total(self.chain.writable()).min(arrived.bytes().len() as u64) as usize;
            self.chain.write(memory, 0, &arrived.bytes()[..len]);
            self.transport.push(queue, memory, self.chain.head(), len as u32);
            arrived.drop_first(len);
            self.ports[number].given_bytes += len as u64;
            has_moved |= len > 0;
        }
        has_moved
    }

    /// What the guest sends comes to the buffer, if that is empty, and chains without further bytes
    /// go back.
    fn fetch(&mut self, number: usize, memory: &impl GuestMemory) -> bool {
        let queue = transmit_queue(number);
        let port = &mut self.ports[number];
        let mut has_moved = false;
        while port.sent.bytes().is_empty() {
            if port.fill(memory) {
                return true;
            }
            if port.end_chain() {
                self.transport.push(queue, memory, port.chain.head(), 0);
                has_moved = true;
            }
            if !self.transport.pop(queue, memory, &mut port.chain) {
                break;
            }
            port.begin_chain();
        }
        has_moved
    }
}

const fn receive_queue(port: usize) -> usize {
    if port == 0 { 0 } else { 2 * (port + 1) }
}

const fn transmit_queue(port: usize) -> usize {
    receive_queue(port) + 1
}

/// The configuration space (5.3.4).
fn config(ports: u32) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    config[0..2].copy_from_slice(&COLUMNS.to_le_bytes());
    config[2..4].copy_from_slice(&ROWS.to_le_bytes());
    config[4..8].copy_from_slice(&ports.to_le_bytes());
    config
}
