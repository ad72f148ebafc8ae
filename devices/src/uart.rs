//! The 16550A UART, register by register (National Semiconductor PC16550D datasheet).
//!
//! [`Uart`] is only the chip, independent of ports, hosts and other machines. The
//! guest's side is [`Uart::read`], [`Uart::write`] and [`Uart::pin`]; the wire's side is
//! [`Uart::receive`], [`Uart::transmit`] and the modem lines. There are no callbacks.
//!
//! * The interrupt line is a level, computed from the registers whenever it is asked for. Sample
//!   it after each access and each movement on the wire; the interrupt controller finds the edges.
//! * Only [`Uart::transmit`] drains the transmitter, so LSR.THRE and LSR.TEMT are
//!   exact. There is no shift register beside the FIFO: the two bits are always equal.
//! * The speed of the line is not modelled: a character lasts no time. Hence a byte below the
//!   trigger level has always waited its four character times already, and shows as a character
//!   timeout (IIR 0xC) at once. Word length and parity are stored and have no effect; a BREAK is a
//!   marked byte at the other end, however long it lasts.
//! * Where the 16450 mode overwrites the old byte on overrun, this keeps it and loses the new
//!   one, as the FIFO mode does.
//!
//! [`Port`] puts a `Uart` on a console, on a link, or on one of both at a time.

mod interrupt;
mod line;
mod modem;
mod port;
mod registers;
#[cfg(test)]
mod tests;
mod wire;

pub use line::{FIFO_DEPTH, Line, LineCounts};
pub use modem::{ModemInputs, ModemOutputs};
pub use port::{Port, PortMode};

use modem::ModemStatus;
use registers::{
    DATA, INTERRUPT_ENABLE, INTERRUPT_IDENTIFICATION, LINE_CONTROL, LINE_STATUS, MODEM_CONTROL,
    MODEM_STATUS, SCRATCH, fcr, ier, lcr, lsr, mcr,
};

/// The baud rate of divisor 1: a 1.8432 MHz crystal over 16 (section 8.3, Table III).
pub const BASE_BAUD: u32 = 115_200;
/// Firmware leaves a PC's port at 115200 baud, and so does reset here.
const RESET_DIVISOR: u16 = 1;
/// Bytes that raise the received data interrupt, by FCR bits 7:6 (section 8.5).
const TRIGGER_LEVELS: [usize; 4] = [1, 4, 8, 14];

/// Registers of a UART, for those who look at it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartRegisters {
    /// IER.
    pub interrupt_enable: u8,
    /// LCR.
    pub line_control: u8,
    /// MCR.
    pub modem_control: u8,
    /// LSR.
    pub line_status: u8,
}

/// A 16550A. All of its state is here: a clone is a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart {
    line: Line,
    interrupt_enable: u8,
    line_control: u8,
    /// A BREAK has begun that the wire has not taken.
    sends_break: bool,
    modem_control: u8,
    scratch: u8,
    divisor: u16,
    is_baud_programmed: bool,
    has_fifos: bool,
    trigger_level: usize,
    /// The THRE interrupt is latched: set when the transmitter empties and when IER.THRI rises,
    /// cleared by a write to it and by the IIR read that reports it. Implies an empty transmitter.
    is_thre_latched: bool,
    modem_inputs: ModemInputs,
    modem_status: ModemStatus,
    is_gated_by_out2: bool,
}

