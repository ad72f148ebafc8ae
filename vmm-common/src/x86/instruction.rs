//! A decoded instruction.

use super::arithmetic::{Alu, BitOperation, Condition, Rotation};
use crate::registers::{general, segment};

/// What an instruction does. Its operands are in [`Instruction::operands`], the destination first.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP.
    Alu(Alu),
    Test,
    Inc,
    Dec,
    Not,
    Neg,
    /// ROL, ROR, RCL, RCR, SHL, SHR, SAR.
    Rotate(Rotation),
    /// SHLD, SHRD.
    DoubleShift {
        is_left: bool,
    },
    /// BT, BTS, BTR, BTC.
    Bit(BitOperation),
    BitScanForward,
    BitScanReverse,
    CountTrailingZeros,
    CountLeadingZeros,
    CountOnes,
    Crc32,
    /// MUL, IMUL, DIV, IDIV of the accumulator.
    Multiply {
        is_signed: bool,
    },
    Divide {
        is_signed: bool,
    },
    /// IMUL with two or three operands; the memory operand is multiplied by the immediate or by the
    /// destination.
    MultiplySigned {
        has_immediate: bool,
    },
    Exchange,
    ExchangeAdd,
    CompareExchange,
    /// CMPXCHG8B, CMPXCHG16B.
    CompareExchangePair,
    Move,
    MoveZeroExtended,
    MoveSignExtended,
    MoveByteSwapped,
    /// A vector register or a part of it; what is loaded clears the rest.
    MoveVector {
        must_be_aligned: bool,
    },
    /// XLAT.
    Translate,
    SetIf(Condition),
    MoveIf(Condition),
    Push,
    Pop,
    Call,
    Jump,
    Return,
    Leave,
    /// CLFLUSH, CLFLUSHOPT, CLWB: the access is only checked.
    FlushLine,
    MoveString,
    StoreString,
    LoadString,
    CompareStrings,
    ScanString,
    InString,
    OutString,
}

/// Where an operand is.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    None,
    /// [`Instruction::memory`].
    Memory,
    /// A general register, by the order of their encoding.
    General(u8),
    /// Bits 15:8 of RAX, RCX, RDX or RBX.
    HighByte(u8),
    /// A segment register's selector.
    Segment(u8),
    /// XMM0 to XMM15.
    Vector(u8),
    /// [`Instruction::immediate`].
    Immediate,
}

/// The count of a shift.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Immediate,
    Cl,
}

/// The prefixes F2 and F3, where they repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Neither.
    Once,
    /// F3: REP, REPE.
    WhileEqual,
    /// F2: REPNE.
    WhileNotEqual,
}

/// A memory operand: segment and what the offset is the sum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOperand {
    /// By [`crate::registers::segment`].
    pub segment: u8,
    /// A general register.
    pub base: Option<u8>,
    /// A general register, and the power of two it is multiplied by.
    pub index: Option<(u8, u8)>,
    /// Sign-extended.
    pub displacement: u64,
    /// The next instruction's address is part of the sum.
    pub is_rip_relative: bool,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// Destination, then sources.
    pub operands: [Operand; 2],
    /// The count of a shift.
    pub count: Count,
    /// Bytes of the operation's registers.
    pub size: u8,
    /// Bytes of the memory operand.
    pub memory_size: u8,
    /// The explicit memory operand; strings and stacks have theirs besides.
    pub memory: Option<MemoryOperand>,
    /// Sign-extended.
    pub immediate: u64,
    /// 16, 32 or 64.
    pub address_bits: u8,
    /// Of strings.
    pub repeat: Repeat,
    /// With the prefix LOCK.
    pub is_locked: bool,
    /// Its bytes.
    pub len: u8,
}

/// INS or OUTS, as exits report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortString {
    /// INS.
    pub is_in: bool,
    /// Bytes of an element.
    pub size: u8,
    /// The segment of an OUTS's operand.
    pub segment: usize,
    /// 16, 32 or 64.
    pub address_bits: u8,
    /// With a prefix REP.
    pub is_repeated: bool,
    /// Bytes of the instruction.
    pub len: u8,
}

impl Instruction {
    /// An instruction without operands.
    #[must_use]
    pub const fn new(operation: Operation, size: u8) -> Self {
        Self {
            operation,
            operands: [Operand::None; 2],
            count: Count::Immediate,
            size,
            memory_size: size,
            memory: None,
            immediate: 0,
            address_bits: 64,
            repeat: Repeat::Once,
            is_locked: false,
            len: 0,
        }
    }

    /// INS or OUTS.
    #[must_use]
    pub const fn port_string(string: PortString) -> Self {
        let operation = if string.is_in { Operation::InString } else { Operation::OutString };
        let repeat = if string.is_repeated { Repeat::WhileEqual } else { Repeat::Once };
        let memory = MemoryOperand::string_source(string.segment as u8);
        Self {
            memory: if string.is_in { None } else { Some(memory) },
            address_bits: string.address_bits,
            repeat,
            len: string.len,
            ..Self::new(operation, string.size)
        }
    }

    /// The memory operand is read, or written, once and not both, and there is no other: the
    /// processor that could not complete the access has checked all of it.
    #[must_use]
    pub fn has_single_access(&self) -> bool {
        let is_destination = self.operands[0] == Operand::Memory;
        match self.operation {
            Operation::Alu(Alu::Cmp) | Operation::Test => true,
            Operation::Alu(_) => !is_destination,
            Operation::Move | Operation::MoveZeroExtended | Operation::MoveSignExtended => true,
            Operation::MoveByteSwapped | Operation::SetIf(_) | Operation::MoveIf(_) => true,
            _ => false,
        }
    }
}

impl MemoryOperand {
    /// The source of a string: RSI, in DS if no prefix says otherwise.
    #[must_use]
    pub const fn string_source(segment: u8) -> Self {
        Self::register(segment, general::RSI as u8)
    }

    /// The destination of a string: ES:RDI.
    pub const STRING_DESTINATION: Self = Self::register(segment::ES as u8, general::RDI as u8);

    /// What a register points to.
    #[must_use]
    pub const fn register(segment: u8, base: u8) -> Self {
        Self { segment, base: Some(base), index: None, displacement: 0, is_rip_relative: false }
    }
}
