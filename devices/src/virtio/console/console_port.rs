//! One port: its buffers, the chain that its guest is sending, and who has opened it.

use super::{Chain, total};
use crate::link::{LinkPort, Rate};
use crate::memory::GuestMemory;
use crate::uart::{LineCounts, ModemInputs, ModemOutputs};
use alloc::boxed::Box;

/// Bytes of each of a port's two buffers.
pub const BUFFER_BYTES: usize = 1024;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortUse {
    /// The driver is not told of it; what it sends all the same is dropped.
    Absent,
    /// The VM's console.
    Console,
    /// An end of a link.
    Link,
}

/// Bytes on their way, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    begin: usize,
    end: usize,
}

impl Buffer {
    const fn new() -> Self {
        Self { bytes: [0; BUFFER_BYTES], begin: 0, end: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.begin..self.end]
    }

    pub const fn space(&self) -> usize {
        BUFFER_BYTES - self.end
    }

    pub const fn clear(&mut self) {
        (self.begin, self.end) = (0, 0);
    }

    pub const fn push(&mut self, byte: u8) -> Result<(), u8> {
        if self.end == BUFFER_BYTES {
            return Err(byte);
        }
        self.bytes[self.end] = byte;
        self.end += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<u8> {
        let first = *self.bytes().first()?;
        self.begin += 1;
        if self.begin == self.end {
            self.clear();
        }
        Some(first)
    }

    /// Drops the first `len` bytes; the others move to the front, so that there is room.
    pub fn drop_first(&mut self, len: usize) {
        self.bytes.copy_within(self.begin + len..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin - len);
    }
}

/// A port of the device.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub of: PortUse,
    /// What the guest has sent and its owner has not taken: the begin of it, and the chain in hand
    /// with the rest.
    pub sent: Buffer,
    pub chain: Box<Chain>,
    has_chain: bool,
    /// What is not in the guest's buffers yet.
    pub arrived: Buffer,
    pub given_bytes: u64,
    pub counts: LineCounts,
    /// The driver is to be told that the port is there; what it is for.
    pub is_to_add: bool,
    pub is_to_describe: bool,
    /// The driver has set it up (PORT_READY).
    pub is_ready: bool,
    /// The guest has opened it.
    pub is_open: bool,
    /// There is a far side, and whether the guest knows.
    pub has_peer: bool,
    pub is_peer_told: bool,
}

impl Port {
    pub fn new(of: PortUse) -> Self {
        Self {
            of,
            sent: Buffer::new(),
            chain: Box::default(),
            has_chain: false,
            arrived: Buffer::new(),
            given_bytes: 0,
            counts: LineCounts::default(),
            is_to_add: false,
            is_to_describe: false,
            is_ready: false,
            is_open: false,
            has_peer: of == PortUse::Console,
            is_peer_told: false,
        }
    }

    /// The driver has gone, with what it had not got rid of. What has arrived waits for the next.
    pub fn reset(&mut self) {
        self.drop_chain();
        self.counts.flushed += self.sent.bytes().len() as u64;
        self.sent.clear();
        (self.is_to_add, self.is_to_describe) = (false, false);
        (self.is_ready, self.is_open, self.is_peer_told) = (false, false, false);
    }

    /// A byte of an emergency write, which has no queue: it is dropped where there is no room.
    pub fn emergency(&mut self, byte: u8) {
        if self.of == PortUse::Console && self.sent.push(byte).is_ok() {
            self.counts.written += 1;
        }
    }

    /// The chain just popped is the one in hand.
    pub fn begin_chain(&mut self) {
        self.has_chain = self.of != PortUse::Absent;
        self.counts.written += self.in_chain();
    }

    /// The driver takes it away, with what has not been fetched from it.
    pub fn drop_chain(&mut self) {
        self.counts.flushed += self.in_chain();
        self.has_chain = false;
    }

    /// It goes back to the guest, if there is one.
    pub const fn end_chain(&mut self) -> bool {
        core::mem::replace(&mut self.has_chain, false)
    }

    /// Bytes of the chain in hand come to the buffer, which is empty. False if there are none.
    pub fn fill(&mut self, memory: &impl GuestMemory) -> bool {
        if !self.has_chain {
            return false;
        }
        let len = self.chain.take_some(memory, &mut self.sent.bytes);
        (self.sent.begin, self.sent.end) = (0, len);
        len > 0
    }

    fn in_chain(&self) -> u64 {
        if self.has_chain { total(self.chain.readable()) } else { 0 }
    }
}

/// A port that is an end of a link, as the link sees it: it takes what is in the buffer, so that
/// the owner lets [`super::Console::exchange`] follow.
#[derive(Debug)]
pub struct PortEnd<'a> {
    pub(super) port: &'a mut Port,
    pub(super) is_listening: bool,
}

impl LinkPort for PortEnd<'_> {
    fn has_link(&self) -> bool {
        self.port.of == PortUse::Link
    }

    fn is_listening(&self) -> bool {
        self.is_listening
    }

    fn rate(&self) -> Rate {
        Rate { divisor: None, is_programmed: true, is_changing: false }
    }

    fn counts(&self) -> Option<LineCounts> {
        Some(self.port.counts)
    }

    fn in_flight(&self) -> usize {
        self.port.sent.bytes().len()
    }

    fn take(&mut self) -> Option<u8> {
        self.port.sent.pop()
    }

    fn space(&self) -> usize {
        self.port.arrived.space()
    }

    fn feed(&mut self, byte: u8) -> Result<(), u8> {
        self.port.arrived.push(byte)
    }

    /// A port of a console has no BREAK, and drops those of others.
    fn has_break(&self) -> bool {
        false
    }

    fn take_break(&mut self) {}

    fn feed_break(&mut self) {}

    /// What a terminal does that has its port open.
    fn outputs(&self) -> ModemOutputs {
        ModemOutputs { dtr: self.is_listening, rts: self.is_listening, ..ModemOutputs::default() }
    }

    /// The port is open at this side while some other end's machine has not ended: unlike DCD, a
    /// port that is not open lets its reader see the end of file.
    fn set_inputs(&mut self, _inputs: ModemInputs, has_peer: bool) -> bool {
        core::mem::replace(&mut self.port.has_peer, has_peer) != has_peer
    }
}
