//! The physical serial port, COM1 (16550A), with bounded waits. While VMs run,
//! [`metal::host_serial`] serves it.

use core::fmt;
use metal::port::Port;

const DATA: Port = Port::new(0x3f8);
const LINE_STATUS: Port = Port::new(0x3fd);
/// Polls for an empty transmitter after which a port is given up: some milliseconds.
const PATIENCE: u32 = 1_000_000;

/// COM1.
#[derive(Debug)]
pub struct Serial(());

impl Serial {
    /// COM1 at 115200 baud, 8N1, FIFOs on; an interrupt, once they are enabled, for each 8 bytes
    /// received, so that as many may come before it is served. OUT2 lets it out.
    #[must_use]
    pub fn program() -> Self {
        for (offset, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0x87), (4, 0xb)] {
            Port::new(0x3f8 + offset).write(value);
        }
        Self(())
    }

    /// The port as it was programmed: for reports when nothing else can be trusted.
    #[must_use]
    pub const fn again() -> Self {
        Self(())
    }

    /// Whether there is a port: its scratch register keeps what is written.
    #[must_use]
    pub fn is_there() -> bool {
        const SCRATCH: Port = Port::new(0x3ff);
        [0x5a, 0xa5].into_iter().all(|value| {
            SCRATCH.write(value);
            SCRATCH.read() == value
        })
    }

    /// Whether the transmitter takes a byte now.
    #[must_use]
    pub fn can_send(&self) -> bool {
        LINE_STATUS.read() & 0x20 != 0
    }

    /// Sends a byte, waiting until the port takes it.
    pub fn send(&mut self, byte: u8) {
        for _ in 0..PATIENCE {
            if self.can_send() {
                break;
            }
        }
        self.put(byte);
    }

    /// Puts a byte into the transmitter, which takes it ([`Serial::can_send`]).
    pub fn put(&mut self, byte: u8) {
        DATA.write(byte);
    }

    /// Waits until everything has left the port.
    pub fn drain(&mut self) {
        for _ in 0..PATIENCE {
            if LINE_STATUS.read() & 0x40 != 0 {
                break;
            }
        }
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
        Ok(())
    }
}
