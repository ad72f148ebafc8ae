//! Opcodes that access memory (SDM vol. 2, appendix A), in the order of its maps.

use super::arithmetic::{Alu, BitOperation, Condition, Rotation};
use super::bits::mask;
use super::decode::{Decoder, Refusal};
use super::instruction::{Count, Instruction, MemoryOperand, Operand, Operation, Repeat};
use crate::registers::{general, segment};

type Decoded = Result<Instruction, Refusal>;

const ACCUMULATOR: Operand = Operand::General(general::RAX as u8);

/// The instruction behind the prefixes.
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

fn with_memory(operation: Operation, size: u8, memory: MemoryOperand, bits: u8) -> Instruction {
    Instruction {
        operands: [Operand::Memory, Operand::None],
        memory: Some(memory),
        address_bits: bits,
        ..Instruction::new(operation, size)
    }
}

/// An instruction whose only operand is memory, from its ModRM.
fn alone(decoder: &Decoder<'_>, operation: Operation, size: u8, memory: MemoryOperand) -> Decoded {
    Ok(with_memory(operation, size, memory, decoder.address_bits()))
}

/// Memory, then a general register.
fn to_memory(decoder: &mut Decoder<'_>, operation: Operation, size: u8) -> Decoded {
    let (register, memory) = decoder.mod_rm_memory()?;
    let operands = [Operand::Memory, decoder.general(register, size)];
    Ok(Instruction { operands, ..alone(decoder, operation, size, memory)? })
}

/// A general register, then memory.
fn from_memory(decoder: &mut Decoder<'_>, operation: Operation, size: u8) -> Decoded {
    let instruction = to_memory(decoder, operation, size)?;
    let [memory, register] = instruction.operands;
    Ok(Instruction { operands: [register, memory], ..instruction })
}

/// Behind ModRM; of 8 bytes it has 4.
fn with_immediate(decoder: &mut Decoder<'_>, instruction: Instruction, size: u8) -> Decoded {
    let immediate = decoder.immediate(size.min(4))?;
    let [destination, _] = instruction.operands;
    Ok(Instruction { operands: [destination, Operand::Immediate], immediate, ..instruction })
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
            let instruction = from_memory(decoder, Operation::MoveSignExtended, size)?;
            Ok(Instruction { memory_size: size.min(4), ..instruction })
        }
        0x68 | 0x6a => push_immediate(decoder, opcode),
        0x69 | 0x6b => {
            let size = decoder.operand_size();
            let operation = Operation::MultiplySigned { has_immediate: true };
            let instruction = from_memory(decoder, operation, size)?;
            let immediate = decoder.immediate(if opcode == 0x6b { 1 } else { size.min(4) })?;
            Ok(Instruction { immediate, ..instruction })
        }
        0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf => Ok(string(decoder, opcode)),
        0x80..=0x83 => group_1(decoder, opcode),
        0x84 | 0x85 => to_memory(decoder, Operation::Test, size),
        0x86 | 0x87 => to_memory(decoder, Operation::Exchange, size),
        0x88 | 0x89 => to_memory(decoder, Operation::Move, size),
        0x8a | 0x8b => from_memory(decoder, Operation::Move, size),
        0x8c => store_segment(decoder),
        0x8f => pop_memory(decoder),
        0xa0..=0xa3 => offset_move(decoder, opcode),
        0xc0 | 0xc1 | 0xd0..=0xd3 => group_2(decoder, opcode),
        0xc2 | 0xc3 => near_return(decoder, opcode),
        0xc6 | 0xc7 => {
            let (register, memory) = decoder.mod_rm_memory()?;
            if register & 7 != 0 {
                return Err(Refusal::Unknown);
            }
            let instruction = alone(decoder, Operation::Move, size, memory)?;
            with_immediate(decoder, instruction, size)
        }
        0xc9 => Ok(Instruction::new(Operation::Leave, decoder.stack_size())),
        0xd7 => Ok(translate(decoder)),
        0xe8 => near_call(decoder),
        0xf6 | 0xf7 => group_3(decoder, opcode),
        0xfe | 0xff => groups_4_and_5(decoder, opcode),
        _ => Err(Refusal::Unknown),
    }
}

fn stack_register(decoder: &Decoder<'_>, opcode: u8) -> Decoded {
    let operation = if opcode < 0x58 { Operation::Push } else { Operation::Pop };
    let operands = [Operand::General(decoder.opcode_register(opcode)), Operand::None];
    Ok(Instruction { operands, ..Instruction::new(operation, decoder.stack_size()) })
}

