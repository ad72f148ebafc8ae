//! Carries out one instruction (SDM vol. 2, each instruction's "Operation").
//!
//! Everything is read and translated before anything is written, so that an exception, or a read
//! that waits for a device, leaves the guest as it was.

use super::arithmetic::{self, Alu, BitOperation, Computed, DoubleShift};
use super::bits::{mask, sign_extend};
use super::flag::ZF;
use super::guest::Guest;
use super::instruction::{Instruction, Operand, Operation};
use super::memory::{Memory, Stop};
use super::outcome::{Exception, Outcome, Reads, Resolved};
use super::paging::AccessKind;
use crate::registers::general;

pub mod plain;
mod stack;

pub(super) const RAX: u8 = general::RAX as u8;
pub(super) const RCX: u8 = general::RCX as u8;
const RDX: u8 = general::RDX as u8;
const RBX: u8 = general::RBX as u8;

/// An instruction that is being carried out.
pub(super) struct Execution<'a, G> {
    pub memory: Memory<'a, G>,
    pub instruction: &'a Instruction,
}

/// Carries out `instruction`, which caused the exit. `reads` is what devices have returned
/// for it so far. `resolved` is the access that caused the exit.
pub fn carry_out<G: Guest>(
    guest: &mut G,
    instruction: &Instruction,
    reads: &Reads,
    resolved: Option<Resolved>,
) -> Outcome {
    let resolved = resolved.filter(|_| instruction.has_single_access());
    let memory = Memory::new(guest, reads, resolved);
    let mut execution = Execution { memory, instruction };
    match execution.run() {
        Ok(next_rip) => Outcome::Done { next_rip, writes: execution.memory.writes },
        Err(Stop::Wants(read)) => Outcome::Wants(read),
        Err(Stop::Raises(exception)) => Outcome::Exception(exception),
    }
}

