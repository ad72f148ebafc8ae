//! Operands: registers and effective addresses.

use super::bits::{address_mask, mask, merge};
use super::carry_out::{Execution, RCX};
use super::guest::Guest;
use super::instruction::{Count, MemoryOperand, Operand, Operation};
use super::memory::{Place, Stop};
use super::outcome::Exception;
use super::paging::AccessKind;
use super::segmentation;
use crate::registers::segment;

impl<G: Guest> Execution<'_, G> {
    /// The count of a shift.
    pub fn count(&self) -> u64 {
        match self.instruction.count {
            Count::Immediate => self.instruction.immediate & 0xff,
            Count::Cl => self.memory.guest.general(RCX) & 0xff,
        }
    }

    /// An operand that is not memory, its lower bytes.
    pub fn register(&self, operand: Operand) -> u64 {
        let guest = &*self.memory.guest;
        match operand {
            Operand::General(index) => guest.general(index) & mask(self.instruction.size),
            Operand::HighByte(index) => guest.general(index) >> 8 & 0xff,
            Operand::Segment(index) => guest.segment(index).selector.into(),
            Operand::Immediate => self.instruction.immediate & mask(self.instruction.size),
            Operand::None | Operand::Memory | Operand::Vector(_) => 0,
        }
    }

    pub fn set_register(&mut self, operand: Operand, value: u64) {
        let guest = &mut *self.memory.guest;
        match operand {
            Operand::General(index) => {
                let old = guest.general(index);
                guest.set_general(index, merge(old, value, self.instruction.size));
            }
            Operand::HighByte(index) => {
                let old = guest.general(index);
                guest.set_general(index, (old & !0xff00) | (value & 0xff) << 8);
            }
            Operand::None
            | Operand::Memory
            | Operand::Segment(_)
            | Operand::Vector(_)
            | Operand::Immediate => {}
        }
    }

    pub fn set_flags(&mut self, flags: u64) {
        if flags != self.memory.guest.rflags() {
            self.memory.guest.set_rflags(flags);
        }
    }

    /// A memory operand's offset in its segment.
    pub fn offset(&self, memory: &MemoryOperand) -> u64 {
        let guest = &*self.memory.guest;
        let mut offset = memory.displacement;
        if let Some(base) = memory.base {
            offset = offset.wrapping_add(guest.general(base));
        }
        if let Some((index, scale)) = memory.index {
            offset = offset.wrapping_add(guest.general(index) << scale);
        }
        if memory.is_rip_relative {
            offset = offset.wrapping_add(self.next_rip());
        }
        if self.instruction.operation == Operation::Translate {
            offset = offset.wrapping_add(guest.general(super::carry_out::RAX) & 0xff);
        }
        offset & address_mask(self.instruction.address_bits)
    }

    fn memory_operand(&self) -> MemoryOperand {
        self.instruction.memory.expect("the decoder gives each that has such an operand one")
    }

    /// The memory operand, if the guest may access it so.
    pub fn operand_place(&mut self, kind: AccessKind) -> Result<Place, Exception> {
        self.place_beyond(0, kind)
    }

    /// The same, so many bytes further on.
    pub fn place_beyond(&mut self, distance: u64, kind: AccessKind) -> Result<Place, Exception> {
        let operand = self.memory_operand();
        let offset = self.offset(&operand).wrapping_add(distance);
        let offset = offset & address_mask(self.instruction.address_bits);
        self.memory.place(operand.segment, offset, self.instruction.memory_size, kind)
    }

    /// The same for the instruction's only access, which the processor may have translated.
    pub fn single_place(&mut self, kind: AccessKind) -> Result<Place, Exception> {
        match self.resolved_place(kind) {
            Some(place) => Ok(place),
            None => self.operand_place(kind),
        }
    }

    /// The memory operand where the processor has translated it.
    pub fn resolved_place(&self, kind: AccessKind) -> Option<Place> {
        let operand = self.memory_operand();
        let guest = &*self.memory.guest;
        let has_base = guest.code_bits() != 64 || usize::from(operand.segment) >= segment::FS;
        let base = if has_base { guest.segment(operand.segment).base } else { 0 };
        let linear = base.wrapping_add(self.offset(&operand));
        self.memory.resolved(linear, self.instruction.memory_size, kind)
    }

    /// The memory operand, which must lie on a multiple of 16 bytes, or it is #GP(0).
    pub fn aligned_place(&mut self, kind: AccessKind) -> Result<Place, Exception> {
        const ALIGNMENT: u64 = 16;
        let operand = self.memory_operand();
        let offset = self.offset(&operand);
        let guest = &*self.memory.guest;
        let size = self.instruction.memory_size.into();
        let linear = segmentation::linear(guest, operand.segment, offset, size, kind)?;
        if !linear.is_multiple_of(ALIGNMENT) {
            return Err(Exception::GENERAL_PROTECTION);
        }
        self.operand_place(kind)
    }

    /// What the memory operand holds.
    pub fn load_operand(&mut self) -> Result<u64, Stop> {
        let place = self.single_place(AccessKind::Read)?;
        Ok(self.memory.load(place)? as u64)
    }
}