fn push_immediate(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = decoder.stack_size();
    let immediate = decoder.immediate(if opcode == 0x6a { 1 } else { size.min(4) })?;
    let operands = [Operand::Immediate, Operand::None];
    Ok(Instruction { operands, immediate, ..Instruction::new(Operation::Push, size) })
}

fn near_return(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let immediate = if opcode == 0xc2 { decoder.immediate(2)? & mask(2) } else { 0 };
    Ok(Instruction { immediate, ..Instruction::new(Operation::Return, decoder.branch_size()) })
}

fn near_call(decoder: &mut Decoder<'_>) -> Decoded {
    let size = decoder.branch_size();
    let immediate = decoder.immediate(size.min(4))?;
    let operands = [Operand::Immediate, Operand::None];
    Ok(Instruction { operands, immediate, ..Instruction::new(Operation::Call, size) })
}

fn string(decoder: &Decoder<'_>, opcode: u8) -> Instruction {
    let operation = match opcode {
        0x6c | 0x6d => Operation::InString,
        0x6e | 0x6f => Operation::OutString,
        0xa4 | 0xa5 => Operation::MoveString,
        0xa6 | 0xa7 => Operation::CompareStrings,
        0xaa | 0xab => Operation::StoreString,
        0xac | 0xad => Operation::LoadString,
        _ => Operation::ScanString,
    };
    let is_port = matches!(operation, Operation::InString | Operation::OutString);
    let size = size_of(decoder, opcode);
    let source = match operation {
        Operation::InString | Operation::StoreString | Operation::ScanString => None,
        _ => Some(MemoryOperand::string_source(decoder.segment(segment::DS))),
    };
    Instruction {
        memory: source,
        address_bits: decoder.address_bits(),
        repeat: decoder.prefixes.repeat,
        ..Instruction::new(operation, if is_port { size.min(4) } else { size })
    }
}

fn group_1(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    if opcode == 0x82 && decoder.code_bits == 64 {
        return Err(Refusal::Unknown);
    }
    let size = size_of(decoder, opcode);
    let (register, memory) = decoder.mod_rm_memory()?;
    let operation = Operation::Alu(Alu::from_number(register));
    let instruction = alone(decoder, operation, size, memory)?;
    with_immediate(decoder, instruction, if opcode == 0x83 { 1 } else { size })
}

fn group_2(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = size_of(decoder, opcode);
    let (register, memory) = decoder.mod_rm_memory()?;
    let operation = Operation::Rotate(Rotation::from_number(register));
    let instruction = alone(decoder, operation, size, memory)?;
    match opcode {
        0xc0 | 0xc1 => with_immediate(decoder, instruction, 1),
        0xd0 | 0xd1 => Ok(Instruction { immediate: 1, ..instruction }),
        _ => Ok(Instruction { count: Count::Cl, ..instruction }),
    }
}

fn group_3(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = size_of(decoder, opcode);
    let (register, memory) = decoder.mod_rm_memory()?;
    let operation = match register & 7 {
        0 | 1 => Operation::Test,
        2 => Operation::Not,
        3 => Operation::Neg,
        number @ (4 | 5) => Operation::Multiply { is_signed: number == 5 },
        number => Operation::Divide { is_signed: number == 7 },
    };
    let instruction = alone(decoder, operation, size, memory)?;
    match operation {
        Operation::Test => with_immediate(decoder, instruction, size),
        Operation::Multiply { .. } | Operation::Divide { .. } => {
            Ok(Instruction { operands: [ACCUMULATOR, Operand::Memory], ..instruction })
        }
        _ => Ok(instruction),
    }
}

fn groups_4_and_5(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let (register, memory) = decoder.mod_rm_memory()?;
    let source = [Operand::None, Operand::Memory];
    let branch = decoder.branch_size();
    let (operation, size, operands) = match (opcode, register & 7) {
        (_, 0) => (Operation::Inc, size_of(decoder, opcode), [Operand::Memory, Operand::None]),
        (_, 1) => (Operation::Dec, size_of(decoder, opcode), [Operand::Memory, Operand::None]),
        (0xff, 2) => (Operation::Call, branch, source),
        (0xff, 4) => (Operation::Jump, branch, source),
        (0xff, 6) => (Operation::Push, decoder.stack_size(), source),
        _ => return Err(Refusal::Unknown),
    };
    Ok(Instruction { operands, ..alone(decoder, operation, size, memory)? })
}

fn store_segment(decoder: &mut Decoder<'_>) -> Decoded {
    let (register, memory) = decoder.mod_rm_memory()?;
    let register = register & 7;
    if usize::from(register) > segment::GS {
        return Err(Refusal::Unknown);
    }
    let operands = [Operand::Memory, Operand::Segment(register)];
    Ok(Instruction { operands, ..alone(decoder, Operation::Move, 2, memory)? })
}

