//! What a processor has left: a guest that can be read, and changes nothing.

use crate::architecture::{cr0, efer};
use crate::memory::GuestMemory;
use crate::registers::{CpuState, Segment, segment};
use crate::x86::Guest;
use crate::x86::paging::Paging;
use core::cell::Cell;

/// [`Segment::access`]: L and D/B; where the DPL is.
const LONG: u32 = 1 << 13;
const BIG: u32 = 1 << 14;
const DPL_SHIFT: u32 = 5;

/// RAM that drops stores.
pub struct Still<'a, M>(&'a M);

impl<M: GuestMemory> GuestMemory for Still<'_, M> {
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        self.0.read(address, to)
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        self.has(address, from.len() as u64)
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        self.0.has(address, bytes)
    }
}

/// A copy of the registers, and the RAM.
pub struct Scene<'a, M> {
    pub state: CpuState,
    memory: Still<'a, M>,
    /// Vector registers are not in a dump: an instruction that reads one is not replayed whole.
    pub has_used_vectors: Cell<bool>,
}

impl<'a, M: GuestMemory> Scene<'a, M> {
    pub fn new(state: &CpuState, memory: &'a M) -> Self {
        Self { state: *state, memory: Still(memory), has_used_vectors: Cell::new(false) }
    }

    /// The same, to be changed by a replay.
    pub fn copy(&self) -> Self {
        Self::new(&self.state, self.memory.0)
    }

    /// EFER.LMA.
    pub fn is_long(&self) -> bool {
        self.state.efer & efer::LMA != 0
    }

    /// CR0.PE.
    pub fn is_protected(&self) -> bool {
        self.state.cr0 & cr0::PE != 0
    }

    /// The linear address of an offset in the stack segment.
    pub fn stack_linear(&self, offset: u64) -> u64 {
        match self.code_bits() {
            64 => offset,
            _ => self.state.segments[segment::SS].base.wrapping_add(offset) & 0xffff_ffff,
        }
    }

    /// The linear address of the instruction.
    pub fn linear_rip(&self) -> u64 {
        match self.code_bits() {
            64 => self.state.rip,
            _ => self.state.segments[segment::CS].base.wrapping_add(self.state.rip) & 0xffff_ffff,
        }
    }
}

impl<'a, M: GuestMemory> Guest for Scene<'a, M> {
    type Memory = Still<'a, M>;

    fn general(&self, index: u8) -> u64 {
        self.state.general[usize::from(index)]
    }

    fn set_general(&mut self, index: u8, value: u64) {
        self.state.general[usize::from(index)] = value;
    }

    fn rip(&self) -> u64 {
        self.state.rip
    }

    fn rflags(&self) -> u64 {
        self.state.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.state.rflags = value;
    }

    fn segment(&self, index: u8) -> Segment {
        self.state.segments[usize::from(index)]
    }

    fn code_bits(&self) -> u8 {
        let access = self.state.segments[segment::CS].access;
        match (self.is_long() && access & LONG != 0, access & BIG != 0) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        }
    }

    fn cpl(&self) -> u8 {
        match self.is_protected() {
            true => (self.state.segments[segment::SS].access >> DPL_SHIFT & 3) as u8,
            false => 0,
        }
    }

    fn paging(&self) -> Paging {
        let CpuState { cr0, cr3, cr4, efer, .. } = self.state;
        // Of an address that no processor here has, the table that it is in is not RAM either.
        Paging { cr0, cr3, cr4, efer, pdptes: None, physical_bits: 52, has_1g: true }
    }

    fn vector(&self, _index: u8) -> u128 {
        self.has_used_vectors.set(true);
        0
    }

    fn set_vector(&mut self, _index: u8, _value: u128) {}

    fn memory(&self) -> &Still<'a, M> {
        &self.memory
    }
}
