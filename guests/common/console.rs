//! COM1, polled. One read of the line status allows a burst of a whole transmit FIFO.

use super::cpu;

/// The data register of COM1; the other registers follow it.
pub const COM1: u16 = 0x3F8;
/// Offset of the interrupt enable register (the divisor's high byte when DLAB is set).
pub const INTERRUPT_ENABLE: u16 = 1;
/// Offset of the line status register.
pub const LINE_STATUS: u16 = 5;
/// Line status: a received byte waits.
pub const DATA_READY: u8 = 0x01;
/// Line status: the transmit FIFO is empty, [`FIFO_BYTES`] may be written.
pub const TRANSMIT_EMPTY: u8 = 0x20;
/// Depth of the transmit FIFO of a 16550A.
pub const FIFO_BYTES: usize = 16;

const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const DIVISOR_LATCH: u8 = 0x80;
const EIGHT_BITS: u8 = 0x03;

/// Programs a UART for 115200 baud 8N1 with FIFOs and without interrupts.
pub fn initialise(port: u16) {
    cpu::out8(port + INTERRUPT_ENABLE, 0);
    cpu::out8(port + LINE_CONTROL, DIVISOR_LATCH);
    cpu::out8(port, 1);
    cpu::out8(port + INTERRUPT_ENABLE, 0);
    cpu::out8(port + LINE_CONTROL, EIGHT_BITS);
    cpu::out8(port + FIFO_CONTROL, 0xC7); // enable and clear both FIFOs, trigger at 14 bytes
    cpu::out8(port + MODEM_CONTROL, 0x0B); // DTR, RTS, OUT2
    cpu::out8(port + INTERRUPT_ENABLE, 0);
}

/// Writes all bytes to COM1, waiting for room as long as it takes.
pub fn write(bytes: &[u8]) {
    for burst in bytes.chunks(FIFO_BYTES) {
        while cpu::in8(COM1 + LINE_STATUS) & TRANSMIT_EMPTY == 0 {}
        cpu::out_string(COM1, burst);
    }
}

/// One line of text, collected so that it leaves in bursts. Text beyond its room is cut off.
pub struct Line {
    bytes: [u8; Self::ROOM],
    length: usize,
}

impl Line {
    const ROOM: usize = 160;

    /// An empty line.
    pub fn new() -> Self {
        Self { bytes: [0; Self::ROOM], length: 0 }
    }

    /// Appends text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for &byte in text.as_bytes() {
            self.byte(byte);
        }
        self
    }

    /// Appends a number in decimal.
    pub fn decimal(&mut self, value: u64) -> &mut Self {
        if value >= 10 {
            self.decimal(value / 10);
        }
        self.byte(b'0' + (value % 10) as u8);
        self
    }

    /// Appends a number as `digits` hexadecimal digits.
    pub fn hexadecimal(&mut self, value: u64, digits: u32) -> &mut Self {
        for place in (0..digits).rev() {
            let digit = (value >> (place * 4) & 15) as u8;
            self.byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
        self
    }

    /// What has been collected.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// Writes the line and a line feed to COM1.
    pub fn print(&mut self) {
        self.byte(b'\n');
        write(self.bytes());
        self.length = 0;
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }
}