fn pop_memory(decoder: &mut Decoder<'_>) -> Decoded {
    let (register, memory) = decoder.mod_rm_memory()?;
    if register & 7 != 0 {
        return Err(Refusal::Unknown);
    }
    alone(decoder, Operation::Pop, decoder.stack_size(), memory)
}

fn offset_move(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let memory = decoder.memory_offset()?;
    let instruction = alone(decoder, Operation::Move, size_of(decoder, opcode), memory)?;
    let operands = match opcode {
        0xa0 | 0xa1 => [ACCUMULATOR, Operand::Memory],
        _ => [Operand::Memory, ACCUMULATOR],
    };
    Ok(Instruction { operands, ..instruction })
}

/// XLAT: AL is the index, zero-extended.
fn translate(decoder: &Decoder<'_>) -> Instruction {
    let memory = MemoryOperand {
        segment: decoder.segment(segment::DS),
        base: Some(general::RBX as u8),
        index: None,
        displacement: 0,
        is_rip_relative: false,
    };
    let bits = decoder.address_bits();
    let operands = [ACCUMULATOR, Operand::Memory];
    Instruction { operands, ..with_memory(Operation::Translate, 1, memory, bits) }
}

fn two_bytes(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let size = decoder.operand_size();
    match opcode {
        0x10 | 0x11 | 0x28 | 0x29 | 0x2b | 0x6e | 0x6f | 0x7e | 0x7f | 0xd6 | 0xe7 | 0xf0 => {
            vector_move(decoder, opcode)
        }
        0x40..=0x4f => from_memory(decoder, Operation::MoveIf(Condition(opcode & 15)), size),
        0x90..=0x9f => {
            let (_, memory) = decoder.mod_rm_memory()?;
            alone(decoder, Operation::SetIf(Condition(opcode & 15)), 1, memory)
        }
        0xa3 => to_memory(decoder, Operation::Bit(BitOperation::Test), size),
        0xab => to_memory(decoder, Operation::Bit(BitOperation::Set), size),
        0xb3 => to_memory(decoder, Operation::Bit(BitOperation::Reset), size),
        0xbb => to_memory(decoder, Operation::Bit(BitOperation::Complement), size),
        0xa4 | 0xa5 | 0xac | 0xad => {
            let operation = Operation::DoubleShift { is_left: opcode < 0xa8 };
            let instruction = to_memory(decoder, operation, size)?;
            if opcode & 1 != 0 {
                return Ok(Instruction { count: Count::Cl, ..instruction });
            }
            Ok(Instruction { immediate: decoder.immediate(1)?, ..instruction })
        }
        0xae => flush_line(decoder),
        0xaf => from_memory(decoder, Operation::MultiplySigned { has_immediate: false }, size),
        0xb0 | 0xb1 => to_memory(decoder, Operation::CompareExchange, size_of(decoder, opcode)),
        0xb6 | 0xb7 | 0xbe | 0xbf => {
            let is_signed = opcode >= 0xbe;
            let operation =
                if is_signed { Operation::MoveSignExtended } else { Operation::MoveZeroExtended };
            let (register, memory) = decoder.mod_rm_memory()?;
            let operands = [Operand::General(register), Operand::Memory];
            let memory_size = 1 + (opcode & 1);
            let instruction = alone(decoder, operation, size, memory)?;
            Ok(Instruction { operands, memory_size, ..instruction })
        }
        0xb8 if decoder.prefixes.repeat == Repeat::WhileEqual => {
            from_memory(decoder, Operation::CountOnes, size)
        }
        0xba => group_8(decoder, size),
        0xbc | 0xbd => {
            let is_count = decoder.prefixes.repeat == Repeat::WhileEqual;
            let operation = match (opcode, is_count) {
                (0xbc, false) => Operation::BitScanForward,
                (0xbc, true) => Operation::CountTrailingZeros,
                (_, false) => Operation::BitScanReverse,
                (_, true) => Operation::CountLeadingZeros,
            };
            from_memory(decoder, operation, size)
        }
        0xc0 | 0xc1 => to_memory(decoder, Operation::ExchangeAdd, size_of(decoder, opcode)),
        // MOVNTI.
        0xc3 if is_bare(decoder) => to_memory(decoder, Operation::Move, size.max(4)),
        0xc7 => {
            let (register, memory) = decoder.mod_rm_memory()?;
            if register & 7 != 1 {
                return Err(Refusal::Unknown);
            }
            let size = if decoder.is_wide() { 8 } else { 4 };
            let instruction = alone(decoder, Operation::CompareExchangePair, size, memory)?;
            Ok(Instruction { memory_size: 2 * size, ..instruction })
        }
        _ => Err(Refusal::Unknown),
    }
}

