//! COM1, the console's, and COM2, a debugger's, by interrupts: at 115200 baud a FIFO of 16 bytes is
//! full after 1.39 ms, while a guest may run for longer. The handler takes what was received, and
//! refills an empty transmitter; the program works on rings.

use crate::port::Port;
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

const RECEIVED: u8 = 1 << 0;
const OVERRUN: u8 = 1 << 1;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// What an absent port reads.
const NOTHING: u8 = 0xff;
/// Interrupt enable register: data received; transmitter empty.
const ON_RECEIVED: u8 = 1 << 0;
const ON_EMPTY: u8 = 1 << 1;
/// How many bytes an empty transmitter takes.
const FIFO_BYTES: usize = 16;
/// Causes handled in one interrupt, at most.
const MAX_CAUSES: usize = 64;

const RING_BYTES: usize = 4096;

/// Bytes between the handler and the program, which never run at the same time.
struct Ring {
    bytes: [AtomicU8; RING_BYTES],
    /// Put and taken so far.
    put: AtomicUsize,
    taken: AtomicUsize,
}

impl Ring {
    const fn new() -> Self {
        let bytes = [const { AtomicU8::new(0) }; RING_BYTES];
        Self { bytes, put: AtomicUsize::new(0), taken: AtomicUsize::new(0) }
    }

    fn len(&self) -> usize {
        self.put.load(Ordering::Relaxed).wrapping_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Appends a byte; false if the ring is full.
    fn put(&self, byte: u8) -> bool {
        let at = self.put.load(Ordering::Relaxed);
        if self.len() == RING_BYTES {
            return false;
        }
        self.bytes[at % RING_BYTES].store(byte, Ordering::Relaxed);
        self.put.store(at.wrapping_add(1), Ordering::Relaxed);
        true
    }

    fn take(&self) -> Option<u8> {
        if self.len() == 0 {
            return None;
        }
        let at = self.taken.load(Ordering::Relaxed);
        self.taken.store(at.wrapping_add(1), Ordering::Relaxed);
        Some(self.bytes[at % RING_BYTES].load(Ordering::Relaxed))
    }
}

/// A port and its rings.
pub struct HostSerial {
    data: Port,
    interrupt_enable: Port,
    interrupt_identification: Port,
    line_status: Port,
    input: Ring,
    output: Ring,
    /// Times at which input was lost: to a full FIFO, or a full ring.
    overruns: AtomicU64,
}

/// The console's.
pub static COM1: HostSerial = HostSerial::at(0x3f8);
/// A debugger's.
pub static COM2: HostSerial = HostSerial::at(0x2f8);

impl HostSerial {
    const fn at(base: u16) -> Self {
        Self {
            data: Port::new(base),
            interrupt_enable: Port::new(base + 1),
            interrupt_identification: Port::new(base + 2),
            line_status: Port::new(base + 5),
            input: Ring::new(),
            output: Ring::new(),
            overruns: AtomicU64::new(0),
        }
    }

    /// Empties the receiver and refills the transmitter, for an interrupt or a poll.
    pub fn serve(&self) {
        for _ in 0..MAX_CAUSES {
            let status = self.line_status.read();
            if status == NOTHING {
                return;
            }
            let is_lost = status & RECEIVED != 0 && !self.input.put(self.data.read());
            if status & OVERRUN != 0 || is_lost {
                self.overruns.store(self.overruns() + 1, Ordering::Relaxed);
            }
            let is_fed = status & TRANSMITTER_EMPTY != 0 && self.feed();
            if status & RECEIVED == 0 && !is_fed {
                return;
            }
        }
    }

    /// Refills the empty transmitter; false if no byte waits.
    fn feed(&self) -> bool {
        let bytes = self.output.len().min(FIFO_BYTES);
        (0..bytes).filter_map(|_| self.output.take()).for_each(|byte| self.data.write(byte));
        bytes > 0
    }

    /// Handles its interrupt.
    pub(crate) fn interrupt(&self) {
        // The line must go low before it can raise the next edge: handle all causes.
        const NONE: u8 = 1 << 0;
        for _ in 0..MAX_CAUSES {
            self.serve();
            self.enable();
            if self.interrupt_identification.read() & NONE != 0 {
                return;
            }
        }
    }

    /// Enables the receiver's interrupt and, while output waits, the transmitter's.
    pub fn enable(&self) {
        let on_empty = if self.output.len() > 0 { ON_EMPTY } else { 0 };
        self.interrupt_enable.write(ON_RECEIVED | on_empty);
    }

    /// A received byte.
    #[must_use]
    pub fn take(&self) -> Option<u8> {
        self.input.take()
    }

    /// Queues bytes for the transmitter; returns how many fitted.
    #[must_use]
    pub fn put(&self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|byte| self.output.put(**byte)).count()
    }

    /// How many bytes wait for the transmitter.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.output.len()
    }

    /// How often input was lost so far.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_order_and_refuses_what_it_has_no_room_for() {
        let ring = Ring::new();
        assert_eq!(ring.take(), None);
        for round in 0..3 {
            for byte in 0..RING_BYTES {
                assert!(ring.put(byte as u8), "{round}");
            }
            assert!(!ring.put(1));
            for byte in 0..RING_BYTES {
                assert_eq!(ring.take(), Some(byte as u8));
            }
            assert_eq!((ring.take(), ring.len()), (None, 0));
            // The next round begins elsewhere.
            assert!(ring.put(9) && ring.take() == Some(9));
        }
    }
}
