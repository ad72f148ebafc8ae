//! A port as its link sees it: a UART's line, or a port of a virtio console, which has no rate.

use super::Port;
use crate::uart::{LineCounts, ModemInputs, ModemOutputs};
use crate::virtio::console::PortEnd;

/// What decides whether two ports understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A UART's divisor; None: it is as fast as the other end.
    pub divisor: Option<u16>,
    /// The guest has programmed it.
    pub is_programmed: bool,
    /// The divisor latch is open: the rate is about to change.
    pub is_changing: bool,
}

/// A port at an end of a link.
pub trait LinkPort {
    /// Whether it has a link's line.
    fn has_link(&self) -> bool;

    /// Whether its driver is ready for bytes.
    fn is_listening(&self) -> bool;

    /// Its rate.
    fn rate(&self) -> Rate;

    /// The account of what its guest has written; None if it has no link's line.
    fn counts(&self) -> Option<LineCounts>;

    /// How many written bytes can be taken now.
    fn in_flight(&self) -> usize;

    /// Takes the next byte for the link.
    fn take(&mut self) -> Option<u8>;

    /// How many bytes from the link fit now.
    fn space(&self) -> usize;

    /// Gives the guest a byte from the link.
    ///
    /// # Errors
    /// It does not fit: it is lost, with OE where there is one.
    fn feed(&mut self, byte: u8) -> Result<(), u8>;

    /// Whether the guest has begun a BREAK.
    fn has_break(&self) -> bool;

    /// The link takes it.
    fn take_break(&mut self);

    /// Gives the guest a BREAK from the link.
    fn feed_break(&mut self);

    /// The modem lines that this port puts on its link.
    fn outputs(&self) -> ModemOutputs;

    /// Drives the crossed modem lines; `has_peer`: some other end's machine has not ended. Returns
    /// whether the guest sees a change.
    fn set_inputs(&mut self, inputs: ModemInputs, has_peer: bool) -> bool;
}

impl LinkPort for &mut Port {
    fn has_link(&self) -> bool {
        Port::has_link(self)
    }

    fn is_listening(&self) -> bool {
        Port::is_listening(self)
    }

    fn rate(&self) -> Rate {
        let uart = self.uart();
        Rate {
            divisor: Some(uart.divisor()),
            is_programmed: uart.is_baud_programmed(),
            is_changing: uart.is_divisor_latch_open(),
        }
    }

    fn counts(&self) -> Option<LineCounts> {
        self.link_line().map(|line| line.counts())
    }

    fn in_flight(&self) -> usize {
        self.link_line().map_or(0, |line| line.in_flight())
    }

    fn take(&mut self) -> Option<u8> {
        self.link_take()
    }

    fn space(&self) -> usize {
        self.link_space()
    }

    fn feed(&mut self, byte: u8) -> Result<(), u8> {
        self.link_feed(byte)
    }

    fn has_break(&self) -> bool {
        self.link_has_break()
    }

    fn take_break(&mut self) {
        self.link_take_break();
    }

    fn feed_break(&mut self) {
        self.link_feed_break();
    }

    fn outputs(&self) -> ModemOutputs {
        self.link_outputs()
    }

    fn set_inputs(&mut self, inputs: ModemInputs, _has_peer: bool) -> bool {
        self.set_link_inputs(inputs)
    }
}

/// A port of either kind.
#[derive(Debug)]
pub enum AnyPort<'a> {
    /// A serial port.
    Uart(&'a mut Port),
    /// A port of a virtio console.
    Console(PortEnd<'a>),
}

/// Does the same with whichever it is.
macro_rules! either {
    ($self:ident, $port:ident => $of:expr) => {
        match $self {
            AnyPort::Uart($port) => $of,
            AnyPort::Console($port) => $of,
        }
    };
}

impl LinkPort for AnyPort<'_> {
    fn has_link(&self) -> bool {
        either!(self, port => LinkPort::has_link(port))
    }

    fn is_listening(&self) -> bool {
        either!(self, port => LinkPort::is_listening(port))
    }

    fn rate(&self) -> Rate {
        either!(self, port => port.rate())
    }

    fn counts(&self) -> Option<LineCounts> {
        either!(self, port => port.counts())
    }

    fn in_flight(&self) -> usize {
        either!(self, port => port.in_flight())
    }

    fn take(&mut self) -> Option<u8> {
        either!(self, port => port.take())
    }

    fn space(&self) -> usize {
        either!(self, port => port.space())
    }

    fn feed(&mut self, byte: u8) -> Result<(), u8> {
        either!(self, port => port.feed(byte))
    }

    fn has_break(&self) -> bool {
        either!(self, port => port.has_break())
    }

    fn take_break(&mut self) {
        either!(self, port => port.take_break());
    }

    fn feed_break(&mut self) {
        either!(self, port => port.feed_break());
    }

    fn outputs(&self) -> ModemOutputs {
        either!(self, port => port.outputs())
    }

    fn set_inputs(&mut self, inputs: ModemInputs, has_peer: bool) -> bool {
        either!(self, port => port.set_inputs(inputs, has_peer))
    }
}
