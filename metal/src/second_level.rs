//! Second-level address translation: a guest's RAM where its plan has it, and nothing else.
//! An access to an unmapped address exits: a device's, or absent. Intel's EPT and AMD's nested
//! paging are the same four levels of tables and differ in the flags of an entry, a [`Format`].

use crate::frames::{FRAME_BYTES, Frame, Frames, OutOfFrames};
use crate::guest_ram::GuestRam;
use crate::paging::LARGE;
use crate::siblings::Siblings;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;

mod mappings;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const ROOT_LEVEL: u32 = 3;

/// What an entry is made of besides its address, and how much it may map.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Flags of an entry that leads to a table.
    pub table: u64,
    /// Flags of an entry that maps 4 KiB; one that maps more has bit 7 besides.
    pub page: u64,
    /// An entry can map 2 MiB.
    pub has_2m: bool,
    /// An entry can map 1 GiB.
    pub has_1g: bool,
}

/// The tables of one guest, which all its vCPUs share: they never change, so that no translation
/// that a processor has cached of them gets stale.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The root is the last one.
    frames: Rc<Vec<Frame>>,
}

impl Tables {
    /// Maps `ram` with all rights, by pages as large as alignment and `format` allow.
    ///
    /// # Errors
    /// [`OutOfFrames`] if there is no room for the tables.
    pub fn new(frames: &mut Frames, ram: &GuestRam, format: Format) -> Result<Self, OutOfFrames> {
        let pieces = ram.pieces();
        let is_whole = |(guest, host): &(Range<u64>, u64)| {
            (guest.start | guest.end | host).is_multiple_of(FRAME_BYTES)
        };
        assert!(pieces.iter().all(is_whole), "RAM is made of 4 KiB pages");
        let mut builder = Builder { frames, pieces, format, tables: Vec::new() };
        builder.table(ROOT_LEVEL, 0)?;
        Ok(Self { frames: Rc::new(builder.tables) })
    }

    /// Those of the guest whose vCPU is made: its siblings', or new ones.
    ///
    /// # Errors
    /// As [`Tables::new`].
    pub fn of_guest(
        siblings: Siblings<'_, Self>,
        frames: &mut Frames,
        ram: &GuestRam,
        format: Format,
    ) -> Result<Self, OutOfFrames> {
        match siblings {
            Siblings::Beside(tables) => Ok(tables.clone()),
            Siblings::Alone | Siblings::First => Self::new(frames, ram, format),
        }
    }

    /// Host-physical address of the root.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.frames.last().expect("`new` makes a root").address()
    }
}

struct Builder<'a> {
    frames: &'a mut Frames,
    /// Guest-physical ranges, and where each begins, host-physical.
    pieces: [(Range<u64>, u64); 2],
    format: Format,
    tables: Vec<Frame>,
}

impl Builder<'_> {
    /// A table whose first entry is for `guest`, and all below it; its address.
    fn table(&mut self, level: u32, guest: u64) -> Result<u64, OutOfFrames> {
        let mut table = self.frames.take()?;
        let addresses = (guest..).step_by(entry_bytes(level) as usize);
        for (entry, guest) in table.words_mut().iter_mut().zip(addresses) {
            let covered = guest..guest + entry_bytes(level);
            let is_ram = |(ram, _): &&(Range<u64>, u64)| {
                ram.start < covered.end.min(ram.end) && covered.start < ram.end
            };
            let Some((ram, host)) = self.pieces.iter().find(is_ram).cloned() else { continue };
            let is_whole = ram.start <= covered.start && covered.end <= ram.end;
            let host = (host + covered.start).wrapping_sub(ram.start);
            *entry = match level {
                0 => host | self.format.page,
                _ if is_whole && self.is_page(level, host) => host | self.format.page | LARGE,
                _ => self.table(level - 1, guest)? | self.format.table,
            };
        }
        let address = table.address();
        self.tables.push(table);
        Ok(address)
    }

    /// Whether one entry of this level, above 0, maps what begins at `host`.
    const fn is_page(&self, level: u32, host: u64) -> bool {
        let is_possible = match level {
            1 => self.format.has_2m,
            2 => self.format.has_1g,
            _ => false,
        };
        is_possible && host.is_multiple_of(entry_bytes(level))
    }
}

/// What one entry of a table of this level covers; level 0 has 4 KiB pages.
const fn entry_bytes(level: u32) -> u64 {
    FRAME_BYTES << (9 * level)
}

#[cfg(test)]
mod tests;
