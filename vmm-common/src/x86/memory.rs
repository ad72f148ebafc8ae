//! An access of an instruction: through segment and page tables, to RAM or to devices.
//!
//! A device sees what it sees under Linux's KVM: an access that crosses a page is two, and each is
//! handed out in pieces of 8 bytes from its start on.

use super::guest::Guest;
use super::outcome::{Exception, Read, Reads, Resolved, Write, Writes};
use super::paging::{Access, AccessKind};
use super::{flag, segmentation};
use crate::memory::GuestMemory as _;

const PAGE_BYTES: u64 = 4096;
const PIECE_BYTES: usize = 8;
const WIDEST: usize = 16;

/// Why an instruction stops here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Wants(Read),
    Raises(Exception),
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Raises(exception)
    }
}

/// Where an access goes: up to two stretches of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    first: u64,
    first_bytes: u8,
    second: u64,
    second_bytes: u8,
}

/// A guest's memory as one instruction sees it.
#[derive(Debug)]
pub(super) struct Memory<'a, G> {
    pub guest: &'a mut G,
    reads: &'a Reads,
    taken: usize,
    resolved: Option<Resolved>,
    pub writes: Writes,
}

impl<'a, G: Guest> Memory<'a, G> {
    pub fn new(guest: &'a mut G, reads: &'a Reads, resolved: Option<Resolved>) -> Self {
        Self { guest, reads, taken: 0, resolved, writes: Writes::default() }
    }

    /// Where `size` bytes at `offset` in a segment are, if the guest may access them so.
    pub fn place(
        &mut self,
        segment: u8,
        offset: u64,
        size: u8,
        kind: AccessKind,
    ) -> Result<Place, Exception> {
        let linear = segmentation::linear(self.guest, segment, offset, size.into(), kind)?;
        let first_bytes = u64::from(size).min(PAGE_BYTES - linear % PAGE_BYTES) as u8;
        let first = self.translate(linear, kind)?;
        let second_bytes = size - first_bytes;
        let mut second = 0;
        if second_bytes > 0 {
            let mut next = linear.wrapping_add(first_bytes.into());
            if self.guest.code_bits() != 64 {
                next &= 0xffff_ffff;
            }
            second = self.translate(next, kind)?;
        }
        Ok(Place { first, first_bytes, second, second_bytes })
    }

    /// The place that the processor has translated already, if the instruction's one access is
    /// that.
    pub fn resolved(&self, offset: u64, size: u8, kind: AccessKind) -> Option<Place> {
        let Resolved { address, is_write } = self.resolved?;
        let in_page = address % PAGE_BYTES;
        let is_same = is_write == (kind == AccessKind::Write)
            && offset % PAGE_BYTES == in_page
            && in_page + u64::from(size) <= PAGE_BYTES;
        is_same.then_some(Place { first: address, first_bytes: size, second: 0, second_bytes: 0 })
    }

    pub fn translate(&mut self, linear: u64, kind: AccessKind) -> Result<u64, Exception> {
        let paging = self.guest.paging();
        if paging.is_off() {
            return Ok(linear & 0xffff_ffff);
        }
        let access = Access {
            kind,
            is_user: self.guest.cpl() == 3,
            may_reach_user: self.guest.rflags() & flag::AC != 0,
        };
        let translated = paging.translate(self.guest.memory(), linear, access);
        translated.map_err(|fault| Exception::page_fault(fault.error, linear))
    }

    /// What lies there.
    pub fn load(&mut self, place: Place) -> Result<u128, Stop> {
        let mut bytes = [0; WIDEST];
        let (first, second) = bytes.split_at_mut(place.first_bytes.into());
        self.load_part(place.first, first)?;
        self.load_part(place.second, &mut second[..place.second_bytes.into()])?;
        Ok(u128::from_le_bytes(bytes))
    }

    fn load_part(&mut self, address: u64, to: &mut [u8]) -> Result<(), Stop> {
        if to.is_empty() || self.guest.memory().read(address, to) {
            return Ok(());
        }
        for (address, piece) in (address..).step_by(PIECE_BYTES).zip(to.chunks_mut(PIECE_BYTES)) {
            let size = piece.len() as u8;
            let value = self.wanted(Read::Memory { address, size })?;
            piece.copy_from_slice(&value.to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }

    /// What a device has returned, if it was read already.
    pub fn wanted(&mut self, read: Read) -> Result<u64, Stop> {
        let value = self.reads.get(self.taken).ok_or(Stop::Wants(read))?;
        self.taken += 1;
        Ok(value)
    }

    /// Stores the lower bytes of `value` there. The instruction must have all it reads, and raise
    /// no exception any more.
    pub fn store(&mut self, place: Place, value: u128) {
        let bytes = value.to_le_bytes();
        let (first, second) = bytes.split_at(place.first_bytes.into());
        self.store_part(place.first, first);
        self.store_part(place.second, &second[..place.second_bytes.into()]);
    }

    fn store_part(&mut self, address: u64, from: &[u8]) {
        if from.is_empty() || self.guest.memory().write(address, from) {
            return;
        }
        for (address, piece) in (address..).step_by(PIECE_BYTES).zip(from.chunks(PIECE_BYTES)) {
            let mut value = [0; PIECE_BYTES];
            value[..piece.len()].copy_from_slice(piece);
            let (size, value) = (piece.len() as u8, u64::from_le_bytes(value));
            self.writes.push(Write::Memory { address, size, value });
        }
    }
}
