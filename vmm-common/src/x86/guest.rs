//! The guest state that emulating an instruction needs.

use super::paging::Paging;
use crate::memory::GuestMemory;
use crate::registers::Segment;

/// A vCPU's registers and its RAM.
pub trait Guest {
    /// Its RAM, by guest-physical address.
    type Memory: GuestMemory;

    /// A general register, by the order of their encoding.
    fn general(&self, index: u8) -> u64;

    /// Sets a general register.
    fn set_general(&mut self, index: u8, value: u64);

    /// The address of the instruction.
    fn rip(&self) -> u64;

    /// RFLAGS.
    fn rflags(&self) -> u64;

    /// Sets RFLAGS.
    fn set_rflags(&mut self, value: u64);

    /// A segment register, by [`crate::registers::segment`].
    fn segment(&self, index: u8) -> Segment;

    /// 16, 32 or 64: the code segment's default.
    fn code_bits(&self) -> u8;

    /// The privilege level.
    fn cpl(&self) -> u8;

    /// How linear addresses are translated.
    fn paging(&self) -> Paging;

    /// XMM0 to XMM15.
    fn vector(&self, index: u8) -> u128;

    /// Sets a vector register.
    fn set_vector(&mut self, index: u8, value: u128);

    /// Its RAM.
    fn memory(&self) -> &Self::Memory;
}
