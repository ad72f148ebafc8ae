//! An instruction of iced-x86's as one of ours, if it is one of those that are carried out.

use iced_x86::{Code, Instruction as Theirs, Mnemonic, OpKind, Register};
use vmm_common::registers::{general, segment};
use vmm_common::x86::arithmetic::{Alu, BitOperation, Condition, Rotation};
use vmm_common::x86::{Count, Instruction, MemoryOperand, Operand, Operation, Repeat};

const ACCUMULATOR: Operand = Operand::General(general::RAX as u8);

fn mask(bytes: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(bytes.min(8)))
}

/// Less what two spellings of one instruction differ in.
pub fn normal(instruction: Instruction) -> Instruction {
    let mut normal = instruction;
    normal.immediate &= match instruction.operation {
        Operation::Rotate(_) | Operation::DoubleShift { .. } | Operation::Bit(_) => mask(1),
        _ => mask(instruction.size),
    };
    if let Some(memory) = &mut normal.memory {
        memory.displacement &= mask(instruction.address_bits / 8);
    }
    if instruction.memory.is_none() && !is_string(instruction.operation) {
        normal.address_bits = 0;
    }
    normal
}

fn is_string(operation: Operation) -> bool {
    use Operation::{
        CompareStrings, InString, LoadString, MoveString, OutString, ScanString, StoreString,
    };
    let strings =
        [CompareStrings, InString, LoadString, MoveString, OutString, ScanString, StoreString];
    strings.contains(&operation)
}

/// None: not one of ours.
pub fn translated(theirs: &Theirs, bits: u8) -> Option<Instruction> {
    if theirs.code() == Code::INVALID {
        return None;
    }
    let operation = operation(theirs)?;
    let name = format!("{:?}", theirs.code());
    if name.starts_with("Call_m") || name.starts_with("Jmp_m") {
        return None; // far
    }
    let memory_bytes = u8::try_from(theirs.memory_size().size()).ok()?;
    let is_stack = is_stack(theirs.code());
    if memory_bytes == 0 && !is_stack {
        return None;
    }
    let has_memory = theirs.op_kinds().any(|kind| kind == OpKind::Memory);
    let is_register = name.contains("_rm") && !has_memory;
    if is_register || (!has_memory && !is_stack && !is_string(operation)) {
        return None;
    }
    let mut ours = Instruction::new(operation, size(theirs, operation, memory_bytes));
    ours.memory_size = match operation {
        Operation::FlushLine => 1,
        _ if is_stack => ours.size,
        _ => memory_bytes,
    };
    ours.len = theirs.len() as u8;
    ours.is_locked = theirs.has_lock_prefix();
    ours.address_bits = 0;
    if has_memory {
        ours.memory = Some(memory(theirs, bits));
        ours.address_bits = address_bits(theirs);
    }
    if is_string(operation) {
        string(theirs, bits, &mut ours);
    } else {
        operands(theirs, &mut ours);
    }
    Some(normal(ours))
}

