//! The modem lines: what goes in, what comes out, and the modem status register between.

use super::registers::{mcr, msr};

/// The four lines into the UART, `true` meaning asserted (PC16550D datasheet, section 8.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModemInputs {
    /// Clear to send.
    pub cts: bool,
    /// Data set ready.
    pub dsr: bool,
    /// Ring indicator.
    pub ri: bool,
    /// Data carrier detect.
    pub dcd: bool,
}

impl ModemInputs {
    /// An unconnected port: every line is down.
    pub const DOWN: Self = Self { cts: false, dsr: false, ri: false, dcd: false };
    /// A terminal that is always on: an `open` without CLOCAL, or hardware flow control, must
    /// not wait for a console.
    pub const TERMINAL: Self = Self { cts: true, dsr: true, ri: false, dcd: true };

    /// The lines as the upper half of the modem status register.
    pub(super) const fn levels(self) -> u8 {
        bit_if(self.cts, msr::CTS)
            | bit_if(self.dsr, msr::DSR)
            | bit_if(self.ri, msr::RI)
            | bit_if(self.dcd, msr::DCD)
    }
}

/// The four lines out of the UART, `true` meaning asserted (PC16550D datasheet, section 8.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModemOutputs {
    /// Data terminal ready.
    pub dtr: bool,
    /// Request to send.
    pub rts: bool,
    /// Auxiliary output 1.
    pub out1: bool,
    /// Auxiliary output 2.
    pub out2: bool,
}

impl ModemOutputs {
    /// The lines a modem control value drives. Loopback forces them all down.
    pub(super) const fn driven_by(modem_control: u8) -> Self {
        let is_driven = modem_control & mcr::LOOPBACK == 0;
        Self {
            dtr: is_driven && modem_control & mcr::DTR != 0,
            rts: is_driven && modem_control & mcr::RTS != 0,
            out1: is_driven && modem_control & mcr::OUT1 != 0,
            out2: is_driven && modem_control & mcr::OUT2 != 0,
        }
    }
}

/// What loopback connects the inputs to: CTS to RTS, DSR to DTR, RI to OUT1, DCD to OUT2.
pub(super) const fn looped_back(modem_control: u8) -> ModemInputs {
    ModemInputs {
        cts: modem_control & mcr::RTS != 0,
        dsr: modem_control & mcr::DTR != 0,
        ri: modem_control & mcr::OUT1 != 0,
        dcd: modem_control & mcr::OUT2 != 0,
    }
}

/// The modem status register: the levels, and which of them changed since the last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ModemStatus {
    levels: u8,
    deltas: u8,
}

impl ModemStatus {
    /// The register after reset with `inputs` on the pins: no change is recorded.
    pub(super) const fn at_reset(inputs: ModemInputs) -> Self {
        Self { levels: inputs.levels(), deltas: 0 }
    }

    /// Takes new levels and records the changes; RI counts only when it falls (TERI). Returns
    /// whether a level changed.
    pub(super) const fn update(&mut self, inputs: ModemInputs) -> bool {
        let levels = inputs.levels();
        let changed = self.levels ^ levels;
        let ring_ended = self.levels & !levels & msr::RI;
        self.deltas |= ((changed & !msr::RI) | ring_ended) >> msr::DELTA_SHIFT;
        self.levels = levels;
        changed != 0
    }

    /// The guest's read, which clears the changes.
    pub(super) const fn read(&mut self) -> u8 {
        let value = self.levels | self.deltas;
        self.deltas = 0;
        value
    }

    /// Whether a change waits to be read.
    pub(super) const fn has_changed(self) -> bool {
        self.deltas != 0
    }
}

const fn bit_if(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}
