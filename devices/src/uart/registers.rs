//! Where the registers are and what their bits mean (PC16550D datasheet, Table II).

/// Receiver buffer (read), transmitter holding register (write); divisor latch low with DLAB.
pub const DATA: u8 = 0;
/// Interrupt enable; divisor latch high with DLAB.
pub const INTERRUPT_ENABLE: u8 = 1;
/// Interrupt identification (read), FIFO control (write).
pub const INTERRUPT_IDENTIFICATION: u8 = 2;
/// Line control.
pub const LINE_CONTROL: u8 = 3;
/// Modem control.
pub const MODEM_CONTROL: u8 = 4;
/// Line status.
pub const LINE_STATUS: u8 = 5;
/// Modem status.
pub const MODEM_STATUS: u8 = 6;
/// Scratch.
pub const SCRATCH: u8 = 7;

/// Interrupt enable register, section 8.7.
pub mod ier {
    /// Received data available and character timeout.
    pub const RECEIVED_DATA: u8 = 1 << 0;
    /// Transmitter holding register empty.
    pub const TRANSMITTER_EMPTY: u8 = 1 << 1;
    /// Receiver line status.
    pub const LINE_STATUS: u8 = 1 << 2;
    /// Modem status.
    pub const MODEM_STATUS: u8 = 1 << 3;
    /// The bits that exist; the others always read 0.
    pub const IMPLEMENTED: u8 = 0x0f;
}

/// Interrupt identification register, section 8.6 and Table IV.
pub mod iir {
    /// No interrupt is pending.
    pub const NONE: u8 = 0x01;
    /// Both bits set: the FIFOs are enabled.
    pub const FIFOS_ENABLED: u8 = 0xc0;
}

/// FIFO control register, section 8.5.
pub mod fcr {
    /// Enables both FIFOs; the other bits are ignored while it is written as 0.
    pub const ENABLE: u8 = 1 << 0;
    /// Drops what the receiver FIFO holds.
    pub const CLEAR_RECEIVER: u8 = 1 << 1;
    /// Drops what the transmitter FIFO holds.
    pub const CLEAR_TRANSMITTER: u8 = 1 << 2;
    /// The position of the two-bit receiver trigger level.
    pub const TRIGGER_SHIFT: u8 = 6;
}

/// Line control register, section 8.1.
pub mod lcr {
    /// Holds the serial output at spacing: BREAK at the other end.
    pub const SET_BREAK: u8 = 1 << 6;
    /// Divisor latch access.
    pub const DIVISOR_LATCH: u8 = 1 << 7;
}

/// Modem control register, section 8.8.
pub mod mcr {
    /// Data terminal ready.
    pub const DTR: u8 = 1 << 0;
    /// Request to send.
    pub const RTS: u8 = 1 << 1;
    /// Auxiliary output 1.
    pub const OUT1: u8 = 1 << 2;
    /// Auxiliary output 2; on a PC board it may gate the interrupt line.
    pub const OUT2: u8 = 1 << 3;
    /// Local loopback.
    pub const LOOPBACK: u8 = 1 << 4;
    /// The bits that exist; the others always read 0.
    pub const IMPLEMENTED: u8 = 0x1f;
}

/// Line status register, section 8.4.
pub mod lsr {
    /// A received byte waits.
    pub const DATA_READY: u8 = 1 << 0;
    /// A byte came while the receiver was full, and was lost.
    pub const OVERRUN_ERROR: u8 = 1 << 1;
    /// The line was at spacing: the zero byte on top is a BREAK. Goes with the read.
    pub const BREAK_INTERRUPT: u8 = 1 << 4;
    /// The transmitter holding register (in FIFO mode the whole FIFO) is empty.
    pub const TRANSMITTER_HOLDING_EMPTY: u8 = 1 << 5;
    /// The shift register is empty too.
    pub const TRANSMITTER_EMPTY: u8 = 1 << 6;
    /// In FIFO mode: a BREAK is somewhere in the receiver.
    pub const ERROR_IN_FIFO: u8 = 1 << 7;
}

/// Modem status register, section 8.9. Each delta bit is its level bit shifted right by 4.
pub mod msr {
    /// Clear to send.
    pub const CTS: u8 = 1 << 4;
    /// Data set ready.
    pub const DSR: u8 = 1 << 5;
    /// Ring indicator.
    pub const RI: u8 = 1 << 6;
    /// Data carrier detect.
    pub const DCD: u8 = 1 << 7;
    /// From a level bit to its delta bit.
    pub const DELTA_SHIFT: u8 = 4;
}
