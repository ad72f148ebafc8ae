//! A guest's RAM: one stretch of host memory, in which the guest's RAM from 4 GiB on follows
//! that from 0. It is identity-mapped, so that a host-physical address is a pointer.

use crate::carve::Region;
use crate::frames::FRAME_BYTES;
use alloc::vec::Vec;
use core::ops::Range;
use vmm_common::grant::RamPiece;
use vmm_common::memory::GuestMemory;
use vmm_common::plan::ram_ranges;

/// RAM of one VM. Copies are of the address, not of the memory.
#[derive(Clone, Copy, Debug)]
pub struct GuestRam {
    host_base: u64,
    bytes: u64,
    /// Of these, what lies below the devices' hole.
    low_bytes: u64,
}

impl GuestRam {
    /// All of this memory, which begins and ends at multiples of 4 KiB, is the VM's from now on.
    #[must_use]
    pub const fn new(region: Region) -> Self {
        let (host_base, bytes) = (region.begin(), region.bytes());
        assert!((host_base | bytes).is_multiple_of(FRAME_BYTES), "RAM is made of 4 KiB pages");
        let [low, _] = ram_ranges(bytes);
        Self { host_base, bytes, low_bytes: low.end }
    }

    /// The same as a grant names it.
    #[must_use]
    pub fn granted(&self) -> Vec<RamPiece> {
        let pieces = self.pieces().into_iter().filter(|(guest, _)| !guest.is_empty());
        pieces.map(|(guest, host)| RamPiece { guest, host }).collect()
    }

    /// The guest-physical ranges that it has, none of them empty unless there is none at 4 GiB, and
    /// where each begins, host-physical.
    #[must_use]
    pub const fn pieces(&self) -> [(Range<u64>, u64); 2] {
        let [low, high] = ram_ranges(self.bytes);
        let high_host = self.host_base + low.end;
        [(low, self.host_base), (high, high_host)]
    }

    /// All zeros.
    pub fn clear(&self) {
        // SAFETY: the range is this guest's, as `new` was given it, and the guest does not run.
        unsafe { core::ptr::write_bytes(self.host_base as *mut u8, 0, self.bytes as usize) };
    }

    #[inline]
    fn pointer(&self, address: u64, len: usize) -> Option<*mut u8> {
        let end = address.checked_add(len as u64)?;
        // Fast path: instructions, page tables.
        if end <= self.low_bytes {
            return Some((self.host_base + address) as *mut u8);
        }
        let holds = |(guest, _): &(Range<u64>, u64)| guest.start <= address && end <= guest.end;
        let (guest, host) = self.pieces().into_iter().find(holds)?;
        Some((host + (address - guest.start)) as *mut u8)
    }
}

impl GuestMemory for GuestRam {
    #[inline]
    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let Some(from) = self.pointer(address, to.len()) else { return false };
        // SAFETY: `pointer` has checked the range; the guest does not run, and no Rust value is
        // there.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        true
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        let Some(to) = self.pointer(address, from.len()) else { return false };
        // SAFETY: as for `read`.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        true
    }

    fn has(&self, address: u64, bytes: u64) -> bool {
        self.pointer(address, bytes as usize).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_from_4_gib_on_follows_what_lies_below_the_hole() {
        const BASE: u64 = 0x4000_0000;
        // Nothing is read or written through it.
        let region =
            Region::of(crate::loader::multiboot::Range { begin: BASE, end: BASE + (5 << 30) });
        let ram = GuestRam::new(region);
        let at = |address, len| ram.pointer(address, len).map(|pointer| pointer as u64);
        assert_eq!(at(0, 16), Some(BASE));
        assert_eq!(at(0xdfff_fff8, 8), Some(BASE + 0xdfff_fff8));
        assert_eq!(at(0xdfff_fff8, 9), None, "into the hole");
        assert_eq!(at(0xe000_0000, 1), None);
        assert_eq!(at(0xffff_ffff, 2), None, "out of the hole");
        assert_eq!(at(0x1_0000_0000, 8), Some(BASE + 0xe000_0000));
        assert_eq!(at(0x1_5fff_fff8, 8), Some(BASE + 0x1_3fff_fff8), "the last word");
        assert_eq!(at(0x1_5fff_fff8, 9), None);
        assert_eq!(at(u64::MAX, 1), None);
    }
}
