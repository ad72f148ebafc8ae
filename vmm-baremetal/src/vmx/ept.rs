//! Extended page tables: a guest's RAM from guest-physical address 0 on, and nothing else (SDM
//! vol. 3, 29.3). Everything that is not RAM faults, and is a device's or nobody's.

use crate::frames::{Frame, Frames, OutOfFrames};
use crate::ram::GuestRam;
use alloc::vec::Vec;

const READ_WRITE_EXECUTE: u64 = 0b111;
const WRITE_BACK: u64 = 6 << 3;
const IS_PAGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// In the pointer: tables in write-back memory, four levels.
const POINTER_FLAGS: u64 = 6 | 3 << 3;
const LEVELS: u32 = 4;
const ENTRIES: u64 = 512;

/// The sizes of page that the processor's EPT has, besides 4 KiB.
#[derive(Clone, Copy, Debug)]
pub struct PageSizes {
    /// 2 MiB.
    pub has_2m: bool,
    /// 1 GiB.
    pub has_1g: bool,
}

/// The tables of one guest.
#[derive(Debug)]
pub struct Ept {
    root: u64,
    tables: Vec<Frame>,
}

/// A stretch of guest-physical memory, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Guest-physical address.
    pub guest: u64,
    /// Host-physical address.
    pub host: u64,
    /// Length.
    pub bytes: u64,
}

impl Ept {
    /// Maps `ram`, readable, writable and executable, write-back.
    ///
    /// # Errors
    /// [`OutOfFrames`] if there is no room for the tables.
    pub fn new(frames: &mut Frames, ram: &GuestRam, sizes: PageSizes) -> Result<Self, OutOfFrames> {
        let mut ept = Self { root: 0, tables: Vec::new() };
        ept.root = ept.table(frames, ram, sizes, LEVELS - 1, 0)?;
        Ok(ept)
    }

    /// The EPT pointer.
    #[must_use]
    pub const fn pointer(&self) -> u64 {
        self.root | POINTER_FLAGS
    }

    /// Everything that the tables map, in the guest's order, neighbours joined.
    #[must_use]
    pub fn mappings(&self) -> Vec<Mapping> {
        let mut mappings = Vec::new();
        self.walk(self.root, LEVELS - 1, 0, &mut mappings);
        mappings
    }

    /// Builds a table whose first entry is for `guest`; its address.
    fn table(
        &mut self,
        frames: &mut Frames,
        ram: &GuestRam,
        sizes: PageSizes,
        level: u32,
        guest: u64,
    ) -> Result<u64, OutOfFrames> {
        let mut table = frames.take()?;
        let entry_bytes = entry_bytes(level);
        for index in 0..ENTRIES {
            let begin = guest + index * entry_bytes;
            if begin >= ram.bytes() {
                break;
            }
            let host = ram.host_base() + begin;
            let is_whole = begin + entry_bytes <= ram.bytes() && host.is_multiple_of(entry_bytes);
            let is_page = is_whole
                && match level {
                    0 => true,
                    1 => sizes.has_2m,
                    2 => sizes.has_1g,
                    _ => false,
                };
            table.words_mut()[index as usize] = match (is_page, level) {
                (true, 0) => host | WRITE_BACK | READ_WRITE_EXECUTE,
                (true, _) => host | IS_PAGE | WRITE_BACK | READ_WRITE_EXECUTE,
                // A last, partial 4 KiB page does not exist: RAM is a multiple of 4 KiB.
                (false, 0) => 0,
                (false, _) => {
                    self.table(frames, ram, sizes, level - 1, begin)? | READ_WRITE_EXECUTE
                }
            };
        }
        let address = table.address();
        self.tables.push(table);
        Ok(address)
    }

    fn walk(&self, table: u64, level: u32, guest: u64, mappings: &mut Vec<Mapping>) {
        let table = self.tables.iter().find(|frame| frame.address() == table);
        let table = table.expect("entries lead to our own tables only");
        for (index, &entry) in table.words().iter().enumerate() {
            let begin = guest + index as u64 * entry_bytes(level);
            let host = entry & ADDRESS;
            if entry & READ_WRITE_EXECUTE == 0 {
                continue;
            }
            if level > 0 && entry & IS_PAGE == 0 {
                self.walk(host, level - 1, begin, mappings);
                continue;
            }
            let bytes = entry_bytes(level);
            match mappings.last_mut() {
                Some(last)
                    if last.guest + last.bytes == begin && last.host + last.bytes == host =>
                {
                    last.bytes += bytes;
                }
                _ => mappings.push(Mapping { guest: begin, host, bytes }),
            }
        }
    }
}

/// What one entry of a table of this level covers; level 0 has 4 KiB pages.
const fn entry_bytes(level: u32) -> u64 {
    0x1000 << (9 * level)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// Builds tables for RAM there, with `count` frames; how many were used.
    fn check(host_base: u64, bytes: u64, sizes: PageSizes, frames_used: u64) {
        let memory = vec![0_u64; 512 * 66];
        let begin = (memory.as_ptr() as u64).next_multiple_of(0x1000);
        // SAFETY: the vector outlives the frames, and nothing else uses it.
        let mut frames = unsafe { Frames::new(begin, begin + 64 * 0x1000) };
        // SAFETY: nothing is read or written through it.
        let ram = unsafe { GuestRam::new(host_base, bytes) };
        let ept = Ept::new(&mut frames, &ram, sizes).expect("enough frames");
        assert_eq!(ept.mappings(), [Mapping { guest: 0, host: host_base, bytes }]);
        assert_eq!(64 - frames.left_bytes() / 0x1000, frames_used);
        assert_eq!(ept.pointer() & 0xfff, 0x1e);
        drop(memory);
    }

    const ALL: PageSizes = PageSizes { has_2m: true, has_1g: true };
    const SMALL: PageSizes = PageSizes { has_2m: false, has_1g: false };

    #[test]
    fn ram_and_nothing_else_is_mapped() {
        check(16 * MIB, 64 * MIB, ALL, 3);
        check(16 * MIB, 64 * MIB + 0x5000, ALL, 4);
        check(16 * MIB, 64 * MIB, SMALL, 35);
    }

    #[test]
    fn large_pages_need_alignment_and_the_processors_leave() {
        check(4 * GIB, 2 * GIB, ALL, 2);
        check(4 * GIB, 2 * GIB, PageSizes { has_2m: true, has_1g: false }, 4);
        check(4 * GIB + 2 * MIB, 2 * GIB, ALL, 4);
        check(MIB, 4 * MIB, ALL, 5);
    }

    #[test]
    fn too_few_frames_is_an_error() {
        // SAFETY: there is no memory in it.
        let mut frames = unsafe { Frames::new(0x1000, 0x1000) };
        // SAFETY: nothing is read or written through it.
        let ram = unsafe { GuestRam::new(0, MIB) };
        assert_eq!(Ept::new(&mut frames, &ram, ALL).err(), Some(OutOfFrames));
    }
}
