//! The wire's side of the UART: bytes in and out, the modem lines, the rate.
//!
//! Loopback disconnects the receiver from the wire: there is no room for a byte from outside until
//! it ends. Bytes that were written before loopback began are still sent.

use super::registers::{INTERRUPT_ENABLE, ier, lcr};
use super::{BASE_BAUD, Line, LineCounts, ModemInputs, ModemOutputs, Uart};

impl Uart {
    /// How many bytes may be received now without loss: up to 16, 1 with the FIFOs disabled, 0 in
    /// loopback.
    #[must_use]
    pub const fn rx_space(&self) -> usize {
        if self.is_looped_back() { 0 } else { self.line.space(self.fifo_depth()) }
    }

    /// A byte arrives on the wire.
    ///
    /// # Errors
    /// The byte is lost and handed back: the receiver was full (the bytes it holds stay, and
    /// LSR.OE is set), or in loopback.
    pub fn receive(&mut self, byte: u8) -> Result<(), u8> {
        if self.is_looped_back() {
            return Err(byte);
        }
        self.line.receive(self.fifo_depth(), byte)
    }

    /// A BREAK arrives on the wire: LSR.BI, with a zero byte. In loopback nothing does.
    pub(super) fn receive_break(&mut self) {
        if !self.is_looped_back() {
            self.line.receive_break(self.fifo_depth());
        }
    }

    /// Whether a BREAK has begun since [`Self::take_break`].
    pub(super) const fn has_break(&self) -> bool {
        self.sends_break
    }

    /// The wire takes it.
    pub(super) const fn take_break(&mut self) {
        self.sends_break = false;
    }

    /// Takes the next byte to send. The last one raises LSR.THRE and latches its interrupt.
    pub fn transmit(&mut self) -> Option<u8> {
        let byte = self.line.tx.pop()?;
        if self.line.tx.is_empty() {
            self.is_thre_latched = true;
        }
        Some(byte)
    }

    /// The next byte to send, left in place.
    #[must_use]
    pub fn peek_transmit(&self) -> Option<u8> {
        self.line.tx.peek()
    }

    /// Bytes lost because the guest wrote them while the transmitter was full, on this line.
    #[must_use]
    pub const fn transmit_overruns(&self) -> u64 {
        self.line.counts().transmit_overruns
    }

    /// The account of the transmitter, on this line.
    #[must_use]
    pub const fn counts(&self) -> LineCounts {
        self.line.counts()
    }

    /// The part of the port that is on the wire.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// Puts the `parked` line on the wire and parks the one that was there. LSR, IIR and the pin
    /// follow the new line at once: if its transmitter is empty, the
    /// THRE interrupt is latched.
    pub fn swap_line(&mut self, parked: &mut Line) {
        core::mem::swap(&mut self.line, parked);
        self.is_thre_latched = self.line.tx.is_empty();
    }

    /// Drives the modem lines into the UART. Changes set the delta bits of MSR and may interrupt;
    /// in loopback they are hidden. Returns whether a level the guest reads has changed.
    pub const fn set_modem_inputs(&mut self, inputs: ModemInputs) -> bool {
        self.modem_inputs = inputs;
        self.update_modem_status()
    }

    /// The modem lines out of the UART; all down in loopback (section 8.8).
    #[must_use]
    pub const fn modem_outputs(&self) -> ModemOutputs {
        ModemOutputs::driven_by(self.modem_control)
    }

    /// The divisor latch.
    #[must_use]
    pub const fn divisor(&self) -> u16 {
        self.divisor
    }

    /// The rate of the divisor latch in bits per second, rounded down. Divisor 0 counts as 65536,
    /// which is what a 16-bit counter makes of it.
    #[must_use]
    pub const fn baud(&self) -> u32 {
        if self.divisor == 0 { BASE_BAUD >> 16 } else { BASE_BAUD / self.divisor as u32 }
    }

    /// Whether the guest has written the divisor latch since reset.
    #[must_use]
    pub const fn is_baud_programmed(&self) -> bool {
        self.is_baud_programmed
    }

    /// Whether LCR.DLAB is set: the divisor may be half written.
    #[must_use]
    pub const fn is_divisor_latch_open(&self) -> bool {
        self.line_control & lcr::DIVISOR_LATCH != 0
    }

    /// Whether a received byte would interrupt the guest. The 0x0F that drivers write to probe IER
    /// does not count for the access that writes it.
    pub(super) const fn expects_bytes(&self, accessed: u8) -> bool {
        let is_probe = self.interrupt_enable == ier::IMPLEMENTED && accessed == INTERRUPT_ENABLE;
        self.interrupt_enable & ier::RECEIVED_DATA != 0 && !is_probe
    }
}