impl<G: Guest> Execution<'_, G> {
    /// Where the guest goes on.
    fn run(&mut self) -> Result<u64, Stop> {
        let size = self.instruction.size;
        match self.instruction.operation {
            Operation::Alu(alu) => {
                let is_stored = alu != Alu::Cmp;
                let compute = |a, b, flags| arithmetic::alu(alu, a, b, size, flags);
                self.binary(is_stored, compute)?;
            }
            Operation::Test => {
                self.binary(false, |a, b, flags| arithmetic::alu(Alu::And, a, b, size, flags))?;
            }
            Operation::Inc => self.unary(|a, flags| arithmetic::increment(a, size, flags))?,
            Operation::Dec => self.unary(|a, flags| arithmetic::decrement(a, size, flags))?,
            Operation::Not => self.unary(|a, flags| Computed { value: !a, flags })?,
            Operation::Neg => {
                self.unary(|a, flags| arithmetic::alu(Alu::Sub, 0, a, size, flags))?;
            }
            Operation::Rotate(kind) => {
                let count = self.count();
                self.unary(|a, flags| arithmetic::rotate(kind, a, count, size, flags))?;
            }
            Operation::DoubleShift { is_left } => {
                let count = self.count();
                let incoming = self.register(self.instruction.operands[1]);
                let kind = DoubleShift { is_left, incoming };
                self.unary(|a, flags| arithmetic::double_shift(kind, a, count, size, flags))?;
            }
            Operation::Bit(operation) => self.bit(operation)?,
            Operation::Exchange | Operation::ExchangeAdd => self.exchange()?,
            Operation::CompareExchange => self.compare_exchange()?,
            Operation::CompareExchangePair => self.compare_exchange_pair()?,
            Operation::Multiply { is_signed } => self.multiply(is_signed)?,
            Operation::Divide { is_signed } => self.divide(is_signed)?,
            Operation::Push
            | Operation::Pop
            | Operation::Call
            | Operation::Jump
            | Operation::Return
            | Operation::Leave => return self.stack(),
            Operation::MoveString
            | Operation::StoreString
            | Operation::LoadString
            | Operation::CompareStrings
            | Operation::ScanString
            | Operation::InString
            | Operation::OutString => return self.string(),
            Operation::FlushLine => {
                self.operand_place(AccessKind::Read)?;
            }
            Operation::MoveVector { must_be_aligned } => self.move_vector(must_be_aligned)?,
            Operation::Move
            | Operation::MoveZeroExtended
            | Operation::MoveSignExtended
            | Operation::MoveByteSwapped
            | Operation::Translate
            | Operation::SetIf(_)
            | Operation::MoveIf(_)
            | Operation::MultiplySigned { .. }
            | Operation::BitScanForward
            | Operation::BitScanReverse
            | Operation::CountTrailingZeros
            | Operation::CountLeadingZeros
            | Operation::CountOnes
            | Operation::Crc32 => self.one_way()?,
        }
        Ok(self.next_rip())
    }

    pub fn next_rip(&self) -> u64 {
        self.memory.guest.rip().wrapping_add(self.instruction.len.into())
    }

    /// Memory and another operand; the result goes to the first one.
    fn binary(
        &mut self,
        is_stored: bool,
        compute: impl FnOnce(u64, u64, u64) -> Computed,
    ) -> Result<(), Stop> {
        let flags = self.memory.guest.rflags();
        let [destination, source] = self.instruction.operands;
        if destination != Operand::Memory {
            let b = self.load_operand()?;
            let Computed { value, flags } = compute(self.register(destination), b, flags);
            if is_stored {
                self.set_register(destination, value);
            }
            self.set_flags(flags);
            return Ok(());
        }
        let place = match is_stored {
            true => self.operand_place(AccessKind::Write)?,
            false => self.single_place(AccessKind::Read)?,
        };
        let a = self.memory.load(place)? as u64;
        let Computed { value, flags } = compute(a, self.register(source), flags);
        if is_stored {
            self.memory.store(place, value.into());
        }
        self.set_flags(flags);
        Ok(())
    }

    /// Memory alone is read and written.
    fn unary(&mut self, compute: impl FnOnce(u64, u64) -> Computed) -> Result<(), Stop> {
        self.binary(true, |a, _, flags| compute(a, flags))
    }

    /// A bit number in a register reaches beyond the operand, in either direction.
    fn bit(&mut self, operation: BitOperation) -> Result<(), Stop> {
        let size = self.instruction.size;
        let source = self.instruction.operands[1];
        let number = self.register(source);
        let distance = if source == Operand::Immediate {
            0
        } else {
            let whole = sign_extend(number, size) as i64 >> (3 + size.ilog2());
            (whole as u64).wrapping_mul(size.into())
        };
        let is_stored = operation != BitOperation::Test;
        let kind = if is_stored { AccessKind::Write } else { AccessKind::Read };
        let place = self.place_beyond(distance, kind)?;
        let a = self.memory.load(place)? as u64;
        let flags = self.memory.guest.rflags();
        let Computed { value, flags } = arithmetic::bit(operation, a, number, size, flags);
        if is_stored {
            self.memory.store(place, value.into());
        }
        self.set_flags(flags);
        Ok(())
    }

    /// XCHG and XADD.
    fn exchange(&mut self) -> Result<(), Stop> {
        let size = self.instruction.size;
        let place = self.operand_place(AccessKind::Write)?;
        let old = self.memory.load(place)? as u64;
        let register = self.instruction.operands[1];
        let mut stored = self.register(register);
        if self.instruction.operation == Operation::ExchangeAdd {
            let flags = self.memory.guest.rflags();
            let sum = arithmetic::alu(Alu::Add, old, stored, size, flags);
            stored = sum.value;
            self.set_flags(sum.flags);
        }
        self.memory.store(place, stored.into());
        self.set_register(register, old);
        Ok(())
    }

    /// A failed comparison writes the old value back, as the processor does.
    fn compare_exchange(&mut self) -> Result<(), Stop> {
        let size = self.instruction.size;
        let place = self.operand_place(AccessKind::Write)?;
        let old = self.memory.load(place)? as u64;
        let accumulator = Operand::General(RAX);
        let flags = self.memory.guest.rflags();
        let Computed { flags, .. } =
            arithmetic::alu(Alu::Cmp, self.register(accumulator), old, size, flags);
        if flags & ZF != 0 {
            let new = self.register(self.instruction.operands[1]);
            self.memory.store(place, new.into());
        } else {
            self.memory.store(place, old.into());
            self.set_register(accumulator, old);
        }
        self.set_flags(flags);
        Ok(())
    }

    fn compare_exchange_pair(&mut self) -> Result<(), Stop> {
        let size = self.instruction.size;
        let place = if size == 8 {
            self.aligned_place(AccessKind::Write)?
        } else {
            self.operand_place(AccessKind::Write)?
        };
        let old = self.memory.load(place)?;
        let bits = 8 * u32::from(size);
        let pair = |high: u64, low: u64| {
            u128::from(high & mask(size)) << bits | u128::from(low & mask(size))
        };
        let guest = &mut *self.memory.guest;
        let flags = guest.rflags();
        if pair(guest.general(RDX), guest.general(RAX)) == old {
            let new = pair(guest.general(RCX), guest.general(RBX));
            self.memory.store(place, new);
            self.set_flags(flags | ZF);
        } else {
            guest.set_general(RAX, old as u64 & mask(size));
            guest.set_general(RDX, (old >> bits) as u64 & mask(size));
            self.memory.store(place, old);
            self.set_flags(flags & !ZF);
        }
        Ok(())
    }

    /// Of the accumulator: into AX, or into the pair of it and RDX.
    fn multiply(&mut self, is_signed: bool) -> Result<(), Stop> {
        let size = self.instruction.size;
        let b = self.load_operand()?;
        let a = self.register(Operand::General(RAX));
        let flags = self.memory.guest.rflags();
        let (low, high, flags) = arithmetic::multiply(a, b, is_signed, size, flags);
        self.set_pair(low, high);
        self.set_flags(flags);
        Ok(())
    }

    fn divide(&mut self, is_signed: bool) -> Result<(), Stop> {
        let size = self.instruction.size;
        let divisor = self.load_operand()?;
        let guest = &*self.memory.guest;
        let (low, high) = match size {
            1 => (guest.general(RAX), guest.general(RAX) >> 8),
            _ => (guest.general(RAX), guest.general(RDX)),
        };
        let high = u128::from(high & mask(size)) << (8 * u32::from(size));
        let dividend = high | u128::from(low & mask(size));
        let divided = arithmetic::divide(dividend, divisor, is_signed, size);
        let (quotient, remainder) = divided.ok_or(Exception::DIVIDE)?;
        self.set_pair(quotient, remainder);
        Ok(())
    }

    /// AL and AH, or the accumulator and RDX.
    fn set_pair(&mut self, low: u64, high: u64) {
        self.set_register(Operand::General(RAX), low);
        let upper =
            if self.instruction.size == 1 { Operand::HighByte(RAX) } else { Operand::General(RDX) };
        self.set_register(upper, high);
    }

    /// Memory is either read or written.
    fn one_way(&mut self) -> Result<(), Stop> {
        match self.instruction.operands {
            [Operand::Memory, _] => self.store(),
            [_, _] => self.load(),
        }
    }

    /// Memory is written, and not read.
    fn store(&mut self) -> Result<(), Stop> {
        let flags = self.memory.guest.rflags();
        let value = self.register(self.instruction.operands[1]);
        let value = match self.instruction.operation {
            Operation::SetIf(condition) => condition.holds(flags).into(),
            Operation::MoveByteSwapped => swapped(value, self.instruction.size),
            _ => value,
        };
        let place = self.single_place(AccessKind::Write)?;
        self.memory.store(place, value.into());
        Ok(())
    }

    /// Memory is read, and a register written.
    fn load(&mut self) -> Result<(), Stop> {
        let (size, from) = (self.instruction.size, self.instruction.memory_size);
        let [destination, _] = self.instruction.operands;
        let loaded = self.load_operand()?;
        let old = self.register(destination);
        let flags = self.memory.guest.rflags();
        let (value, flags) = match self.instruction.operation {
            Operation::MoveSignExtended => (sign_extend(loaded, from), flags),
            Operation::MoveByteSwapped => (swapped(loaded, size), flags),
            Operation::MoveIf(condition) => {
                (if condition.holds(flags) { loaded } else { old }, flags)
            }
            Operation::MultiplySigned { has_immediate } => {
                let by = if has_immediate { self.instruction.immediate } else { old };
                let (low, _, flags) = arithmetic::multiply(loaded, by, true, size, flags);
                (low, flags)
            }
            operation @ (Operation::BitScanForward | Operation::BitScanReverse) => {
                let is_reverse = operation == Operation::BitScanReverse;
                let (found, flags) = arithmetic::scan(loaded, is_reverse, size, flags);
                self.set_flags(flags);
                let Some(found) = found else { return Ok(()) };
                (found, flags)
            }
            Operation::CountTrailingZeros => {
                counted(arithmetic::trailing_zeros(loaded, size, flags))
            }
            Operation::CountLeadingZeros => counted(arithmetic::leading_zeros(loaded, size, flags)),
            Operation::CountOnes => counted(arithmetic::ones(loaded, size, flags)),
            Operation::Crc32 => (arithmetic::crc32(old as u32, loaded, from).into(), flags),
            _ => (loaded, flags),
        };
        self.set_flags(flags);
        self.set_register(destination, value);
        Ok(())
    }

    fn move_vector(&mut self, must_be_aligned: bool) -> Result<(), Stop> {
        let kind = match self.instruction.operands {
            [Operand::Memory, _] => AccessKind::Write,
            _ => AccessKind::Read,
        };
        let place =
            if must_be_aligned { self.aligned_place(kind)? } else { self.operand_place(kind)? };
        match self.instruction.operands {
            [Operand::Memory, Operand::Vector(index)] => {
                let value = self.memory.guest.vector(index);
                self.memory.store(place, value);
            }
            [Operand::Vector(index), _] => {
                let value = self.memory.load(place)?;
                self.memory.guest.set_vector(index, value);
            }
            _ => {}
        }
        Ok(())
    }
}

const fn counted(computed: Computed) -> (u64, u64) {
    (computed.value, computed.flags)
}

const fn swapped(value: u64, size: u8) -> u64 {
    value.swap_bytes() >> (64 - 8 * size as u32)
}
