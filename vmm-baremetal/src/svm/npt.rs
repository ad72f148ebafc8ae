//! Nested page tables: guest-physical to host-physical addresses, in the format of the host's own
//! four-level tables (APM vol. 2, 15.25). They map a guest's RAM and nothing else; what is not
//! mapped exits.

use crate::frames::{FRAME_BYTES, Frame, Frames, OutOfFrames};
use crate::ram::GuestRam;
use alloc::vec::Vec;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
/// Every access of a guest counts as a user's.
const USER: u64 = 1 << 2;
/// Set in advance, which spares the processor doing it.
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;
const LEVELS: u32 = 4;

/// A VM's tables.
#[derive(Debug)]
pub struct NestedTables {
    /// The root is the last one.
    tables: Vec<Frame>,
}

/// A stretch of guest-physical memory and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First guest-physical address.
    pub guest: u64,
    /// Where that is, host-physical.
    pub host: u64,
    /// Length.
    pub bytes: u64,
}

impl NestedTables {
    /// Tables that map `ram` at guest-physical 0, by pages as large as alignment allows.
    ///
    /// # Errors
    /// [`OutOfFrames`] if the tables do not fit.
    pub fn new(
        ram: &GuestRam,
        has_gib_pages: bool,
        frames: &mut Frames,
    ) -> Result<Self, OutOfFrames> {
        let mut builder = Builder { ram, has_gib_pages, frames, tables: Vec::new() };
        builder.table(LEVELS, 0)?;
        Ok(Self { tables: builder.tables })
    }

    /// Physical address of the root, for the VMCB.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.tables.last().expect("`new` makes a root").address()
    }

    /// What the tables map, read from them as the processor would; neighbours are joined.
    #[must_use]
    pub fn mappings(&self) -> Vec<Mapping> {
        let mut found = Vec::new();
        self.walk(self.root(), LEVELS, 0, &mut found);
        found
    }

    fn walk(&self, table: u64, level: u32, guest: u64, found: &mut Vec<Mapping>) {
        let table = self.tables.iter().find(|frame| frame.address() == table);
        let words = table.expect("entries point to tables of ours").words();
        for (guest, entry) in (guest..).step_by(page_bytes(level) as usize).zip(words) {
            match (entry & PRESENT != 0, level == 1 || entry & LARGE != 0) {
                (false, _) => {}
                (true, false) => self.walk(entry & ADDRESS, level - 1, guest, found),
                (true, true) => {
                    let host = entry & ADDRESS;
                    join(found, Mapping { guest, host, bytes: page_bytes(level) });
                }
            }
        }
    }
}

struct Builder<'a> {
    ram: &'a GuestRam,
    has_gib_pages: bool,
    frames: &'a mut Frames,
    tables: Vec<Frame>,
}

impl Builder<'_> {
    /// A table, and all below it, for addresses from `guest` on; returns where it is.
    fn table(&mut self, level: u32, guest: u64) -> Result<u64, OutOfFrames> {
        let mut table = self.frames.take()?;
        let bytes = page_bytes(level);
        let addresses = (guest..self.ram.bytes()).step_by(bytes as usize);
        for (entry, guest) in table.words_mut().iter_mut().zip(addresses) {
            let host = self.ram.host_base() + guest;
            *entry = if self.is_page(level, guest, host) {
                let large = if level == 1 { 0 } else { LARGE };
                host | TABLE | DIRTY | large
            } else {
                self.table(level - 1, guest)? | TABLE
            };
        }
        let address = table.address();
        self.tables.push(table);
        Ok(address)
    }

    fn is_page(&self, level: u32, guest: u64, host: u64) -> bool {
        let bytes = page_bytes(level);
        let fits = self.ram.bytes() - guest >= bytes && host.is_multiple_of(bytes);
        match level {
            1 => true,
            2 => fits,
            3 => fits && self.has_gib_pages,
            _ => false,
        }
    }
}

/// Bytes that an entry of a table of this level stands for; level 1 is the lowest.
const fn page_bytes(level: u32) -> u64 {
    FRAME_BYTES << (9 * (level - 1))
}

fn join(found: &mut Vec<Mapping>, next: Mapping) {
    match found.last_mut() {
        Some(last)
            if last.guest + last.bytes == next.guest && last.host + last.bytes == next.host =>
        {
            last.bytes += next.bytes;
        }
        _ => found.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::vec;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[derive(Clone)]
    #[repr(align(4096))]
    struct Page(#[allow(dead_code)] [u8; 4096]);

    fn frames(count: usize) -> Frames {
        let begin = Box::leak(vec![Page([0; 4096]); count].into_boxed_slice()).as_mut_ptr() as u64;
        // SAFETY: the memory was leaked for these frames alone.
        unsafe { Frames::new(begin, begin + count as u64 * FRAME_BYTES) }
    }

    fn ram(host: u64, bytes: u64) -> GuestRam {
        // SAFETY: tables are made of the addresses; nobody reads or writes there.
        unsafe { GuestRam::new(host, bytes) }
    }

    /// Checks that exactly the RAM is mapped, and by how many tables.
    fn check(host: u64, bytes: u64, has_gib_pages: bool, tables: usize) {
        let built = NestedTables::new(&ram(host, bytes), has_gib_pages, &mut frames(tables))
            .expect("that many tables suffice");
        assert_eq!(built.tables.len(), tables);
        assert_eq!(built.mappings(), [Mapping { guest: 0, host, bytes }]);
    }

    #[test]
    fn aligned_ram_is_mapped_by_2_mib_pages() {
        check(64 * MIB, 16 * MIB, true, 3);
    }

    #[test]
    fn ram_that_ends_within_2_mib_has_its_last_pages_mapped_singly() {
        check(64 * MIB, 5 * MIB + 0x3000, true, 4);
    }

    #[test]
    fn ram_at_an_odd_frame_is_mapped_by_4_kib_pages() {
        check(64 * MIB + 0x1000, 4 * MIB, true, 5);
    }

    #[test]
    fn gib_pages_are_used_where_the_processor_has_them() {
        check(4 * GIB, 2 * GIB + 2 * MIB, true, 3);
        check(4 * GIB, 2 * GIB + 2 * MIB, false, 5);
    }

    #[test]
    fn more_than_one_root_entry_is_filled() {
        check(1024 * GIB, 513 * GIB, true, 3);
    }

    #[test]
    fn too_few_frames_are_an_error() {
        let built = NestedTables::new(&ram(64 * MIB, 16 * MIB), true, &mut frames(2));
        assert_eq!(built.map(|_| ()), Err(OutOfFrames));
    }

    #[test]
    fn tables_of_two_vms_share_no_host_address() {
        let mut frames = frames(16);
        let first = NestedTables::new(&ram(64 * MIB, 6 * MIB), true, &mut frames);
        let second = NestedTables::new(&ram(70 * MIB, 10 * MIB), true, &mut frames);
        let first = first.expect("fits").mappings();
        let second = second.expect("fits").mappings();
        for a in &first {
            for b in &second {
                assert!(a.host + a.bytes <= b.host || b.host + b.bytes <= a.host);
            }
        }
    }
}