fn operation(theirs: &Theirs) -> Option<Operation> {
    use Mnemonic as M;
    let is_string = theirs.op_kinds().any(|kind| {
        !matches!(kind, OpKind::Memory | OpKind::Register)
            && format!("{kind:?}").starts_with("Memory")
    });
    let vector = |must_be_aligned| Operation::MoveVector { must_be_aligned };
    Some(match theirs.mnemonic() {
        M::Add => Operation::Alu(Alu::Add),
        M::Or => Operation::Alu(Alu::Or),
        M::Adc => Operation::Alu(Alu::Adc),
        M::Sbb => Operation::Alu(Alu::Sbb),
        M::And => Operation::Alu(Alu::And),
        M::Sub => Operation::Alu(Alu::Sub),
        M::Xor => Operation::Alu(Alu::Xor),
        M::Cmp => Operation::Alu(Alu::Cmp),
        M::Test => Operation::Test,
        M::Inc => Operation::Inc,
        M::Dec => Operation::Dec,
        M::Not => Operation::Not,
        M::Neg => Operation::Neg,
        M::Rol => Operation::Rotate(Rotation::Rol),
        M::Ror => Operation::Rotate(Rotation::Ror),
        M::Rcl => Operation::Rotate(Rotation::Rcl),
        M::Rcr => Operation::Rotate(Rotation::Rcr),
        M::Shl | M::Sal => Operation::Rotate(Rotation::Shl),
        M::Shr => Operation::Rotate(Rotation::Shr),
        M::Sar => Operation::Rotate(Rotation::Sar),
        M::Shld => Operation::DoubleShift { is_left: true },
        M::Shrd => Operation::DoubleShift { is_left: false },
        M::Bt => Operation::Bit(BitOperation::Test),
        M::Bts => Operation::Bit(BitOperation::Set),
        M::Btr => Operation::Bit(BitOperation::Reset),
        M::Btc => Operation::Bit(BitOperation::Complement),
        M::Bsf => Operation::BitScanForward,
        M::Bsr => Operation::BitScanReverse,
        M::Tzcnt => Operation::CountTrailingZeros,
        M::Lzcnt => Operation::CountLeadingZeros,
        M::Popcnt => Operation::CountOnes,
        M::Crc32 => Operation::Crc32,
        M::Mul => Operation::Multiply { is_signed: false },
        M::Imul if theirs.op_count() == 1 => Operation::Multiply { is_signed: true },
        M::Imul => Operation::MultiplySigned { has_immediate: theirs.op_count() == 3 },
        M::Div => Operation::Divide { is_signed: false },
        M::Idiv => Operation::Divide { is_signed: true },
        M::Xchg => Operation::Exchange,
        M::Xadd => Operation::ExchangeAdd,
        M::Cmpxchg => Operation::CompareExchange,
        M::Cmpxchg8b | M::Cmpxchg16b => Operation::CompareExchangePair,
        M::Mov if is_system(theirs) => return None,
        M::Mov | M::Movnti => Operation::Move,
        M::Movzx => Operation::MoveZeroExtended,
        M::Movsx | M::Movsxd => Operation::MoveSignExtended,
        M::Movbe => Operation::MoveByteSwapped,
        M::Xlatb => Operation::Translate,
        M::Clflush | M::Clflushopt | M::Clwb => Operation::FlushLine,
        M::Push if theirs.op_kind(0) == OpKind::Register && is_segment(theirs.op0_register()) => {
            return None;
        }
        M::Pop if theirs.op_kind(0) == OpKind::Register && is_segment(theirs.op0_register()) => {
            return None;
        }
        M::Push => Operation::Push,
        M::Pop => Operation::Pop,
        M::Call => Operation::Call,
        M::Jmp => Operation::Jump,
        M::Ret => Operation::Return,
        M::Leave => Operation::Leave,
        M::Movsb | M::Movsw | M::Movsq => Operation::MoveString,
        M::Movsd if is_string => Operation::MoveString,
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => Operation::StoreString,
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => Operation::LoadString,
        M::Cmpsb | M::Cmpsw | M::Cmpsq => Operation::CompareStrings,
        M::Cmpsd if is_string => Operation::CompareStrings,
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => Operation::ScanString,
        M::Insb | M::Insw | M::Insd => Operation::InString,
        M::Outsb | M::Outsw | M::Outsd => Operation::OutString,
        M::Movups | M::Movupd | M::Movss | M::Movsd | M::Movdqu | M::Lddqu => vector(false),
        M::Movd | M::Movq if is_xmm(theirs) => vector(false),
        M::Movaps | M::Movapd | M::Movntps | M::Movntpd => vector(true),
        M::Movdqa | M::Movntdq | M::Movntdqa => vector(true),
        _ => return condition(theirs),
    })
}

