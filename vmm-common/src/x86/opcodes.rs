//! Opcodes that access memory (SDM vol. 2, appendix A), in the order of its maps.

use super::arithmetic::{Alu, BitOperation, Condition, Rotation};
use super::bits::mask;
use super::decode::{Decoder, Refusal};
use super::instruction::{Count, MemoryOperand, Operand, Operation, Repeat};
use crate::registers::{general, segment};

mod vector;

type Decoded = Result<(), Refusal>;

const ACCUMULATOR: Operand = Operand::General(general::RAX as u8);

/// The instruction after the prefixes.
pub(super) fn instruction(decoder: &mut Decoder<'_>) -> Decoded {
    match decoder.byte()? {
        0x0f => match decoder.byte()? {
            0x38 => three_bytes(decoder),
            opcode => two_bytes(decoder, opcode),
        },
        opcode => one_byte(decoder, opcode),
    }
}

/// Whether LOCK is allowed where the destination is memory (SDM vol. 2, LOCK).
pub(super) const fn can_lock(operation: Operation) -> bool {
    match operation {
        Operation::Alu(alu) => !matches!(alu, Alu::Cmp),
        Operation::Bit(bit) => !matches!(bit, BitOperation::Test),
        Operation::Inc | Operation::Dec | Operation::Not | Operation::Neg => true,
        Operation::Exchange | Operation::ExchangeAdd => true,
        Operation::CompareExchange | Operation::CompareExchangePair => true,
        _ => false,
    }
}

/// Bytes of the operand: one if the opcode's lowest bit is clear.
fn size_of(decoder: &Decoder<'_>, opcode: u8) -> u8 {
    if opcode & 1 == 0 { 1 } else { decoder.operand_size() }
}

/// Memory, and nothing else.
fn alone(decoder: &mut Decoder<'_>, operation: Operation, size: u8) -> Decoded {
    decoder.set(operation, size, [Operand::Memory, Operand::None]);
    Ok(())
}

/// Memory, then a general register.
fn to_memory(decoder: &mut Decoder<'_>, operation: Operation, size: u8) -> Decoded {
    let register = decoder.mod_rm()?;
    decoder.set(operation, size, [Operand::Memory, decoder.general(register, size)]);
    Ok(())
}

/// A general register, then memory.
fn from_memory(decoder: &mut Decoder<'_>, operation: Operation, size: u8) -> Decoded {
    let register = decoder.mod_rm()?;
    decoder.set(operation, size, [decoder.general(register, size), Operand::Memory]);
    Ok(())
}

/// A general register, then memory of another size.
fn extended(decoder: &mut Decoder<'_>, operation: Operation, size: u8, from: u8) -> Decoded {
    let register = decoder.mod_rm()?;
    decoder.set(operation, size, [Operand::General(register), Operand::Memory]);
    decoder.instruction.memory_size = from;
    Ok(())
}

/// Memory, then an immediate, which of 8 bytes has 4.
fn with_immediate(
    decoder: &mut Decoder<'_>,
    operation: Operation,
    size: u8,
    immediate: u8,
) -> Decoded {
    decoder.set(operation, size, [Operand::Memory, Operand::Immediate]);
    decoder.instruction.immediate = decoder.immediate(immediate.min(4))?;
    Ok(())
}

