//! Instructions that use the stack, and near branches through memory.

use super::{Execution, Guest, Stop};
use crate::registers::{general, segment};
use crate::x86::bits::{address_mask, mask, merge, sign_extend};
use crate::x86::instruction::{Operand, Operation};
use crate::x86::memory::Place;
use crate::x86::outcome::Exception;
use crate::x86::paging::AccessKind;
use crate::x86::segmentation::is_canonical;

const RSP: u8 = general::RSP as u8;
const RBP: u8 = general::RBP as u8;
const SS: u8 = segment::SS as u8;

impl<G: Guest> Execution<'_, G> {
    /// Returns the next RIP.
    pub fn stack(&mut self) -> Result<u64, Stop> {
        match self.instruction.operation {
            Operation::Push => self.push_operand(),
            Operation::Pop => self.pop_operand(),
            Operation::Call => self.call(),
            Operation::Return => self.near_return(),
            Operation::Leave => self.leave(),
            _ => {
                let target = self.load_operand()?;
                Ok(self.branch_to(target)?)
            }
        }
    }

    fn push_operand(&mut self) -> Result<u64, Stop> {
        let value = self.source()?;
        let (place, rsp) = self.pushed()?;
        self.memory.store(place, value.into());
        self.memory.guest.set_general(RSP, rsp);
        Ok(self.next_rip())
    }

    fn source(&mut self) -> Result<u64, Stop> {
        match self.instruction.operands {
            [_, Operand::Memory] => self.load_operand(),
            [other, _] => Ok(self.register(other)),
        }
    }

    fn pop_operand(&mut self) -> Result<u64, Stop> {
        let (value, rsp) = self.popped(self.rsp())?;
        let [destination, _] = self.instruction.operands;
        let old = self.memory.guest.general(RSP);
        // An address with RSP is one of what it is then.
        self.memory.guest.set_general(RSP, rsp);
        if destination == Operand::Memory {
            let place = self.operand_place(AccessKind::Write);
            if place.is_err() {
                self.memory.guest.set_general(RSP, old);
            }
            self.memory.store(place?, value.into());
        } else {
            self.set_register(destination, value);
        }
        Ok(self.next_rip())
    }

    fn call(&mut self) -> Result<u64, Stop> {
        let source = self.source()?;
        let target = match self.instruction.operands {
            [Operand::Immediate, _] => {
                self.next_rip().wrapping_add(sign_extend(source, self.instruction.size))
            }
            _ => source,
        };
        let target = self.branch_to(target)?;
        let (place, rsp) = self.pushed()?;
        let back = self.next_rip();
        self.memory.store(place, back.into());
        self.memory.guest.set_general(RSP, rsp);
        Ok(target)
    }

    fn near_return(&mut self) -> Result<u64, Stop> {
        let (target, rsp) = self.popped(self.rsp())?;
        let target = self.branch_to(target)?;
        let rsp = self.stack_pointer(rsp.wrapping_add(self.instruction.immediate));
        self.memory.guest.set_general(RSP, rsp);
        Ok(target)
    }

    /// RSP from RBP, which is popped then.
    fn leave(&mut self) -> Result<u64, Stop> {
        let frame = self.memory.guest.general(RBP) & self.stack_mask();
        let (value, rsp) = self.popped(frame)?;
        self.memory.guest.set_general(RSP, rsp);
        self.set_register(Operand::General(RBP), value);
        Ok(self.next_rip())
    }

    /// # Errors
    /// #GP(0) where there is no code.
    fn branch_to(&self, target: u64) -> Result<u64, Exception> {
        let guest = &*self.memory.guest;
        let target = target & mask(self.instruction.size);
        let is_code = match guest.code_bits() {
            64 => is_canonical(target),
            _ => target <= guest.segment(segment::CS as u8).limit.into(),
        };
        if is_code { Ok(target) } else { Err(Exception::GENERAL_PROTECTION) }
    }

    /// Where the next push goes, and RSP then.
    fn pushed(&mut self) -> Result<(Place, u64), Exception> {
        let size = self.instruction.size;
        let at = self.rsp().wrapping_sub(size.into()) & self.stack_mask();
        let place = self.memory.place(SS, at, size, AccessKind::Write)?;
        Ok((place, self.stack_pointer(at)))
    }

    /// The value at `at` on the stack, and RSP after the pop.
    fn popped(&mut self, at: u64) -> Result<(u64, u64), Stop> {
        let size = self.instruction.size;
        let place = self.memory.place(SS, at, size, AccessKind::Read)?;
        let value = self.memory.load(place)? as u64;
        Ok((value, self.stack_pointer(at.wrapping_add(size.into()))))
    }

    fn rsp(&self) -> u64 {
        self.memory.guest.general(RSP) & self.stack_mask()
    }

    fn stack_pointer(&self, value: u64) -> u64 {
        merge(self.memory.guest.general(RSP), value, self.stack_bits() / 8)
    }

    fn stack_mask(&self) -> u64 {
        address_mask(self.stack_bits())
    }

    /// By the stack segment's B flag (SDM vol. 1, 6.2.3).
    fn stack_bits(&self) -> u8 {
        const BIG: u32 = 1 << 14;
        let guest = &*self.memory.guest;
        match guest.code_bits() {
            64 => 64,
            _ if guest.segment(SS).access & BIG != 0 => 32,
            _ => 16,
        }
    }
}
