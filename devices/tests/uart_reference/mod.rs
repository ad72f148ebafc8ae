//! A second 16550A, written from the PC16550D datasheet in another manner.
//!
//! The UART under test computes LSR, IIR and its pin when they are read. This one keeps the
//! interrupt conditions and MSR as stored state that each event updates, as silicon does.

use std::collections::{BTreeSet, VecDeque};

/// Interrupt conditions in the order of Table IV, as the codes IIR shows.
const ORDER: [(u8, u8); 5] = [(0x06, 0x04), (0x04, 0x01), (0x0c, 0x01), (0x02, 0x02), (0x00, 0x08)];

/// The half of the model that is exchanged with a parked one.
#[derive(Default)]
pub struct ModelLine {
    pub received: VecDeque<u8>,
    pub unsent: VecDeque<u8>,
    overrun: bool,
}

pub struct Model {
    pub line: ModelLine,
    ier: u8,
    lcr: u8,
    pub mcr: u8,
    msr: u8,
    scr: u8,
    pub latch: [u8; 2],
    fcr: u8,
    pub pins: u8,
    /// Codes of the conditions that hold, enabled or not.
    conditions: BTreeSet<u8>,
    pub overruns: u64,
}

impl Model {
    pub fn new() -> Self {
        Self {
            line: ModelLine::default(),
            ier: 0,
            lcr: 0,
            mcr: 0,
            msr: 0,
            scr: 0,
            latch: [1, 0],
            fcr: 0,
            pins: 0,
            conditions: BTreeSet::new(),
            overruns: 0,
        }
    }

    pub fn capacity(&self) -> usize {
        if self.fcr & 1 == 1 { 16 } else { 1 }
    }

    fn condition(&mut self, code: u8, holds: bool) {
        if holds {
            self.conditions.insert(code);
        } else {
            self.conditions.remove(&code);
        }
    }

    pub fn identification(&self) -> u8 {
        let pending = ORDER
            .iter()
            .find(|(code, enable)| self.conditions.contains(code) && self.ier & enable != 0);
        let fifo_bits = if self.fcr & 1 == 1 { 0xc0 } else { 0 };
        fifo_bits | pending.map_or(0x01, |&(code, _)| code)
    }

    fn receiver_changed(&mut self) {
        let trigger = match self.fcr & 0xc1 {
            0x41 => 4,
            0x81 => 8,
            0xc1 => 14,
            _ => 1,
        };
        let count = self.line.received.len();
        self.condition(0x04, count >= trigger);
        self.condition(0x0c, count != 0 && count < trigger);
        self.condition(0x06, self.line.overrun);
    }

    fn take_in(&mut self, byte: u8) -> bool {
        let fits = self.line.received.len() < self.capacity();
        if fits {
            self.line.received.push_back(byte);
        } else {
            self.line.overrun = true;
        }
        self.receiver_changed();
        fits
    }

    /// The four inputs as the chip sees them now; sets the delta bits of the differences.
    pub fn modem_changed(&mut self) {
        let seen = if self.mcr & 0x10 != 0 {
            (self.mcr & 2) << 3 | (self.mcr & 1) << 5 | (self.mcr & 4) << 4 | (self.mcr & 8) << 4
        } else {
            self.pins
        };
        for (level, delta, falling_only) in
            [(0x10, 1, false), (0x20, 2, false), (0x40, 4, true), (0x80, 8, false)]
        {
            let (before, after) = (self.msr & level != 0, seen & level != 0);
            if before != after && !(falling_only && after) {
                self.msr |= delta;
            }
        }
        self.msr = self.msr & 0x0f | seen;
        self.condition(0x00, self.msr & 0x0f != 0);
    }

    pub fn read(&mut self, offset: u8) -> u8 {
        match (offset, self.lcr & 0x80 != 0) {
            (0 | 1, true) => self.latch[usize::from(offset)],
            (0, false) => {
                let byte = self.line.received.pop_front().unwrap_or(0);
                self.receiver_changed();
                byte
            }
            (1, false) => self.ier,
            (2, _) => {
                let value = self.identification();
                if value & 0x0f == 0x02 {
                    self.conditions.remove(&0x02);
                }
                value
            }
            (3, _) => self.lcr,
            (4, _) => self.mcr,
            (5, _) => {
                let mut value = if self.line.unsent.is_empty() { 0x60 } else { 0 };
                value |= u8::from(!self.line.received.is_empty());
                value |= u8::from(self.line.overrun) << 1;
                self.line.overrun = false;
                self.receiver_changed();
                value
            }
            (6, _) => {
                let value = self.msr;
                self.msr &= 0xf0;
                self.condition(0x00, false);
                value
            }
            (_, _) => self.scr,
        }
    }

    pub fn write(&mut self, offset: u8, value: u8) {
        match (offset, self.lcr & 0x80 != 0) {
            (0 | 1, true) => self.latch[usize::from(offset)] = value,
            (0, false) => self.write_data(value),
            (1, false) => {
                if self.ier & 2 == 0 && value & 2 != 0 && self.line.unsent.is_empty() {
                    self.conditions.insert(0x02);
                }
                self.ier = value % 16;
            }
            (2, _) => self.write_fcr(value),
            (3, _) => self.lcr = value,
            (4, _) => {
                self.mcr = value % 32;
                self.modem_changed();
            }
            (7, _) => self.scr = value,
            (_, _) => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        self.conditions.remove(&0x02);
        if self.mcr & 0x10 != 0 {
            self.take_in(value);
            self.condition(0x02, self.line.unsent.is_empty());
        } else if self.line.unsent.len() < self.capacity() {
            self.line.unsent.push_back(value);
        } else {
            self.overruns += 1;
        }
    }

    fn write_fcr(&mut self, value: u8) {
        let toggled = (self.fcr ^ value) & 1 == 1;
        let flush = match (toggled, value & 1) {
            (true, _) => 6,
            (false, 1) => value & 6,
            (false, _) => 0,
        };
        self.fcr = if value & 1 == 1 { value } else { 0 };
        if flush & 2 != 0 {
            self.line.received = VecDeque::new();
        }
        if flush & 4 != 0 && !self.line.unsent.is_empty() {
            self.line.unsent = VecDeque::new();
            self.conditions.insert(0x02);
        }
        self.receiver_changed();
    }

    pub fn transmit(&mut self) -> Option<u8> {
        let byte = self.line.unsent.pop_front();
        if byte.is_some() && self.line.unsent.is_empty() {
            self.conditions.insert(0x02);
        }
        byte
    }

    pub fn receive(&mut self, byte: u8) -> bool {
        if self.mcr & 0x10 != 0 {
            return false;
        }
        self.take_in(byte)
    }

    pub fn swap(&mut self, parked: &mut ModelLine) {
        std::mem::swap(&mut self.line, parked);
        self.condition(0x02, self.line.unsent.is_empty());
        self.receiver_changed();
    }
}