fn one_byte(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = size_of(decoder, opcode);
    match opcode {
        0x00..=0x3f if opcode & 7 < 2 => {
            to_memory(decoder, Operation::Alu(Alu::from_number(opcode >> 3)), size)
        }
        0x00..=0x3f if opcode & 7 < 4 => {
            from_memory(decoder, Operation::Alu(Alu::from_number(opcode >> 3)), size)
        }
        0x50..=0x5f => stack_register(decoder, opcode),
        0x63 if decoder.code_bits == 64 => {
            let size = decoder.operand_size();
            extended(decoder, Operation::MoveSignExtended, size, size.min(4))
        }
        0x68 | 0x6a => push_immediate(decoder, opcode),
        0x69 | 0x6b => {
            let size = decoder.operand_size();
            from_memory(decoder, Operation::MultiplySigned { has_immediate: true }, size)?;
            let immediate = if opcode == 0x6b { 1 } else { size.min(4) };
            decoder.instruction.immediate = decoder.immediate(immediate)?;
            Ok(())
        }
        0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf => string(decoder, opcode),
        0x80..=0x83 => group_1(decoder, opcode),
        0x84 | 0x85 => to_memory(decoder, Operation::Test, size),
        0x86 | 0x87 => to_memory(decoder, Operation::Exchange, size),
        0x88 | 0x89 => to_memory(decoder, Operation::Move, size),
        0x8a | 0x8b => from_memory(decoder, Operation::Move, size),
        0x8c => store_segment(decoder),
        0x8f => match decoder.mod_rm()? & 7 {
            0 => alone(decoder, Operation::Pop, decoder.stack_size()),
            _ => Err(Refusal::Unknown),
        },
        0xa0..=0xa3 => offset_move(decoder, opcode),
        0xc0 | 0xc1 | 0xd0..=0xd3 => group_2(decoder, opcode),
        0xc2 | 0xc3 => near_return(decoder, opcode),
        0xc6 | 0xc7 => match decoder.mod_rm()? & 7 {
            0 => with_immediate(decoder, Operation::Move, size, size),
            _ => Err(Refusal::Unknown),
        },
        0xc9 => {
            decoder.set(Operation::Leave, decoder.stack_size(), [Operand::None; 2]);
            Ok(())
        }
        0xd7 => translate(decoder),
        0xe8 => near_call(decoder),
        0xf6 | 0xf7 => group_3(decoder, opcode),
        0xfe | 0xff => groups_4_and_5(decoder, opcode),
        _ => Err(Refusal::Unknown),
    }
}

fn stack_register(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let operation = if opcode < 0x58 { Operation::Push } else { Operation::Pop };
    let register = Operand::General(decoder.opcode_register(opcode));
    decoder.set(operation, decoder.stack_size(), [register, Operand::None]);
    Ok(())
}

fn push_immediate(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = decoder.stack_size();
    decoder.set(Operation::Push, size, [Operand::Immediate, Operand::None]);
    let immediate = if opcode == 0x6a { 1 } else { size.min(4) };
    decoder.instruction.immediate = decoder.immediate(immediate)?;
    Ok(())
}

fn near_return(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    decoder.set(Operation::Return, decoder.branch_size(), [Operand::None; 2]);
    if opcode == 0xc2 {
        decoder.instruction.immediate = decoder.immediate(2)? & mask(2);
    }
    Ok(())
}

fn near_call(decoder: &mut Decoder<'_>) -> Decoded {
    let size = decoder.branch_size();
    decoder.set(Operation::Call, size, [Operand::Immediate, Operand::None]);
    decoder.instruction.immediate = decoder.immediate(size.min(4))?;
    Ok(())
}

fn string(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = size_of(decoder, opcode);
    let source = MemoryOperand::string_source(decoder.segment(segment::DS));
    let (operation, size, source) = match opcode {
        0x6c | 0x6d => (Operation::InString, size.min(4), None),
        0x6e | 0x6f => (Operation::OutString, size.min(4), Some(source)),
        0xa4 | 0xa5 => (Operation::MoveString, size, Some(source)),
        0xa6 | 0xa7 => (Operation::CompareStrings, size, Some(source)),
        0xaa | 0xab => (Operation::StoreString, size, None),
        0xac | 0xad => (Operation::LoadString, size, Some(source)),
        _ => (Operation::ScanString, size, None),
    };
    decoder.set(operation, size, [Operand::None; 2]);
    decoder.instruction.memory = source;
    decoder.instruction.repeat = decoder.prefixes.repeat;
    Ok(())
}

fn group_1(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    if opcode == 0x82 && decoder.code_bits == 64 {
        return Err(Refusal::Unknown);
    }
    let size = size_of(decoder, opcode);
    let operation = Operation::Alu(Alu::from_number(decoder.mod_rm()?));
    with_immediate(decoder, operation, size, if opcode == 0x83 { 1 } else { size })
}

