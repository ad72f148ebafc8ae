//! Random instructions on random registers and memory: ours leaves what the host's processor
//! leaves, but for flags that the manual calls undefined (SDM vol. 1, appendix A).

use crate::guest::TestGuest;
use crate::processor::{DATA_BYTES, Processor, Registers};
use crate::seed::{Random, for_each_seed};
use vmm_common::registers::{INSTRUCTION_BYTES, general};
use vmm_common::x86::arithmetic::{Alu, Rotation};
use vmm_common::x86::flag::{AF, CF, DF, OF, PF, SF, STATUS, ZF};
use vmm_common::x86::{
    Count, Instruction, Operand, Operation, Outcome, Reads, Repeat, carry_out, decode,
};

const SEEDS: u64 = 64;
const INSTRUCTIONS: u64 = 4_000;
const RSP: u8 = general::RSP as u8;
const RCX: usize = general::RCX;

/// Whether the host has it, and executing it outside of this program's control does no harm.
fn is_executable(instruction: &Instruction) -> bool {
    let uses = |register| match register {
        Operand::General(index) => index == RSP,
        Operand::Segment(_) => true,
        _ => false,
    };
    let memory = instruction.memory;
    let is_ours = memory.is_none_or(|memory| {
        memory.base != Some(RSP) && !memory.is_rip_relative && memory.segment < 4
    });
    let has = |is_there: bool| is_there && is_ours && !instruction.operands.into_iter().any(uses);
    match instruction.operation {
        Operation::Push | Operation::Pop | Operation::Call | Operation::Jump => false,
        Operation::Return | Operation::Leave | Operation::FlushLine => false,
        Operation::InString | Operation::OutString => false,
        Operation::CountOnes => has(is_x86_feature_detected!("popcnt")),
        Operation::CountLeadingZeros => has(is_x86_feature_detected!("lzcnt")),
        Operation::CountTrailingZeros => has(is_x86_feature_detected!("bmi1")),
        Operation::MoveByteSwapped => has(is_x86_feature_detected!("movbe")),
        Operation::Crc32 => has(is_x86_feature_detected!("sse4.2")),
        Operation::MoveVector { .. } => has(is_x86_feature_detected!("sse4.1")),
        Operation::CompareExchangePair => has(is_x86_feature_detected!("cmpxchg16b")),
        _ => has(true),
    }
}

/// Flags that the instruction leaves undefined, `count` being that of a shift.
fn undefined(instruction: &Instruction, count: u32) -> u64 {
    let overflow = if count == 1 { 0 } else { OF };
    let bits = 8 * u32::from(instruction.size);
    match instruction.operation {
        Operation::Alu(Alu::And | Alu::Or | Alu::Xor) | Operation::Test => AF,
        Operation::Rotate(_) | Operation::DoubleShift { .. } if count == 0 => 0,
        Operation::Rotate(Rotation::Shl | Rotation::Shr | Rotation::Sar) => {
            AF | overflow | if count >= bits { CF } else { 0 }
        }
        Operation::Rotate(_) => overflow,
        Operation::DoubleShift { .. } => AF | overflow,
        Operation::Bit(_) => OF | SF | AF | PF,
        Operation::Multiply { .. } | Operation::MultiplySigned { .. } => SF | ZF | AF | PF,
        Operation::Divide { .. } => STATUS,
        Operation::BitScanForward | Operation::BitScanReverse => STATUS & !ZF,
        Operation::CountTrailingZeros | Operation::CountLeadingZeros => OF | SF | PF | AF,
        _ => 0,
    }
}

fn count(instruction: &Instruction, general: &[u64; 16]) -> u32 {
    let count = match instruction.count {
        Count::Cl => general[RCX],
        Count::Immediate => instruction.immediate,
    };
    count as u32 & if instruction.size == 8 { 0x3f } else { 0x1f }
}