impl Uart {
    /// A UART after reset, at 115200 baud, with every modem input down.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: Line::new(),
            interrupt_enable: 0,
            line_control: 0,
            sends_break: false,
            modem_control: 0,
            scratch: 0,
            divisor: RESET_DIVISOR,
            is_baud_programmed: false,
            has_fifos: false,
            trigger_level: TRIGGER_LEVELS[0],
            is_thre_latched: false,
            modem_inputs: ModemInputs::DOWN,
            modem_status: ModemStatus::at_reset(ModemInputs::DOWN),
            is_gated_by_out2: false,
        }
    }

    /// The same, with `inputs` on the modem lines since before reset: no delta bit is set.
    #[must_use]
    pub const fn with_modem_inputs(mut self, inputs: ModemInputs) -> Self {
        self.modem_inputs = inputs;
        self.modem_status = ModemStatus::at_reset(inputs);
        self
    }

    /// The same, with the interrupt line gated by OUT2 as on an AT board, or not. The default is
    /// not: guests that write MCR = 0 still expect interrupts.
    #[must_use]
    pub const fn with_out2_gate(mut self, is_gated: bool) -> Self {
        self.is_gated_by_out2 = is_gated;
        self
    }

    /// IER, LCR and MCR as the guest has written them, and LSR, whose errors a look leaves.
    #[must_use]
    pub fn registers(&self) -> UartRegisters {
        let mut copy = self.clone();
        UartRegisters {
            interrupt_enable: self.interrupt_enable,
            line_control: self.line_control,
            modem_control: self.modem_control,
            line_status: copy.read_line_status(),
        }
    }

    /// The guest reads the register at `offset` (only the low three bits count).
    pub fn read(&mut self, offset: u8) -> u8 {
        match offset & 7 {
            DATA if self.is_divisor_latch_open() => self.divisor.to_le_bytes()[0],
            INTERRUPT_ENABLE if self.is_divisor_latch_open() => self.divisor.to_le_bytes()[1],
            DATA => self.line.take_received().unwrap_or(0),
            INTERRUPT_ENABLE => self.interrupt_enable,
            INTERRUPT_IDENTIFICATION => self.read_interrupt_identification(),
            LINE_CONTROL => self.line_control,
            MODEM_CONTROL => self.modem_control,
            LINE_STATUS => self.read_line_status(),
            MODEM_STATUS => self.modem_status.read(),
            SCRATCH.. => self.scratch,
        }
    }

    /// The guest writes `value` to the register at `offset` (only the low three bits count).
    /// Writes to the status registers, meant for factory tests, do nothing.
    pub fn write(&mut self, offset: u8, value: u8) {
        match offset & 7 {
            DATA if self.is_divisor_latch_open() => {
                self.program_divisor(u16::from_le_bytes([value, self.divisor.to_le_bytes()[1]]));
            }
            INTERRUPT_ENABLE if self.is_divisor_latch_open() => {
                self.program_divisor(u16::from_le_bytes([self.divisor.to_le_bytes()[0], value]));
            }
            DATA => self.write_transmitter_holding(value),
            INTERRUPT_ENABLE => self.write_interrupt_enable(value),
            INTERRUPT_IDENTIFICATION => self.write_fifo_control(value),
            LINE_CONTROL => {
                self.sends_break |= value & !self.line_control & lcr::SET_BREAK != 0;
                self.line_control = value;
            }
            MODEM_CONTROL => {
                self.modem_control = value & mcr::IMPLEMENTED;
                self.update_modem_status();
            }
            LINE_STATUS | MODEM_STATUS => {}
            SCRATCH.. => self.scratch = value,
        }
    }

    /// IER, by which alone a port interrupts.
    #[must_use]
    pub const fn interrupt_enable(&self) -> u8 {
        self.interrupt_enable
    }

    /// Whether a write to the transmitter holding register has an effect the guest can see before
    /// its next access to another register: loopback, or the divisor latch. If not, a backend may
    /// gather such writes and deliver them later, in order. The THRE interrupt then comes as late
    /// as on a slow line, at the latest when the guest halts or its turn ends.
    #[must_use]
    pub const fn wants_every_write(&self) -> bool {
        self.is_looped_back() || self.is_divisor_latch_open()
    }
}

/// The registers that do more than store.
impl Uart {
    fn read_line_status(&mut self) -> u8 {
        let mut status = 0;
        if !self.line.rx.is_empty() {
            status |= lsr::DATA_READY;
        }
        if self.line.has_overrun {
            status |= lsr::OVERRUN_ERROR;
        }
        if self.line.has_break() {
            status |= lsr::BREAK_INTERRUPT;
        }
        if self.has_fifos && self.line.has_breaks() {
            status |= lsr::ERROR_IN_FIFO;
        }
        if self.line.tx.is_empty() {
            status |= lsr::TRANSMITTER_HOLDING_EMPTY | lsr::TRANSMITTER_EMPTY;
        }
        self.line.has_overrun = false;
        self.line.break_is_told();
        status
    }

    /// Takes back the oldest byte that the guest has not read.
    pub(crate) fn take_unread(&mut self) -> Option<u8> {
        if self.is_looped_back() { None } else { self.line.take_received() }
    }

    fn write_transmitter_holding(&mut self, byte: u8) {
        self.is_thre_latched = false;
        let depth = self.fifo_depth();
        if self.is_looped_back() {
            // The byte arrives at once. With no room it is lost; only OE reports that.
            let _ = self.line.receive(depth, byte);
            self.is_thre_latched = self.line.tx.is_empty();
        } else {
            self.line.send(depth, byte);
        }
    }

    const fn write_interrupt_enable(&mut self, value: u8) {
        let rising = value & !self.interrupt_enable;
        self.interrupt_enable = value & ier::IMPLEMENTED;
        if rising & ier::TRANSMITTER_EMPTY != 0 && self.line.tx.is_empty() {
            self.is_thre_latched = true;
        }
    }

    /// Section 8.5: entering or leaving FIFO mode drops what both FIFOs hold, and with bit 0
    /// clear the other bits are ignored.
    fn write_fifo_control(&mut self, value: u8) {
        let is_enabled = value & fcr::ENABLE != 0;
        let has_changed = is_enabled != self.has_fifos;
        self.has_fifos = is_enabled;
        if has_changed || is_enabled && value & fcr::CLEAR_RECEIVER != 0 {
            self.line.clear_receiver();
        }
        let was_sending = !self.line.tx.is_empty();
        if has_changed || is_enabled && value & fcr::CLEAR_TRANSMITTER != 0 {
            self.line.flush_transmitter();
            self.is_thre_latched |= was_sending;
        }
        let level = if is_enabled { value >> fcr::TRIGGER_SHIFT } else { 0 };
        self.trigger_level = TRIGGER_LEVELS[usize::from(level)];
    }

    const fn program_divisor(&mut self, divisor: u16) {
        self.divisor = divisor;
        self.is_baud_programmed = true;
    }

    const fn update_modem_status(&mut self) -> bool {
        let seen = if self.is_looped_back() {
            modem::looped_back(self.modem_control)
        } else {
            self.modem_inputs
        };
        self.modem_status.update(seen)
    }

    const fn is_looped_back(&self) -> bool {
        self.modem_control & mcr::LOOPBACK != 0
    }

    const fn fifo_depth(&self) -> usize {
        if self.has_fifos { FIFO_DEPTH } else { 1 }
    }
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}