/// Without any of 66, F2, F3.
fn is_bare(decoder: &Decoder<'_>) -> bool {
    decoder.prefixes.repeat == Repeat::Once && !decoder.prefixes.has_operand_size
}

fn group_8(decoder: &mut Decoder<'_>, size: u8) -> Decoded {
    let (register, memory) = decoder.mod_rm_memory()?;
    let operation = match register & 7 {
        4 => BitOperation::Test,
        5 => BitOperation::Set,
        6 => BitOperation::Reset,
        7 => BitOperation::Complement,
        _ => return Err(Refusal::Unknown),
    };
    let instruction = alone(decoder, Operation::Bit(operation), size, memory)?;
    with_immediate(decoder, instruction, 1)
}

/// CLFLUSH, CLFLUSHOPT (66), CLWB (66, /6).
fn flush_line(decoder: &mut Decoder<'_>) -> Decoded {
    let is_66 = decoder.prefixes.has_operand_size;
    let is_repeat = decoder.prefixes.repeat != Repeat::Once;
    let (register, memory) = decoder.mod_rm_memory()?;
    match register & 7 {
        6 if is_66 && !is_repeat => {}
        7 if !is_repeat => {}
        _ => return Err(Refusal::Unknown),
    }
    let operands = [Operand::None, Operand::Memory];
    Ok(Instruction { operands, ..alone(decoder, Operation::FlushLine, 1, memory)? })
}

/// Moves of 4, 8 and 16 bytes between memory and XMM registers.
fn vector_move(decoder: &mut Decoder<'_>, opcode: u8) -> Decoded {
    let repeat = decoder.prefixes.repeat;
    let has_66 = decoder.prefixes.has_operand_size;
    let word = if decoder.is_wide() { 8 } else { 4 };
    let (size, must_be_aligned, is_load) = match (opcode, repeat, has_66) {
        (0x10 | 0x11, Repeat::Once, _) => (16, false, opcode == 0x10),
        (0x10 | 0x11, Repeat::WhileEqual, _) => (4, false, opcode == 0x10),
        (0x10 | 0x11, Repeat::WhileNotEqual, _) => (8, false, opcode == 0x10),
        (0x28 | 0x29, Repeat::Once, _) => (16, true, opcode == 0x28),
        (0x2b, Repeat::Once, _) => (16, true, false),
        (0x6e | 0x7e, Repeat::Once, true) => (word, false, opcode == 0x6e),
        (0x7e, Repeat::WhileEqual, _) => (8, false, true),
        (0x6f | 0x7f, Repeat::Once, true) => (16, true, opcode == 0x6f),
        (0x6f | 0x7f, Repeat::WhileEqual, _) => (16, false, opcode == 0x6f),
        (0xd6, Repeat::Once, true) => (8, false, false),
        (0xe7, Repeat::Once, true) => (16, true, false),
        (0xf0, Repeat::WhileNotEqual, _) => (16, false, true),
        _ => return Err(Refusal::Unknown),
    };
    let (register, memory) = decoder.mod_rm_memory()?;
    let register = Operand::Vector(register);
    let operands = if is_load { [register, Operand::Memory] } else { [Operand::Memory, register] };
    let operation = Operation::MoveVector { must_be_aligned };
    Ok(Instruction { operands, ..alone(decoder, operation, size, memory)? })
}

/// 0F 38.
fn three_bytes(decoder: &mut Decoder<'_>) -> Decoded {
    let size = decoder.operand_size();
    match (decoder.byte()?, decoder.prefixes.repeat) {
        // MOVNTDQA.
        (0x2a, Repeat::Once) if decoder.prefixes.has_operand_size => {
            let (register, memory) = decoder.mod_rm_memory()?;
            let operation = Operation::MoveVector { must_be_aligned: true };
            let operands = [Operand::Vector(register), Operand::Memory];
            Ok(Instruction { operands, ..alone(decoder, operation, 16, memory)? })
        }
        (0xf0, Repeat::Once) => from_memory(decoder, Operation::MoveByteSwapped, size),
        (0xf1, Repeat::Once) => to_memory(decoder, Operation::MoveByteSwapped, size),
        (opcode @ (0xf0 | 0xf1), Repeat::WhileNotEqual) => {
            let (register, memory) = decoder.mod_rm_memory()?;
            let operands = [Operand::General(register), Operand::Memory];
            let memory_size = size_of(decoder, opcode);
            let size = if decoder.is_wide() { 8 } else { 4 };
            let instruction = alone(decoder, Operation::Crc32, size, memory)?;
            Ok(Instruction { operands, memory_size, ..instruction })
        }
        _ => Err(Refusal::Unknown),
    }
}
