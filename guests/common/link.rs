//! The link to another machine: COM2, with the FIFOs on. Waiting is by polling the line status,
//! two reads in a row being the hint for a monitor that this machine waits; or by IRQ 3 and HLT.

use super::console::{self, DATA_READY, FIFO_BYTES, LINE_STATUS, TRANSMIT_EMPTY};
use super::interrupt_controller::{IRQ_BASE, end_of_interrupt_8259, initialise_8259, mask_8259};
use super::{cpu, interrupts};

const COM2: u16 = 0x2F8;
/// The line of COM2 at the 8259 pair.
pub const IRQ: u64 = 3;
/// Asks whether the other end is there.
const ENQUIRY: u8 = 0x05;
/// Answers an enquiry.
const ACKNOWLEDGE: u8 = 0x06;
/// The last byte before what the link is used for.
const START: u8 = 0x02;
const FIRST_ENQUIRY_INTERVAL: u32 = 256;
const LAST_ENQUIRY_INTERVAL: u32 = 1 << 16;

/// How to wait for a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// By reading the line status again and again.
    Polling,
    /// By halting until the receive interrupt.
    Interrupt,
}

/// A connection to the same protocol at the other end.
pub struct Link {
    waiting: Waiting,
}

impl Link {
    /// Programs COM2 and finds the other end, whichever of the two is there first.
    pub fn connect(waiting: Waiting) -> Self {
        console::initialise(COM2);
        match waiting {
            Waiting::Polling => mask_8259(),
            Waiting::Interrupt => initialise_8259(!(1 << IRQ)),
        }
        Handshake::default().run();
        if waiting == Waiting::Interrupt {
            cpu::out8(COM2 + console::INTERRUPT_ENABLE, 1); // received data available
        }
        Self { waiting }
    }

    /// Programs COM2, with its receive interrupt; the other end need not be there.
    pub fn open() -> Self {
        console::initialise(COM2);
        initialise_8259(!(1 << IRQ));
        cpu::out8(COM2 + console::INTERRUPT_ENABLE, 1); // received data available
        Self { waiting: Waiting::Interrupt }
    }

    /// A byte, if one has come.
    pub fn take(&mut self) -> Option<u8> {
        (cpu::in8(COM2 + LINE_STATUS) & DATA_READY != 0).then(|| cpu::in8(COM2))
    }

    /// Sends one byte, waiting for room.
    pub fn send(&mut self, byte: u8) {
        while !has_room() {}
        cpu::out8(COM2, byte);
    }

    /// Waits for a byte.
    pub fn receive(&mut self) -> u8 {
        while cpu::in8(COM2 + LINE_STATUS) & DATA_READY == 0 {
            if self.waiting == Waiting::Interrupt
                && interrupts::halt_until_interrupt() == IRQ_BASE + IRQ
            {
                end_of_interrupt_8259();
            }
        }
        cpu::in8(COM2)
    }

    /// Sends as much as there is room for now, and gives the number of bytes.
    pub fn send_burst(&mut self, bytes: &[u8]) -> usize {
        if !has_room() {
            return 0;
        }
        let burst = bytes.get(..FIFO_BYTES).unwrap_or(bytes);
        cpu::out_string(COM2, burst);
        burst.len()
    }

    /// Takes what has come, and gives the number of bytes.
    pub fn receive_burst(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        while let Some(place) = buffer.get_mut(count) {
            if cpu::in8(COM2 + LINE_STATUS) & DATA_READY == 0 {
                break;
            }
            *place = cpu::in8(COM2);
            count += 1;
        }
        count
    }
}

/// What the two ends know of each other. A byte sent before the other end has programmed its UART
/// may be lost, but the answer to an enquiry cannot be, since who asks is there. So an end that has
/// given and got an answer starts; and until the other end has started too it keeps reading, so
/// neither can block the other.
#[derive(Default)]
struct Handshake {
    owes_answer: bool,
    has_given: bool,
    has_got: bool,
    has_started: bool,
    has_other_started: bool,
}

impl Handshake {
    fn run(mut self) {
        let (mut polls, mut interval) = (0, FIRST_ENQUIRY_INTERVAL);
        while !(self.has_started && self.has_other_started) {
            let status = cpu::in8(COM2 + LINE_STATUS);
            if status & DATA_READY != 0 && !self.has_other_started {
                self.take(cpu::in8(COM2));
            }
            if status & TRANSMIT_EMPTY != 0 {
                let may_enquire = polls % interval == 0;
                if let Some(byte) = self.next(may_enquire) {
                    cpu::out8(COM2, byte);
                }
                if may_enquire && interval < LAST_ENQUIRY_INTERVAL {
                    interval *= 2;
                    polls = 0;
                }
            }
            polls += 1;
        }
    }

    fn take(&mut self, byte: u8) {
        match byte {
            // One answer was enough, and nothing may follow the start.
            ENQUIRY => self.owes_answer = !self.has_started,
            ACKNOWLEDGE => self.has_got = true,
            START => self.has_other_started = true,
            _ => {} // noise of a machine that does something else before
        }
    }

    fn next(&mut self, may_enquire: bool) -> Option<u8> {
        if self.owes_answer {
            self.owes_answer = false;
            self.has_given = true;
            return Some(ACKNOWLEDGE);
        }
        if self.has_given && self.has_got && !self.has_started {
            self.has_started = true;
            return Some(START);
        }
        (may_enquire && !self.has_got).then_some(ENQUIRY)
    }
}

fn has_room() -> bool {
    cpu::in8(COM2 + LINE_STATUS) & TRANSMIT_EMPTY != 0
}
