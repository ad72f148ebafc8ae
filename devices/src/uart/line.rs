//! The part of a port that is on the wire: both FIFOs, and the account of their bytes.

use crate::fifo::Fifo;

/// How many bytes each FIFO of a 16550A holds.
pub const FIFO_DEPTH: usize = 16;

/// Both FIFOs of a port, with the overrun flag and the byte counts that belong to them.
///
/// A port has one. A port in switched mode has two and exchanges them, so whatever waits or was
/// counted on a line stays with that line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub(super) rx: Fifo<FIFO_DEPTH>,
    pub(super) tx: Fifo<FIFO_DEPTH>,
    /// One bit for each received byte, the oldest in bit 0: it is a BREAK's zero, which LSR has
    /// not reported.
    breaks: u16,
    /// LSR.OE: set by a lost byte, cleared by an LSR read.
    pub(super) has_overrun: bool,
    counts: LineCounts,
}

/// What happened to the bytes a guest wrote to a line since reset:
/// `written = handed to the host + still in the FIFO + transmit_overruns + flushed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Bytes written to the transmitter holding register, loopback apart.
    pub written: u64,
    /// Of these, bytes written while the transmitter was full, and lost.
    pub transmit_overruns: u64,
    /// Of these, bytes the guest dropped itself by clearing or disabling the transmitter FIFO.
    pub flushed: u64,
}

impl Line {
    /// A line with nothing on it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rx: Fifo::new(),
            tx: Fifo::new(),
            breaks: 0,
            has_overrun: false,
            counts: LineCounts { written: 0, transmit_overruns: 0, flushed: 0 },
        }
    }

    /// The account of the transmitter.
    #[must_use]
    pub const fn counts(&self) -> LineCounts {
        self.counts
    }

    /// How many written bytes still wait for the host to take them.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.tx.len()
    }

    /// How many bytes a receiver `depth` deep can still take.
    pub(super) const fn space(&self, depth: usize) -> usize {
        depth.saturating_sub(self.rx.len())
    }

    /// A byte arrives. A full receiver keeps the old bytes, loses this one and sets OE.
    pub(super) fn receive(&mut self, depth: usize, byte: u8) -> Result<(), u8> {
        if self.space(depth) == 0 {
            self.has_overrun = true;
            return Err(byte);
        }
        self.rx.push(byte)
    }

    /// A BREAK arrives: a zero byte, marked.
    pub(super) fn receive_break(&mut self, depth: usize) {
        let place = self.rx.len();
        if self.receive(depth, 0).is_ok() {
            self.breaks |= 1 << place;
        }
    }

    /// The guest takes the oldest received byte.
    pub(super) fn take_received(&mut self) -> Option<u8> {
        self.breaks >>= 1;
        self.rx.pop()
    }

    /// The guest drops what was received.
    pub(super) fn clear_receiver(&mut self) {
        self.breaks = 0;
        self.rx.clear();
    }

    /// The oldest received byte is a BREAK's.
    pub(super) const fn has_break(&self) -> bool {
        self.breaks & 1 != 0
    }

    /// LSR has reported it.
    pub(super) const fn break_is_told(&mut self) {
        self.breaks &= !1;
    }

    /// Some received byte is a BREAK's.
    pub(super) const fn has_breaks(&self) -> bool {
        self.breaks != 0
    }

    /// The guest writes a byte. A full transmitter loses it, and the loss is counted.
    pub(super) fn send(&mut self, depth: usize, byte: u8) {
        self.counts.written += 1;
        if self.tx.len() >= depth || self.tx.push(byte).is_err() {
            self.counts.transmit_overruns += 1;
        }
    }

    /// The guest drops what the transmitter holds.
    pub(super) fn flush_transmitter(&mut self) {
        self.counts.flushed += self.tx.len() as u64;
        self.tx.clear();
    }
}