fn group_2(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = size_of(decoder, opcode);
    let operation = Operation::Rotate(Rotation::from_number(decoder.mod_rm()?));
    if matches!(opcode, 0xc0 | 0xc1) {
        return with_immediate(decoder, operation, size, 1);
    }
    if matches!(opcode, 0xd0 | 0xd1) {
        decoder.set(operation, size, [Operand::Memory, Operand::Immediate]);
        decoder.instruction.immediate = 1;
        return Ok(());
    }
    decoder.instruction.count = Count::Cl;
    alone(decoder, operation, size)
}

fn group_3(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = size_of(decoder, opcode);
    let operation = match decoder.mod_rm()? & 7 {
        0 | 1 => return with_immediate(decoder, Operation::Test, size, size),
        2 => return alone(decoder, Operation::Not, size),
        3 => return alone(decoder, Operation::Neg, size),
        number @ (4 | 5) => Operation::Multiply { is_signed: number == 5 },
        number => Operation::Divide { is_signed: number == 7 },
    };
    decoder.set(operation, size, [ACCUMULATOR, Operand::Memory]);
    Ok(())
}

fn groups_4_and_5(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let (operation, size) = match (opcode, decoder.mod_rm()? & 7) {
        (_, 0) => return alone(decoder, Operation::Inc, size_of(decoder, opcode)),
        (_, 1) => return alone(decoder, Operation::Dec, size_of(decoder, opcode)),
        (0xff, 2) => (Operation::Call, decoder.branch_size()),
        (0xff, 4) => (Operation::Jump, decoder.branch_size()),
        (0xff, 6) => (Operation::Push, decoder.stack_size()),
        _ => return Err(Refusal::Unknown),
    };
    decoder.set(operation, size, [Operand::None, Operand::Memory]);
    Ok(())
}

fn store_segment(decoder: &mut Decoder<'_>) -> Decoded {
    let register = decoder.mod_rm()? & 7;
    if usize::from(register) > segment::GS {
        return Err(Refusal::Unknown);
    }
    decoder.set(Operation::Move, 2, [Operand::Memory, Operand::Segment(register)]);
    Ok(())
}

fn offset_move(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    decoder.memory_offset()?;
    let operands = match opcode {
        0xa0 | 0xa1 => [ACCUMULATOR, Operand::Memory],
        _ => [Operand::Memory, ACCUMULATOR],
    };
    decoder.set(Operation::Move, size_of(decoder, opcode), operands);
    Ok(())
}

/// XLAT: AL is the index, zero-extended.
fn translate(decoder: &mut Decoder<'_>) -> Decoded {
    let segment = decoder.segment(segment::DS);
    decoder.instruction.memory = Some(MemoryOperand::register(segment, general::RBX as u8));
    decoder.set(Operation::Translate, 1, [ACCUMULATOR, Operand::Memory]);
    Ok(())
}

fn two_bytes(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = decoder.operand_size();
    let is_repe = decoder.prefixes.repeat == Repeat::WhileEqual;
    match opcode {
        0x10 | 0x11 | 0x28 | 0x29 | 0x2b | 0x6e | 0x6f | 0x7e | 0x7f | 0xd6 | 0xe7 | 0xf0 => {
            vector::two_bytes(decoder, opcode)
        }
        0x40..=0x4f => from_memory(decoder, Operation::MoveIf(Condition(opcode & 15)), size),
        0x90..=0x9f => {
            decoder.mod_rm()?;
            alone(decoder, Operation::SetIf(Condition(opcode & 15)), 1)
        }
        0xa3 => to_memory(decoder, Operation::Bit(BitOperation::Test), size),
        0xab => to_memory(decoder, Operation::Bit(BitOperation::Set), size),
        0xb3 => to_memory(decoder, Operation::Bit(BitOperation::Reset), size),
        0xbb => to_memory(decoder, Operation::Bit(BitOperation::Complement), size),
        0xa4 | 0xa5 | 0xac | 0xad => double_shift(decoder, opcode),
        0xae => flush_line(decoder),
        0xaf => from_memory(decoder, Operation::MultiplySigned { has_immediate: false }, size),
        0xb0 | 0xb1 => to_memory(decoder, Operation::CompareExchange, size_of(decoder, opcode)),
        0xb6 | 0xb7 => extended(decoder, Operation::MoveZeroExtended, size, 1 + (opcode & 1)),
        0xb8 if is_repe => from_memory(decoder, Operation::CountOnes, size),
        0xba => group_8(decoder, size),
        0xbc if is_repe => from_memory(decoder, Operation::CountTrailingZeros, size),
        0xbc => from_memory(decoder, Operation::BitScanForward, size),
        0xbd if is_repe => from_memory(decoder, Operation::CountLeadingZeros, size),
        0xbd => from_memory(decoder, Operation::BitScanReverse, size),
        0xbe | 0xbf => extended(decoder, Operation::MoveSignExtended, size, 1 + (opcode & 1)),
        0xc0 | 0xc1 => to_memory(decoder, Operation::ExchangeAdd, size_of(decoder, opcode)),
        // MOVNTI.
        0xc3 if is_bare(decoder) => to_memory(decoder, Operation::Move, size.max(4)),
        0xc7 => group_9(decoder),
        _ => Err(Refusal::Unknown),
    }
}

