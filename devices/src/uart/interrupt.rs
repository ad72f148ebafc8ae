//! Which interrupt is pending: one priority encoder, from which IIR and the pin both follow.

use super::Uart;
use super::registers::{ier, iir};

/// The interrupt sources, highest priority first (PC16550D datasheet, section 8.6, Table IV).
#[derive(Clone, Copy)]
enum Interrupt {
    LineStatus,
    ReceivedData,
    CharacterTimeout,
    TransmitterEmpty,
    ModemStatus,
}

impl Uart {
    /// The level of the interrupt line: a pure function of the registers.
    #[must_use]
    #[inline]
    pub fn pin(&self) -> bool {
        let is_connected = !self.is_gated_by_out2 || self.modem_outputs().out2;
        is_connected && self.pending_interrupt().is_some()
    }

    /// The IIR read. It acknowledges the THRE interrupt if that is what it reports, and nothing
    /// else.
    pub(super) const fn read_interrupt_identification(&mut self) -> u8 {
        let pending = self.pending_interrupt();
        if matches!(pending, Some(Interrupt::TransmitterEmpty)) {
            self.is_thre_latched = false;
        }
        let identification = match pending {
            Some(Interrupt::LineStatus) => 0x06,
            Some(Interrupt::ReceivedData) => 0x04,
            Some(Interrupt::CharacterTimeout) => 0x0c,
            Some(Interrupt::TransmitterEmpty) => 0x02,
            Some(Interrupt::ModemStatus) => 0x00,
            None => iir::NONE,
        };
        if self.has_fifos { identification | iir::FIFOS_ENABLED } else { identification }
    }

    #[inline]
    const fn pending_interrupt(&self) -> Option<Interrupt> {
        let enabled = self.interrupt_enable;
        let waiting = self.line.rx.len();
        let has_error = self.line.has_overrun || self.line.has_break();
        if enabled & ier::LINE_STATUS != 0 && has_error {
            Some(Interrupt::LineStatus)
        } else if enabled & ier::RECEIVED_DATA != 0 && waiting >= self.trigger_level {
            Some(Interrupt::ReceivedData)
        } else if enabled & ier::RECEIVED_DATA != 0 && waiting > 0 {
            Some(Interrupt::CharacterTimeout)
        } else if enabled & ier::TRANSMITTER_EMPTY != 0 && self.is_thre_latched {
            Some(Interrupt::TransmitterEmpty)
        } else if enabled & ier::MODEM_STATUS != 0 && self.modem_status.has_changed() {
            Some(Interrupt::ModemStatus)
        } else {
            None
        }
    }
}
