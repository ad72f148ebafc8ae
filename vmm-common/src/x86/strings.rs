//! String instructions, an element at a time: between two elements the guest can be interrupted,
//! and RCX counts (SDM vol. 2, REP; 12.3 of vol. 1).

use super::arithmetic::{self, Alu};
use super::bits::{address_mask, merge};
use super::carry_out::{Execution, RAX, RCX};
use super::flag::{DF, ZF};
use super::guest::Guest;
use super::instruction::{MemoryOperand, Operand, Operation, Repeat};
use super::memory::{Place, Stop};
use super::outcome::{Exception, Read, Write};
use super::paging::AccessKind;
use crate::registers::general;

const RDX: u8 = general::RDX as u8;
const RSI: u8 = general::RSI as u8;
const RDI: u8 = general::RDI as u8;

impl<G: Guest> Execution<'_, G> {
    /// Returns the next RIP: this instruction's, if elements are left.
    pub fn string(&mut self) -> Result<u64, Stop> {
        let is_repeated = self.instruction.repeat != Repeat::Once;
        let mask = address_mask(self.instruction.address_bits);
        if is_repeated && self.memory.guest.general(RCX) & mask == 0 {
            return Ok(self.next_rip());
        }
        self.element()?;
        if !is_repeated {
            return Ok(self.next_rip());
        }
        let left = self.add_to(RCX, u64::MAX);
        let is_comparison =
            matches!(self.instruction.operation, Operation::CompareStrings | Operation::ScanString);
        let is_equal = self.memory.guest.rflags() & ZF != 0;
        let wants_equal = self.instruction.repeat == Repeat::WhileEqual;
        let is_over = left == 0 || (is_comparison && is_equal != wants_equal);
        Ok(if is_over { self.next_rip() } else { self.memory.guest.rip() })
    }

    fn element(&mut self) -> Result<(), Stop> {
        let accumulator = Operand::General(RAX);
        match self.instruction.operation {
            Operation::MoveString => {
                let value = self.load_source()?;
                let place = self.destination(AccessKind::Write)?;
                self.memory.store(place, value.into());
                self.step(RSI);
                self.step(RDI);
            }
            Operation::StoreString => {
                let place = self.destination(AccessKind::Write)?;
                self.memory.store(place, self.register(accumulator).into());
                self.step(RDI);
            }
            Operation::LoadString => {
                let value = self.load_source()?;
                self.set_register(accumulator, value);
                self.step(RSI);
            }
            Operation::CompareStrings => {
                let a = self.load_source()?;
                self.compare_with_destination(a)?;
                self.step(RSI);
                self.step(RDI);
            }
            Operation::ScanString => {
                self.compare_with_destination(self.register(accumulator))?;
                self.step(RDI);
            }
            Operation::InString => self.input()?,
            _ => self.output()?,
        }
        Ok(())
    }

    /// The destination is checked before the port is read, so that a fault loses nothing.
    fn input(&mut self) -> Result<(), Stop> {
        let place = self.destination(AccessKind::Write)?;
        let value =
            self.memory.wanted(Read::Port { port: self.port(), size: self.instruction.size })?;
        self.memory.store(place, value.into());
        self.step(RDI);
        Ok(())
    }

    fn output(&mut self) -> Result<(), Stop> {
        let value = self.load_source()? as u32;
        let (port, size) = (self.port(), self.instruction.size);
        self.memory.writes.push(Write::Port { port, size, value });
        self.step(RSI);
        Ok(())
    }

    fn port(&self) -> u16 {
        self.memory.guest.general(RDX) as u16
    }

    fn compare_with_destination(&mut self, a: u64) -> Result<(), Stop> {
        let place = self.destination(AccessKind::Read)?;
        let b = self.memory.load(place)? as u64;
        let flags = self.memory.guest.rflags();
        let compared = arithmetic::alu(Alu::Cmp, a, b, self.instruction.size, flags);
        self.set_flags(compared.flags);
        Ok(())
    }

    fn load_source(&mut self) -> Result<u64, Stop> {
        let place = self.operand_place(AccessKind::Read)?;
        Ok(self.memory.load(place)? as u64)
    }

    fn destination(&mut self, kind: AccessKind) -> Result<Place, Exception> {
        let operand = MemoryOperand::STRING_DESTINATION;
        let offset = self.offset(&operand);
        self.memory.place(operand.segment, offset, self.instruction.size, kind)
    }

    /// An element further, in the direction of DF.
    fn step(&mut self, register: u8) {
        let size = u64::from(self.instruction.size);
        let is_down = self.memory.guest.rflags() & DF != 0;
        self.add_to(register, if is_down { size.wrapping_neg() } else { size });
    }

    fn add_to(&mut self, register: u8, distance: u64) -> u64 {
        let guest = &mut *self.memory.guest;
        let old = guest.general(register);
        let bits = self.instruction.address_bits;
        let sum = old.wrapping_add(distance) & address_mask(bits);
        guest.set_general(register, merge(old, sum, bits / 8));
        sum
    }
}
