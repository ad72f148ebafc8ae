//! Reads of what the processor reads for itself, with the reason where it cannot.

use super::replay::Replayed;
use super::scene::Scene;
use crate::architecture::{cr4, efer};
use crate::memory::GuestMemory;
use crate::registers::segment;
use crate::x86::paging::{
    ADDRESS, Access, AccessKind, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE, error,
};
use crate::x86::segmentation::is_canonical;
use crate::x86::{Exception, Guest};
use alloc::format;
use alloc::string::String;

/// An exception, and what raised it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exception: Exception,
    /// In words.
    pub why: String,
}

impl Failure {
    pub const fn new(exception: Exception, why: String) -> Self {
        Self { exception, why }
    }
}

/// A system structure: tables and stacks are reached with the privilege of ring 0.
const fn system(kind: AccessKind) -> Access {
    Access { kind, is_user: false, may_reach_user: false }
}

impl<M: GuestMemory> Scene<'_, M> {
    /// Fills `to` from linear memory, or says which access fails: `what` is read there.
    pub fn read_linear(&self, linear: u64, to: &mut [u8], what: &str) -> Result<(), Failure> {
        for (at, byte) in (0..).zip(to) {
            let physical = self.translate(linear.wrapping_add(at), AccessKind::Read, what)?;
            let mut one = [0];
            if self.memory().read(physical, &mut one) {
                *byte = one[0];
            }
        }
        Ok(())
    }

    /// Whether words can be pushed, each of `size` bytes, the last one at `linear`: `what`.
    pub fn check_pushes(
        &self,
        linear: u64,
        (words, size): (u64, u64),
        what: &str,
    ) -> Result<(), Failure> {
        for word in (0..words).rev() {
            self.translate(linear.wrapping_add(word * size), AccessKind::Write, what)?;
        }
        Ok(())
    }

    fn translate(&self, linear: u64, kind: AccessKind, what: &str) -> Result<u64, Failure> {
        if self.is_long() && !is_canonical(linear) {
            let why = format!("{what} is at {linear:#x}, which is no canonical address");
            return Err(Failure::new(Exception::GENERAL_PROTECTION, why));
        }
        self.paging()
            .translate(self.memory(), linear, system(kind))
            .map_err(|fault| Failure::new(Exception::page_fault(fault.error, linear), what.into()))
    }

    /// What MOV to a segment register raises for a selector (SDM vol. 2, "MOV"), as far as the table
    /// and its descriptor show it.
    pub fn loads_segment(&self, register: u8, selector: u16) -> Replayed {
        const OF_LDT: u16 = 4;
        const PRESENT: u64 = 1 << 47;
        const CS: u8 = segment::CS as u8;
        const SS: u8 = segment::SS as u8;
        let general = |code: u16| Replayed::Raises(Exception::coded(13, code.into()));
        let is_null = selector & !3 == 0;
        match register {
            CS | 6.. => return Replayed::Raises(Exception::UNDEFINED),
            SS if is_null && !self.is_long() => return general(0),
            _ if is_null => return Replayed::Nothing,
            _ if selector & OF_LDT != 0 => return Replayed::Unknown,
            _ => {}
        }
        let (gdt, at) = (self.state.gdtr, u64::from(selector & !7));
        if at + 7 > gdt.limit.into() {
            return general(selector & !3);
        }
        let mut bytes = [0; 8];
        match self.read_linear(gdt.base.wrapping_add(at), &mut bytes, "the GDT") {
            Err(failure) => return Replayed::Raises(failure.exception),
            Ok(()) if u64::from_le_bytes(bytes) & PRESENT == 0 => {}
            Ok(()) => return Replayed::Unknown,
        }
        let vector = if register == SS { 12 } else { 11 };
        Replayed::Raises(Exception::coded(vector, u32::from(selector & !3)))
    }

    /// Why an access raises #PF with this error code.
    pub fn page_in_words(&self, linear: u64, code: u32) -> String {
        // Whether a refused access sets these is the processor's own affair.
        const ACCESSED_AND_DIRTY: u64 = 0x60;
        let (level, entry) = self.last_entry(linear);
        let entry = entry & !ACCESSED_AND_DIRTY;
        if code & error::RESERVED != 0 {
            return format!("a reserved bit is set in the level {level} entry, {entry:#x}");
        }
        if code & error::PRESENT == 0 {
            return format!("level {level} entry not present");
        }
        let is_users = code & error::USER == 0 && entry & USER != 0;
        let why = match (code & error::FETCH != 0, code & error::WRITE != 0) {
            (true, _) if self.state.efer & efer::NXE != 0 && entry & NO_EXECUTE != 0 => {
                "no-execute"
            }
            (true, _) if is_users && self.state.cr4 & cr4::SMEP != 0 => "a user's, and SMEP is on",
            _ if code & error::USER != 0 && entry & USER == 0 => "the supervisor's",
            (false, true) if entry & WRITABLE == 0 => "read-only",
            (false, _) if is_users && self.state.cr4 & cr4::SMAP != 0 => "a user's, and SMAP is on",
            _ => "refused by an entry above",
        };
        format!("the page is {why}, level {level} entry {entry:#x}")
    }

    /// The entry that a walk for `linear` ends with, the page's or the first one that is not
    /// present or has a reserved bit; and its level, 1 for a page's of 4 KiB.
    fn last_entry(&self, linear: u64) -> (u32, u64) {
        let (is_long, is_pae) = (self.is_long(), self.state.cr4 & cr4::PAE != 0);
        // Bits of an index, and bytes of an entry.
        let (mut level, bits, bytes) = match (is_long, is_pae) {
            (true, _) => (4, 9, 8),
            (false, true) => (3, 9, 8),
            (false, false) => (2, 10, 4),
        };
        let linear = if is_long { linear } else { linear & 0xffff_ffff };
        let mut table = self.state.cr3 & if is_pae && !is_long { !0x1f } else { !0xfff };
        loop {
            let index = linear >> (12 + bits * (level - 1)) & ((1 << bits) - 1);
            let mut entry = [0; 8];
            if !self.memory().read(table + index * bytes, &mut entry[..bytes as usize]) {
                return (level, 0);
            }
            let entry = u64::from_le_bytes(entry);
            let is_page = level == 1 || entry & LARGE != 0;
            let is_reserved = entry & NO_EXECUTE != 0 && self.state.efer & efer::NXE == 0;
            if entry & PRESENT == 0 || is_page || is_reserved {
                return (level, entry);
            }
            (level, table) = (level - 1, entry & ADDRESS);
        }
    }
}
