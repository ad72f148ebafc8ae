//! A serial port: a UART and what it is plugged into.
//!
//! | mode          | the guest talks to                                | modem inputs          |
//! |---------------|---------------------------------------------------|-----------------------|
//! | `Console`     | its console                                       | CTS, DSR, DCD up      |
//! | `Link`        | the other ends of its link                        | crossed from the ends |
//! | `Switched`    | the console, and the link while IER bit 0 is set  | CTS, DSR, DCD up      |
//! | `Unconnected` | nothing: output is discarded, no input arrives    | down                  |
//!
//! A switched port has two lines and one set of registers. The line that is not on the registers
//! is parked: its bytes stay, its far side goes on sending and receiving, and the guest's FIFO
//! control writes do not reach it.
//!
//! The far side of a console line is the host ([`Port::console_take`], [`Port::console_feed`]);
//! the far side of a link line is [`Link`](crate::link::Link).

use super::registers::{DATA, INTERRUPT_ENABLE, LINE_STATUS, ier};
use super::{Line, ModemInputs, ModemOutputs, Uart};

/// What a port is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// A console.
    Console,
    /// A link, always.
    Link,
    /// A console; a link from the write that sets IER bit 0 to the write that clears it.
    Switched,
    /// Nothing.
    Unconnected,
}

/// A UART together with what it is plugged into. All of its state is here: a clone is a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    uart: Uart,
    mode: PortMode,
    /// Whether the guest is on the link's line; changes only in switched mode.
    is_linked: bool,
    /// The line that is not on the registers; nothing ever waits on it but in switched mode.
    parked: Line,
    is_listening: bool,
}

/// Where one of the port's two lines is.
enum Place {
    OnRegisters,
    Parked,
    Absent,
}

impl Port {
    /// A port after reset.
    #[must_use]
    pub const fn new(mode: PortMode) -> Self {
        let inputs = match mode {
            PortMode::Console | PortMode::Switched => ModemInputs::TERMINAL,
            PortMode::Link | PortMode::Unconnected => ModemInputs::DOWN,
        };
        Self {
            uart: Uart::new().with_modem_inputs(inputs),
            mode,
            is_linked: matches!(mode, PortMode::Link),
            parked: Line::new(),
            is_listening: false,
        }
    }

    /// The same, with the interrupt line behind OUT2 or not: see [`Uart::with_out2_gate`].
    #[must_use]
    pub fn with_out2_gate(self, is_gated: bool) -> Self {
        Self { uart: self.uart.with_out2_gate(is_gated), ..self }
    }

    /// The guest reads the register at `offset` (only the low three bits count).
    pub fn read(&mut self, offset: u8) -> u8 {
        let offset = offset & 7;
        if !self.is_listening {
            let sees_line = offset == LINE_STATUS && !self.uart.is_looped_back();
            self.is_listening = sees_line || self.uart.expects_bytes(offset);
        }
        self.uart.read(offset)
    }

    /// The guest writes the register at `offset` (only the low three bits count).
    pub fn write(&mut self, offset: u8, value: u8) {
        let offset = offset & 7;
        self.uart.write(offset, value);
        if offset == INTERRUPT_ENABLE && !self.uart.is_divisor_latch_open() {
            self.switch(value & ier::RECEIVED_DATA != 0);
        }
        if offset == DATA && self.mode == PortMode::Unconnected {
            while self.uart.transmit().is_some() {}
        }
        if !self.is_listening {
            let outputs = self.uart.modem_outputs();
            self.is_listening = outputs.dtr || outputs.rts || self.uart.expects_bytes(offset);
        }
    }

    /// The level of the interrupt line: see [`Uart::pin`].
    #[must_use]
    #[inline]
    pub fn pin(&self) -> bool {
        self.uart.pin()
    }

    /// Whether writes may not be gathered: see [`Uart::wants_every_write`].
    #[must_use]
    pub const fn wants_every_write(&self) -> bool {
        self.uart.wants_every_write()
    }

    /// The UART, read-only.
    #[must_use]
    pub const fn uart(&self) -> &Uart {
        &self.uart
    }

    /// What the port is plugged into.
    #[must_use]
    pub const fn mode(&self) -> PortMode {
        self.mode
    }

    /// Whether what the guest writes now goes to a link.
    #[must_use]
    pub const fn is_linked(&self) -> bool {
        self.is_linked
    }

    /// Whether the port has a link's line, in use or parked.
    #[must_use]
    pub const fn has_link(&self) -> bool {
        matches!(self.mode, PortMode::Link | PortMode::Switched)
    }

    /// Whether the port has a console's line, in use or parked.
    #[must_use]
    pub const fn has_console(&self) -> bool {
        matches!(self.mode, PortMode::Console | PortMode::Switched)
    }

