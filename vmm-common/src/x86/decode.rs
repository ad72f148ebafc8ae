//! Instruction formats: prefixes, REX, ModRM, SIB, displacements, immediates (SDM vol. 2, chapter
//! 2). Opcodes are in `opcodes.rs`.

use super::bits::sign_extend;
use super::instruction::{Instruction, MemoryOperand, Operand, Operation, Repeat};
use super::opcodes;
use crate::registers::{INSTRUCTION_BYTES, general, segment};

/// Why bytes are no [`Instruction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The instruction goes on behind the bytes.
    Truncated,
    /// It is longer than 15 bytes: #GP(0).
    TooLong,
    /// LOCK where the processor allows none: #UD.
    Undefined,
    /// Not emulated: it accesses no memory, or is neither an integer instruction nor a move.
    Unknown,
}

/// Decodes the first instruction of `bytes`, in 16-, 32- or 64-bit code. At most
/// [`INSTRUCTION_BYTES`] of them count.
///
/// # Errors
/// [`Refusal`].
pub fn decode(code_bits: u8, bytes: &[u8]) -> Result<Instruction, Refusal> {
    let mut instruction = Instruction::new(Operation::Move, 1);
    decode_to(&mut instruction, code_bits, bytes).map(|()| instruction)
}

/// The same, in place.
///
/// # Errors
/// [`Refusal`]; the instruction is of no use then.
pub fn decode_to(
    instruction: &mut Instruction,
    code_bits: u8,
    bytes: &[u8],
) -> Result<(), Refusal> {
    let is_cut = bytes.len() < INSTRUCTION_BYTES;
    let bytes = &bytes[..bytes.len().min(INSTRUCTION_BYTES)];
    let refusal = if is_cut { Refusal::Truncated } else { Refusal::TooLong };
    *instruction = Instruction::new(Operation::Move, 1);
    let prefixes = Prefixes::NONE;
    let mut decoder = Decoder { code_bits, bytes, at: 0, prefixes, refusal, instruction };
    decoder.prefixes()?;
    decoder.instruction.address_bits = decoder.address_bits();
    opcodes::instruction(&mut decoder)?;
    decoder.instruction.len = decoder.at as u8;
    if decoder.prefixes.has_lock {
        decoder.instruction.is_locked = true;
        let is_memory_changed = decoder.instruction.operands[0] == Operand::Memory;
        if !is_memory_changed || !opcodes::can_lock(decoder.instruction.operation) {
            return Err(Refusal::Undefined);
        }
    }
    Ok(())
}

/// What stands before an opcode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefixes {
    /// The last of F2 and F3.
    pub repeat: Repeat,
    /// 66.
    pub has_operand_size: bool,
    has_address_size: bool,
    has_lock: bool,
    segment: Option<u8>,
    /// 0 without one.
    pub rex: u8,
}

impl Prefixes {
    const NONE: Self = Self {
        repeat: Repeat::Once,
        has_operand_size: false,
        has_address_size: false,
        has_lock: false,
        segment: None,
        rex: 0,
    };
}

/// A place in an instruction's bytes.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    pub code_bits: u8,
    bytes: &'a [u8],
    at: usize,
    pub prefixes: Prefixes,
    refusal: Refusal,
    pub instruction: &'a mut Instruction,
}