/// Registers with which the memory operands lie in the data, in most cases.
fn registers(random: &Random, instruction: &Instruction, data: u64) -> [u64; 16] {
    let mut registers = [0; 16];
    registers.fill_with(|| random.any());
    let target =
        |random: &Random| data + (256 + random.below(3584)) / 4 * 4 + random.pick(&[0, 0, 1]);
    if instruction.repeat != Repeat::Once {
        registers[RCX] = random.below(6);
    }
    if let Operation::Bit(_) = instruction.operation
        && let [_, Operand::General(index)] = instruction.operands
    {
        registers[usize::from(index)] = random.below(3000).wrapping_sub(1500);
    }
    if instruction.memory.is_none_or(|memory| memory.base == Some(general::RSI as u8)) {
        registers[general::RDI] = target(random);
    }
    let Some(memory) = instruction.memory else { return registers };
    let mut rest = target(random).wrapping_sub(memory.displacement);
    if instruction.operation == Operation::Translate {
        rest = rest.wrapping_sub(registers[0] & 0xff);
    }
    match (memory.base, memory.index) {
        (Some(base), index) => {
            if let Some((index, scale)) = index {
                rest = rest.wrapping_sub(registers[usize::from(index)] << scale);
            }
            registers[usize::from(base)] = rest;
        }
        (None, Some((index, scale))) => registers[usize::from(index)] = rest >> scale,
        (None, None) => {}
    }
    registers
}

/// All elements of it; None: it raises an exception or leaves the data.
fn ours(guest: &mut TestGuest, instruction: &Instruction) -> Option<()> {
    let start = guest.rip;
    loop {
        match carry_out(guest, instruction, &Reads::NONE, None) {
            Outcome::Done { next_rip, writes } if writes.is_empty() => {
                if next_rip != start {
                    assert_eq!(next_rip, start + u64::from(instruction.len));
                    return Some(());
                }
            }
            _ => return None,
        }
    }
}

fn bytes(random: &Random) -> [u8; INSTRUCTION_BYTES] {
    let mut bytes = [0; INSTRUCTION_BYTES];
    bytes.fill_with(|| random.next() as u8);
    let prefix = random.pick(&[0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x4c, 0x49, 0x41, 0x40]);
    let prefixes = [prefix, 0x48, 0x0f, 0x38].into_iter().filter(|_| random.once_in(3));
    for (slot, byte) in bytes.iter_mut().zip(prefixes) {
        *slot = byte;
    }
    bytes
}

/// True if it was compared.
fn check(random: &Random, processor: &Processor) -> bool {
    let bytes = bytes(random);
    let Ok(instruction) = decode(64, &bytes) else { return false };
    if !is_executable(&instruction) {
        return false;
    }
    let mut guest = TestGuest::new(processor.data_address(), DATA_BYTES);
    guest.ram.bytes.borrow_mut().fill_with(|| random.next() as u8);
    guest.general = registers(random, &instruction, guest.ram.base);
    guest.vectors.fill_with(|| u128::from(random.next()) << 64 | u128::from(random.next()));
    guest.rflags = 0x202 | (random.next() & (STATUS | DF));
    // Where a comparison is to succeed.
    if random.flip() {
        let at = random.below(DATA_BYTES as u64 / 64) as usize * 64;
        let accumulator = guest.general[general::RAX].to_le_bytes();
        guest.ram.bytes.borrow_mut()[at..]
            .chunks_exact_mut(8)
            .for_each(|word| word.copy_from_slice(&accumulator));
    }
    let shift = count(&instruction, &guest.general);
    if matches!(instruction.operation, Operation::DoubleShift { .. })
        && shift > 8 * u32::from(instruction.size)
    {
        return false; // an undefined result
    }
    let before = guest.clone();
    if ours(&mut guest, &instruction).is_none() {
        return false;
    }
    let mut theirs = Registers::new(before.general, before.rflags, before.vectors);
    let mut data = before.ram.bytes.borrow().clone();
    processor.execute(&bytes[..instruction.len.into()], &mut theirs, &mut data);
    let name = format!("{:02x?} {instruction:?}\nbefore {:x?}", &bytes, before.general);
    let known = !undefined(&instruction, shift) & (STATUS | DF);
    assert_eq!(guest.general, theirs.general, "{name}");
    assert_eq!(guest.rflags & known, theirs.rflags & known, "flags of {name}");
    assert_eq!(guest.vectors, theirs.vectors, "{name}");
    assert_eq!(*guest.ram.bytes.borrow(), data, "{name}");
    true
}

#[test]
fn random_instructions_leave_what_the_hosts_processor_leaves() {
    let processor = Processor::new();
    let compared = std::cell::Cell::new(0);
    for_each_seed(SEEDS, |random| {
        for _ in 0..INSTRUCTIONS {
            compared.set(compared.get() + u64::from(check(random, &processor)));
        }
    });
    println!("{} instructions compared", compared.get());
}
