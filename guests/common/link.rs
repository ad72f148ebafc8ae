//! The link to another machine: COM2, with the FIFOs on. Waiting is by polling the line status,
//! two reads in a row being the hint for a monitor that this machine waits; or by IRQ 3 and HLT.

use super::interrupt_controller::{IRQ_BASE, end_of_interrupt_8259, initialise_8259, mask_8259};
use super::console::{self, DATA_READY, FIFO_BYTES, LINE_STATUS, TRANSMIT_EMPTY};
use super::{cpu, interrupts};

const COM2: u16 = 0x2F8;
const IRQ: u64 = 3;
/// Both ends send ENQ until both have had an answer to their own.
const ENQUIRY: u8 = 0x05;
const ACKNOWLEDGE: u8 = 0x06;
/// Comes before the first byte of what the link is used for.
const START: u8 = 0x02;
const POLLS_PER_ENQUIRY: u32 = 256;

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
    is_started: bool,
}

impl Link {
    /// Programs COM2 and finds the other end, whichever of the two is there first. A byte sent
    /// before the other end has programmed its UART may be lost, but an answer cannot be: so each
    /// end has what it needs when it has both given and got one.
    pub fn connect(waiting: Waiting) -> Self {
        console::initialise(COM2);
        match waiting {
            Waiting::Polling => mask_8259(),
            Waiting::Interrupt => initialise_8259(!(1 << IRQ)),
        }
        let (mut has_given, mut has_got) = (false, false);
        let mut polls = 0;
        while !(has_given && has_got) {
            if polls % POLLS_PER_ENQUIRY == 0 && has_room() {
                cpu::out8(COM2, ENQUIRY);
            }
            polls += 1;
            if cpu::in8(COM2 + LINE_STATUS) & DATA_READY == 0 {
                continue;
            }
            match cpu::in8(COM2) {
                ENQUIRY => {
                    while !has_room() {}
                    cpu::out8(COM2, ACKNOWLEDGE);
                    has_given = true;
                }
                ACKNOWLEDGE => has_got = true,
                _ => {}
            }
        }
        if waiting == Waiting::Interrupt {
            cpu::out8(COM2 + console::INTERRUPT_ENABLE, 1); // received data available
        }
        while !has_room() {}
        cpu::out8(COM2, START);
        Self { waiting, is_started: false }
    }

    /// Sends one byte, waiting for room.
    pub fn send(&mut self, byte: u8) {
        while !has_room() {}
        cpu::out8(COM2, byte);
    }

    /// Waits for a byte.
    pub fn receive(&mut self) -> u8 {
        loop {
            while cpu::in8(COM2 + LINE_STATUS) & DATA_READY == 0 {
                if self.waiting == Waiting::Interrupt {
                    self.halt();
                }
            }
            let byte = cpu::in8(COM2);
            if self.is_started {
                return byte;
            }
            self.is_started = byte == START;
        }
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
            let byte = cpu::in8(COM2);
            if self.is_started {
                *place = byte;
                count += 1;
            } else {
                self.is_started = byte == START;
            }
        }
        count
    }

    fn halt(&mut self) {
        if interrupts::halt_until_interrupt() == IRQ_BASE + IRQ {
            end_of_interrupt_8259();
        }
    }
}

fn has_room() -> bool {
    cpu::in8(COM2 + LINE_STATUS) & TRANSMIT_EMPTY != 0
}
