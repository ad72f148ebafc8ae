//! Instructions that software emulates: those whose memory operand
//! is a device, or whose page tables are, and string I/O.
//!
//! ```text
//! bytes -- decode --> Instruction -- carry_out --> Outcome: a device read that is wanted,
//!                                        |                  device writes and the next RIP,
//!           arithmetic: results, flags --+                  an exception
//!    segmentation: logical to linear ----+
//!          paging: linear to physical ---+
//! ```
//!
//! [`carry_out`] changes nothing until it has all that the instruction reads: it is called again
//! with each value that a device has returned ([`Reads`]), so that any instruction may read any
//! number of devices, and an exception leaves no trace. A [`Guest`] is registers and RAM.

pub mod arithmetic;
mod bits;
mod carry_out;
mod decode;
mod guest;
mod instruction;
mod memory;
mod opcodes;
mod operands;
mod outcome;
pub mod paging;
pub mod segmentation;
mod strings;
pub mod task;

pub use carry_out::{carry_out, plain};
pub use decode::{Refusal, decode, decode_to};
pub use guest::Guest;
pub use instruction::{Count, Instruction, MemoryOperand, Operand, Operation, PortString, Repeat};
pub use outcome::{Exception, Outcome, Read, Reads, Resolved, Write, Writes};

/// Bits of RFLAGS (SDM vol. 1, 3.4.3).
#[allow(missing_docs)]
pub mod flag {
    pub const CF: u64 = 1 << 0;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    /// What arithmetic changes.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}