impl Decoder<'_> {
    pub fn byte(&mut self) -> Result<u8, Refusal> {
        let byte = *self.bytes.get(self.at).ok_or(self.refusal)?;
        self.at += 1;
        Ok(byte)
    }

    /// So many bytes, sign-extended.
    pub fn immediate(&mut self, size: u8) -> Result<u64, Refusal> {
        let from = self.bytes.get(self.at..self.at + usize::from(size)).ok_or(self.refusal)?;
        let value = from.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.at += from.len();
        Ok(sign_extend(value, size))
    }

    fn prefixes(&mut self) -> Result<(), Refusal> {
        let is_64 = self.code_bits == 64;
        loop {
            let byte = *self.bytes.get(self.at).ok_or(self.refusal)?;
            let prefixes = &mut self.prefixes;
            match byte {
                0x66 => prefixes.has_operand_size = true,
                0x67 => prefixes.has_address_size = true,
                0xf0 => prefixes.has_lock = true,
                0xf2 => prefixes.repeat = Repeat::WhileNotEqual,
                0xf3 => prefixes.repeat = Repeat::WhileEqual,
                0x64 => prefixes.segment = Some(segment::FS as u8),
                0x65 => prefixes.segment = Some(segment::GS as u8),
                // Without effect in 64-bit mode.
                0x26 | 0x2e | 0x36 | 0x3e if is_64 => {}
                0x26 | 0x2e | 0x36 | 0x3e => prefixes.segment = Some(byte >> 3 & 3),
                0x40..=0x4f if is_64 => {
                    prefixes.rex = byte;
                    self.at += 1;
                    continue;
                }
                _ => return Ok(()),
            }
            // REX counts only where the opcode follows.
            self.prefixes.rex = 0;
            self.at += 1;
        }
    }

    fn rex_bit(&self, bit: u8) -> u8 {
        self.prefixes.rex >> bit & 1
    }

    /// REX.W.
    pub fn is_wide(&self) -> bool {
        self.rex_bit(3) != 0
    }

    /// Bytes of operands that are not single bytes.
    pub fn operand_size(&self) -> u8 {
        match (self.is_wide(), self.code_bits == 16, self.prefixes.has_operand_size) {
            (true, _, _) => 8,
            (false, true, false) | (false, false, true) => 2,
            (false, _, _) => 4,
        }
    }

    /// The same for near branches: 8 in 64-bit mode, as on Intel's processors.
    pub fn branch_size(&self) -> u8 {
        if self.code_bits == 64 { 8 } else { self.operand_size() }
    }

    /// The same for stacks, which in 64-bit mode have no 4-byte operands.
    pub fn stack_size(&self) -> u8 {
        match (self.code_bits, self.prefixes.has_operand_size) {
            (64, true) if !self.is_wide() => 2,
            (64, _) => 8,
            _ => self.operand_size(),
        }
    }

    fn address_bits(&self) -> u8 {
        match (self.code_bits, self.prefixes.has_address_size) {
            (64, false) => 64,
            (64, true) | (32, false) => 32,
            (16, true) => 32,
            _ => 16,
        }
    }

    /// The segment of an operand whose default is `default`.
    pub fn segment(&self, default: usize) -> u8 {
        self.prefixes.segment.unwrap_or(default as u8)
    }

    /// A register that an opcode's lower bits name.
    pub fn opcode_register(&self, opcode: u8) -> u8 {
        opcode & 7 | self.rex_bit(0) << 3
    }

    /// A general register of `size` bytes: AH to BH are what SPL to DIL are with REX.
    pub fn general(&self, index: u8, size: u8) -> Operand {
        if size == 1 && self.prefixes.rex == 0 && index >= 4 {
            Operand::HighByte(index - 4)
        } else {
            Operand::General(index)
        }
    }

    pub fn set(&mut self, operation: Operation, size: u8, operands: [Operand; 2]) {
        self.instruction.operation = operation;
        self.instruction.operands = operands;
        self.instruction.size = size;
        self.instruction.memory_size = size;
    }

    /// ModRM and its memory operand; the number of the other operand. Two registers are none of
    /// ours.
    pub fn mod_rm(&mut self) -> Result<u8, Refusal> {
        let byte = self.byte()?;
        let memory = match (byte >> 6, self.instruction.address_bits) {
            (3, _) => return Err(Refusal::Unknown),
            (mode, 16) => self.memory_16(mode, byte & 7)?,
            (mode, _) => self.memory_32(mode, byte & 7)?,
        };
        self.instruction.memory = Some(memory);
        Ok(byte >> 3 & 7 | self.rex_bit(2) << 3)
    }

    /// SDM vol. 2, table 2-1.
    fn memory_16(&mut self, mode: u8, rm: u8) -> Result<MemoryOperand, Refusal> {
        const BX: u8 = general::RBX as u8;
        const BP: u8 = general::RBP as u8;
        const SI: u8 = general::RSI as u8;
        const DI: u8 = general::RDI as u8;
        let (base, index) = match rm {
            0 => (Some(BX), Some(SI)),
            1 => (Some(BX), Some(DI)),
            2 => (Some(BP), Some(SI)),
            3 => (Some(BP), Some(DI)),
            4 => (Some(SI), None),
            5 => (Some(DI), None),
            6 if mode == 0 => (None, None),
            6 => (Some(BP), None),
            _ => (Some(BX), None),
        };
        let displacement = match mode {
            0 if base.is_none() => self.immediate(2)?,
            0 => 0,
            1 => self.immediate(1)?,
            _ => self.immediate(2)?,
        };
        let default = if base == Some(BP) { segment::SS } else { segment::DS };
        Ok(MemoryOperand {
            segment: self.segment(default),
            base,
            index: index.map(|index| (index, 0)),
            displacement,
            is_rip_relative: false,
        })
    }

    /// SDM vol. 2, tables 2-2 and 2-3, and 2.2.1.6 for RIP-relative addresses.
    fn memory_32(&mut self, mode: u8, rm: u8) -> Result<MemoryOperand, Refusal> {
        const SIB: u8 = 4;
        const NO_BASE: u8 = 5;
        let (mut base, mut index, mut low) = (Some(rm | self.rex_bit(0) << 3), None, rm);
        if rm == SIB {
            let sib = self.byte()?;
            low = sib & 7;
            base = Some(low | self.rex_bit(0) << 3);
            let number = sib >> 3 & 7 | self.rex_bit(1) << 3;
            index = (number != general::RSP as u8).then_some((number, sib >> 6));
        }
        let is_bare = mode == 0 && low == NO_BASE;
        let displacement = match mode {
            0 if is_bare => self.immediate(4)?,
            0 => 0,
            1 => self.immediate(1)?,
            _ => self.immediate(4)?,
        };
        if is_bare {
            base = None;
        }
        let is_stack = base == Some(general::RSP as u8) || base == Some(general::RBP as u8);
        Ok(MemoryOperand {
            segment: self.segment(if is_stack { segment::SS } else { segment::DS }),
            base,
            index,
            displacement,
            is_rip_relative: is_bare && rm != SIB && self.code_bits == 64,
        })
    }

    /// An address as an immediate.
    pub fn memory_offset(&mut self) -> Result<(), Refusal> {
        let displacement = self.immediate(self.instruction.address_bits / 8)?;
        self.instruction.memory = Some(MemoryOperand {
            segment: self.segment(segment::DS),
            base: None,
            index: None,
            displacement,
            is_rip_relative: false,
        });
        Ok(())
    }
}
