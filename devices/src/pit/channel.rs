//! One channel of the 8254 as the CPU reaches it: bytes, latches and the status byte around a
//! counter (datasheet, "Programming the 8254" and "Read operations").

use super::counter::{Counter, Mode};

/// Control word bits 5-4; 0 is the counter latch command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Low,
    High,
    LowThenHigh,
}

/// What a latch command froze, and the bytes of it not yet read.
#[derive(Clone, Copy, Debug)]
enum Latch {
    Empty,
    Both(u16),
    /// The low byte has been read.
    HighOf(u16),
    Single(u8),
}

const STATUS_OUTPUT: u8 = 1 << 7;
/// The count written has not reached the counter yet.
const STATUS_NULL_COUNT: u8 = 1 << 6;

/// One channel: counter, control word, latches.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    counter: Counter,
    /// Bits 5-0 of the last control word, as the status byte shows them.
    control: u8,
    access: Access,
    /// The low byte of a count of which the high byte is still to come.
    low_byte: Option<u8>,
    /// The next direct read is of the high byte.
    reads_high: bool,
    latch: Latch,
    status_latch: Option<u8>,
}

impl Channel {
    /// A channel without a control word.
    pub(super) const fn new(gate: bool, tick: u64) -> Self {
        Self {
            counter: Counter::new(Mode::RateGenerator, false, gate, tick),
            control: 0x34,
            access: Access::LowThenHigh,
            low_byte: None,
            reads_high: false,
            latch: Latch::Empty,
            status_latch: None,
        }
    }

    /// Brings the counter to clock tick `tick`; returns the rising edges of OUT on the way.
    pub(super) fn advance(&mut self, tick: u64) -> u64 {
        self.counter.advance(tick)
    }

    pub(super) fn output(&self) -> bool {
        self.counter.output()
    }

    /// Clocks from one rising edge to the next; 0 where there is one at most.
    pub(super) fn period(&self) -> u64 {
        self.counter.period()
    }

    pub(super) fn next_rising_edge(&self) -> Option<u64> {
        self.counter.next_rising_edge()
    }

    pub(super) fn set_gate(&mut self, gate: bool) {
        self.counter.set_gate(gate);
    }

    /// A control word for this channel, the counter latch command included.
    pub(super) fn write_control(&mut self, value: u8) {
        self.access = match (value >> 4) & 0b11 {
            0b01 => Access::Low,
            0b10 => Access::High,
            0b11 => Access::LowThenHigh,
            _ => return self.latch(true, false),
        };
        self.control = value & 0x3F;
        self.low_byte = None;
        self.reads_high = false;
        self.latch = Latch::Empty;
        self.status_latch = None;
        self.counter.restart(Mode::from_bits(value >> 1), value & 1 != 0);
    }

    /// Freezes the count, the status, or both; what is frozen already stays until it is read.
    pub(super) fn latch(&mut self, has_count: bool, has_status: bool) {
        if has_count && matches!(self.latch, Latch::Empty) {
            let [low, high] = self.counter.value().to_le_bytes();
            self.latch = match self.access {
                Access::Low => Latch::Single(low),
                Access::High => Latch::Single(high),
                Access::LowThenHigh => Latch::Both(u16::from_le_bytes([low, high])),
            };
        }
        if has_status && self.status_latch.is_none() {
            self.status_latch = Some(self.status());
        }
    }

    /// A read: latched status, then the latched count, then the running counter.
    pub(super) fn read(&mut self) -> u8 {
        if let Some(status) = self.status_latch.take() {
            return status;
        }
        match self.latch {
            Latch::Empty => self.read_counter(),
            Latch::Both(value) => {
                self.latch = Latch::HighOf(value);
                value as u8
            }
            Latch::HighOf(value) => {
                self.latch = Latch::Empty;
                (value >> 8) as u8
            }
            Latch::Single(value) => {
                self.latch = Latch::Empty;
                value
            }
        }
    }

    /// A byte of a count. Access to one byte makes the other 0.
    pub(super) fn write(&mut self, value: u8) {
        match (self.access, self.low_byte) {
            (Access::Low, _) => self.counter.write(u16::from(value)),
            (Access::High, _) => self.counter.write(u16::from(value) << 8),
            (Access::LowThenHigh, None) => {
                self.low_byte = Some(value);
                self.counter.hold();
            }
            (Access::LowThenHigh, Some(low)) => {
                self.low_byte = None;
                self.counter.write(u16::from_le_bytes([low, value]));
            }
        }
    }

    fn read_counter(&mut self) -> u8 {
        let [low, high] = self.counter.value().to_le_bytes();
        match self.access {
            Access::Low => low,
            Access::High => high,
            Access::LowThenHigh => {
                self.reads_high = !self.reads_high;
                if self.reads_high { low } else { high }
            }
        }
    }

    fn status(&self) -> u8 {
        self.control
            | if self.output() { STATUS_OUTPUT } else { 0 }
            | if self.counter.is_null() { STATUS_NULL_COUNT } else { 0 }
    }
}