/// Without any of 66, F2, F3.
fn is_bare(decoder: &Decoder<'_>) -> bool {
    decoder.prefixes.repeat == Repeat::Once && !decoder.prefixes.has_operand_size
}

fn double_shift(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let operation = Operation::DoubleShift { is_left: opcode < 0xa8 };
    to_memory(decoder, operation, decoder.operand_size())?;
    if opcode & 1 != 0 {
        decoder.instruction.count = Count::Cl;
    } else {
        decoder.instruction.immediate = decoder.immediate(1)?;
    }
    Ok(())
}

fn group_8(decoder: &mut Decoder<'_>, size: u8) -> Decoded {
    let operation = match decoder.mod_rm()? & 7 {
        4 => BitOperation::Test,
        5 => BitOperation::Set,
        6 => BitOperation::Reset,
        7 => BitOperation::Complement,
        _ => return Err(Refusal::Unknown),
    };
    with_immediate(decoder, Operation::Bit(operation), size, 1)
}

/// CMPXCHG8B, CMPXCHG16B.
fn group_9(decoder: &mut Decoder<'_>) -> Decoded {
    if decoder.mod_rm()? & 7 != 1 {
        return Err(Refusal::Unknown);
    }
    let size = if decoder.is_wide() { 8 } else { 4 };
    alone(decoder, Operation::CompareExchangePair, size)?;
    decoder.instruction.memory_size = 2 * size;
    Ok(())
}

/// CLFLUSH, CLFLUSHOPT (66), CLWB (66, /6).
fn flush_line(decoder: &mut Decoder<'_>) -> Decoded {
    let has_66 = decoder.prefixes.has_operand_size;
    let is_repeat = decoder.prefixes.repeat != Repeat::Once;
    match decoder.mod_rm()? & 7 {
        6 if has_66 && !is_repeat => {}
        7 if !is_repeat => {}
        _ => return Err(Refusal::Unknown),
    }
    decoder.set(Operation::FlushLine, 1, [Operand::None, Operand::Memory]);
    Ok(())
}

/// 0F 38.
fn three_bytes(decoder: &mut Decoder<'_>) -> Decoded {
    let size = decoder.operand_size();
    match (decoder.byte()?, decoder.prefixes.repeat) {
        (0x2a, Repeat::Once) if decoder.prefixes.has_operand_size => vector::load_aligned(decoder),
        (0xf0, Repeat::Once) => from_memory(decoder, Operation::MoveByteSwapped, size),
        (0xf1, Repeat::Once) => to_memory(decoder, Operation::MoveByteSwapped, size),
        (opcode @ (0xf0 | 0xf1), Repeat::WhileNotEqual) => {
            let from = size_of(decoder, opcode);
            extended(decoder, Operation::Crc32, if decoder.is_wide() { 8 } else { 4 }, from)
        }
        _ => Err(Refusal::Unknown),
    }
}