/// CMOVcc and SETcc: iced numbers the conditions from 1 on.
fn condition(theirs: &Theirs) -> Option<Operation> {
    let name = format!("{:?}", theirs.mnemonic());
    let condition = Condition((theirs.condition_code() as u8).wrapping_sub(1));
    if name.starts_with("Cmov") {
        Some(Operation::MoveIf(condition))
    } else if name.starts_with("Set") && !name.starts_with("Setssbsy") {
        Some(Operation::SetIf(condition))
    } else {
        None
    }
}

fn is_segment(register: Register) -> bool {
    register.is_segment_register()
}

/// MOV to a segment, from and to control and debug registers.
fn is_system(theirs: &Theirs) -> bool {
    let register = theirs.op0_register();
    register.is_segment_register() || register.is_cr() || register.is_dr()
}

fn is_xmm(theirs: &Theirs) -> bool {
    theirs.op0_register().is_xmm() || theirs.op1_register().is_xmm()
}

/// Those that use the stack, near branches among them.
fn is_stack(code: Code) -> bool {
    let name = format!("{code:?}");
    let begins = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
    let others = ["Pusha", "Popa", "Pushf", "Popf", "Popcnt", "Call_ptr", "Call_m", "Jmp_m"];
    begins(&["Push", "Pop", "Call_", "Jmp_rm", "Retn", "Leave"]) && !begins(&others)
}

fn size(theirs: &Theirs, operation: Operation, memory_bytes: u8) -> u8 {
    match operation {
        Operation::Push | Operation::Pop | Operation::Call | Operation::Jump => stack(theirs),
        Operation::Return | Operation::Leave => stack(theirs),
        Operation::CompareExchangePair => memory_bytes / 2,
        Operation::FlushLine => 1,
        Operation::MoveZeroExtended | Operation::MoveSignExtended | Operation::Crc32 => {
            theirs.op0_register().size() as u8
        }
        _ => memory_bytes,
    }
}

fn stack(theirs: &Theirs) -> u8 {
    match theirs.stack_pointer_increment().unsigned_abs() {
        _ if theirs.mnemonic() == Mnemonic::Jmp => theirs.memory_size().size() as u8,
        _ if theirs.mnemonic() == Mnemonic::Leave => {
            let name = format!("{:?}", theirs.code());
            match name.as_str() {
                "Leaveq" => 8,
                "Leaved" => 4,
                _ => 2,
            }
        }
        _ if theirs.mnemonic() == Mnemonic::Ret => {
            let name = format!("{:?}", theirs.code());
            if name.starts_with("Retnq") {
                8
            } else if name.starts_with("Retnd") {
                4
            } else {
                2
            }
        }
        bytes => bytes as u8,
    }
}

fn general_operand(register: Register) -> Operand {
    let high = [Register::AH, Register::CH, Register::DH, Register::BH];
    match high.iter().position(|high| *high == register) {
        Some(index) => Operand::HighByte(index as u8),
        None => Operand::General(register.full_register().number() as u8),
    }
}