    /// Whether the guest's driver is past the first steps, which would flush a byte from a
    /// peer: it has raised DTR or RTS, enabled the received data interrupt (for
    /// more than a probe of IER), or read LSR, all outside loopback. Once true, it stays true.
    #[must_use]
    pub const fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Brings the line the guest asks for onto the registers.
    fn switch(&mut self, to_link: bool) {
        if self.mode == PortMode::Switched && self.is_linked != to_link {
            self.uart.swap_line(&mut self.parked);
            self.is_linked = to_link;
        }
    }
}

/// The host's side of the console line.
impl Port {
    /// Takes the next byte of console output. Drain it after every guest access, so that THRE
    /// stays 1: a console never stalls its guest.
    pub fn console_take(&mut self) -> Option<u8> {
        self.take(self.console_place())
    }

    /// How many bytes of console input fit now.
    #[must_use]
    pub const fn console_space(&self) -> usize {
        self.space(self.console_place())
    }

    /// Gives the guest a byte of console input. While a switched port is linked it waits unseen.
    ///
    /// # Errors
    /// There was no room ([`Port::console_space`]); the byte is handed back. Offering it all the
    /// same is what sets LSR.OE.
    pub fn console_feed(&mut self, byte: u8) -> Result<(), u8> {
        self.feed(self.console_place(), byte)
    }

    /// Takes back a byte of console input that the guest has not read, oldest first.
    pub fn console_unread(&mut self) -> Option<u8> {
        match self.console_place() {
            Place::OnRegisters => self.uart.take_unread(),
            Place::Parked => self.parked.take_received(),
            Place::Absent => None,
        }
    }

    const fn console_place(&self) -> Place {
        match self.mode {
            PortMode::Console => Place::OnRegisters,
            PortMode::Switched if self.is_linked => Place::Parked,
            PortMode::Switched => Place::OnRegisters,
            PortMode::Link | PortMode::Unconnected => Place::Absent,
        }
    }
}

/// The link's side of the link line.
impl Port {
    /// The link's line, read-only.
    #[must_use]
    pub const fn link_line(&self) -> Option<&Line> {
        match self.link_place() {
            Place::OnRegisters => Some(self.uart.line()),
            Place::Parked => Some(&self.parked),
            Place::Absent => None,
        }
    }

    /// Takes the next byte for the link.
    pub(crate) fn link_take(&mut self) -> Option<u8> {
        self.take(self.link_place())
    }

    /// How many bytes from the link fit now.
    pub(crate) const fn link_space(&self) -> usize {
        self.space(self.link_place())
    }

    /// Gives the guest a byte from the link; a byte that does not fit is lost, with OE.
    pub(crate) fn link_feed(&mut self, byte: u8) -> Result<(), u8> {
        self.feed(self.link_place(), byte)
    }

    /// Whether the guest has begun a BREAK on a line that is a link's and nothing else.
    pub(crate) fn link_has_break(&self) -> bool {
        self.mode == PortMode::Link && self.uart.has_break()
    }

    /// The link takes it.
    pub(crate) const fn link_take_break(&mut self) {
        self.uart.take_break();
    }

    /// Gives the guest a BREAK from the link.
    pub(crate) fn link_feed_break(&mut self) {
        if self.mode == PortMode::Link {
            self.uart.receive_break();
        }
    }

    /// Drives the crossed modem lines, which only a port that is always a link's end sees. Returns
    /// whether one has changed.
    pub(crate) fn set_link_inputs(&mut self, inputs: ModemInputs) -> bool {
        self.mode == PortMode::Link && self.uart.set_modem_inputs(inputs)
    }

    /// The modem lines this port puts on its link.
    pub(crate) const fn link_outputs(&self) -> ModemOutputs {
        self.uart.modem_outputs()
    }

    const fn link_place(&self) -> Place {
        match self.mode {
            PortMode::Link => Place::OnRegisters,
            PortMode::Switched if self.is_linked => Place::OnRegisters,
            PortMode::Switched => Place::Parked,
            PortMode::Console | PortMode::Unconnected => Place::Absent,
        }
    }
}

/// What the far side does, wherever its line is.
impl Port {
    fn take(&mut self, place: Place) -> Option<u8> {
        match place {
            Place::OnRegisters => self.uart.transmit(),
            Place::Parked => self.parked.tx.pop(),
            Place::Absent => None,
        }
    }

    const fn space(&self, place: Place) -> usize {
        match place {
            Place::OnRegisters => self.uart.rx_space(),
            Place::Parked => self.parked.space(self.uart.fifo_depth()),
            Place::Absent => 0,
        }
    }

    fn feed(&mut self, place: Place, byte: u8) -> Result<(), u8> {
        match place {
            Place::OnRegisters => self.uart.receive(byte),
            Place::Parked => self.parked.receive(self.uart.fifo_depth(), byte),
            Place::Absent => Err(byte),
        }
    }
}

#[cfg(test)]
mod tests;