fn operands(theirs: &Theirs, ours: &mut Instruction) {
    let operand = |index: u32| {
        if index >= theirs.op_count() {
            return Operand::None;
        }
        let register = theirs.op_register(index);
        match theirs.op_kind(index) {
            OpKind::Memory => Operand::Memory,
            OpKind::Register if register.is_segment_register() => {
                Operand::Segment(register.number() as u8)
            }
            OpKind::Register if register.is_xmm() => Operand::Vector(register.number() as u8),
            OpKind::Register => general_operand(register),
            _ => Operand::Immediate,
        }
    };
    ours.operands = [operand(0), operand(1)];
    let last = theirs.op_count().saturating_sub(1);
    if let Ok(immediate) = theirs.try_immediate(last) {
        ours.immediate = immediate;
    }
    match ours.operation {
        Operation::Rotate(_) if ours.operands[1] != Operand::Immediate => {
            (ours.count, ours.operands[1]) = (Count::Cl, Operand::None);
        }
        Operation::DoubleShift { .. } if operand(2) != Operand::Immediate => ours.count = Count::Cl,
        Operation::Multiply { .. } | Operation::Divide { .. } => {
            ours.operands = [ACCUMULATOR, Operand::Memory];
        }
        Operation::Push | Operation::Call | Operation::Jump | Operation::FlushLine
            if ours.operands[0] == Operand::Memory =>
        {
            ours.operands = [Operand::None, Operand::Memory];
        }
        Operation::Call => {
            let back = theirs.near_branch_target().wrapping_sub(theirs.len() as u64);
            (ours.operands, ours.immediate) = ([Operand::Immediate, Operand::None], back);
        }
        Operation::Return => ours.operands = [Operand::None; 2],
        Operation::Translate => ours.operands = [ACCUMULATOR, Operand::Memory],
        // TEST has no order.
        Operation::Test | Operation::Exchange if ours.operands[1] == Operand::Memory => {
            ours.operands.reverse();
        }
        _ => {}
    }
}

fn register_bits(register: Register) -> u8 {
    8 * register.size() as u8
}

fn address_bits(theirs: &Theirs) -> u8 {
    let (base, index) = (theirs.memory_base(), theirs.memory_index());
    if base != Register::None {
        register_bits(base)
    } else if index != Register::None {
        register_bits(index)
    } else {
        match theirs.memory_displ_size() {
            2 => 16,
            8 => 64,
            _ => 32,
        }
    }
}

fn memory(theirs: &Theirs, bits: u8) -> MemoryOperand {
    let number = |register: Register| {
        (register != Register::None).then(|| register.full_register().number() as u8)
    };
    let base = theirs.memory_base();
    let is_rip_relative = base.is_ip();
    let base = if is_rip_relative { None } else { number(base) };
    let is_xlat = theirs.mnemonic() == Mnemonic::Xlatb;
    let index = number(theirs.memory_index()).filter(|_| !is_xlat);
    let scale = theirs.memory_index_scale().ilog2() as u8;
    let mut displacement = theirs.memory_displacement64();
    if is_rip_relative {
        displacement = displacement.wrapping_sub(theirs.len() as u64);
    }
    MemoryOperand {
        segment: segment_of(theirs, bits, base),
        base,
        index: index.map(|index| (index, scale)),
        displacement,
        is_rip_relative,
    }
}

/// In 64-bit mode only FS and GS count.
fn segment_of(theirs: &Theirs, bits: u8, base: Option<u8>) -> u8 {
    let named = theirs.memory_segment().number();
    let is_stack = base.is_some_and(|base| [4, 5].contains(&base));
    match (bits, named) {
        (64, segment::FS | segment::GS) => named as u8,
        (64, _) if is_stack => segment::SS as u8,
        (64, _) => segment::DS as u8,
        _ => named as u8,
    }
}

fn string(theirs: &Theirs, bits: u8, ours: &mut Instruction) {
    let kinds: Vec<OpKind> = theirs.op_kinds().collect();
    let width = |wanted: &[OpKind]| kinds.iter().any(|kind| wanted.contains(kind));
    ours.address_bits = if width(&[OpKind::MemorySegSI, OpKind::MemoryESDI]) {
        16
    } else if width(&[OpKind::MemorySegESI, OpKind::MemoryESEDI]) {
        32
    } else {
        64
    };
    let has_source = width(&[OpKind::MemorySegSI, OpKind::MemorySegESI, OpKind::MemorySegRSI]);
    if has_source {
        ours.memory = Some(MemoryOperand::string_source(segment_of(theirs, bits, None)));
    }
    ours.repeat = if theirs.has_repne_prefix() {
        Repeat::WhileNotEqual
    } else if theirs.has_rep_prefix() {
        Repeat::WhileEqual
    } else {
        Repeat::Once
    };
}
