//! What lies where in a machine's RAM before its first instruction: pieces that must lie within it
//! and not on one another.
//!
//! ```text
//!       0  the BIOS's interrupt vectors and data area
//!   0x500  free: segments, a BIOS stub
//!          what a protocol adds, from the top down; the EBDA beneath it
//! 0xa0000  the BIOS area, with the ACPI tables at 0xe0000 and the MP tables at 0xf0000
//! 1 MiB    free: the image, modules from below, an initrd from above
//! ```
//!
//! What the image needs is put first. The rest goes where that leaves room.

use super::memory_map::{self, HIGH_MEMORY, LOW_MEMORY_END};
use super::{BootError, Content, Part, Piece};
use crate::plan::ram_ranges;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// RAM as it fills up.
#[derive(Debug)]
pub(super) struct Layout {
    /// RAM below the device hole.
    pub(super) ram_bytes: u64,
    /// RAM from 4 GiB on.
    high_ram: Range<u64>,
    pieces: Vec<Piece>,
    taken: Vec<Taken>,
}

/// Where the BIOS data area ends, with the bytes that a BIOS's print screen keeps behind it.
const BIOS_DATA_END: u64 = 0x500;

#[derive(Clone, Copy, Debug)]
struct Taken {
    begin: u64,
    end: u64,
    what: What,
}

/// A piece's name for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Of a file, as "the image".
    Image(&'static str),
    /// Of an ELF file, by its program header.
    Segment(usize),
    /// What the loader adds, as "the GDT".
    Added(&'static str),
    /// What a BIOS reserves.
    Firmware(&'static str),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(name) | Self::Added(name) | Self::Firmware(name) => f.write_str(name),
            Self::Segment(index) => write!(f, "segment {index}"),
        }
    }
}

/// A piece to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The file to blame if that fails.
    pub(super) part: Part,
    pub(super) what: What,
    /// Guest physical address.
    pub(super) address: u64,
    /// Bytes that it occupies, including those after its contents.
    pub(super) len: u64,
}

impl Layout {
    /// What is placed lies below the hole for devices, so that every address of it has 32 bits.
    pub(super) fn new(ram_bytes: u64) -> Self {
        let firmware = |begin, end, name| Taken { begin, end, what: What::Firmware(name) };
        let taken = [
            firmware(0, BIOS_DATA_END, "the BIOS's vectors and data"),
            firmware(LOW_MEMORY_END, HIGH_MEMORY, "the BIOS area"),
        ];
        let [low, high] = ram_ranges(ram_bytes);
        Self { ram_bytes: low.end, high_ram: high, pieces: Vec::new(), taken: taken.to_vec() }
    }

    /// Puts a piece where it must lie.
    pub(super) fn put(&mut self, place: Place, content: Content) -> Result<(), BootError> {
        self.reserve(place)?;
        self.pieces.push(Piece { address: place.address, content });
        Ok(())
    }

    /// Puts bytes made here into memory that the BIOS reserves.
    pub(super) fn put_firmware(
        &mut self,
        what: &'static str,
        address: u64,
        bytes: Vec<u8>,
    ) -> Result<(), BootError> {
        let what = What::Firmware(what);
        self.check_end(Place { part: Part::Kernel, what, address, len: bytes.len() as u64 })?;
        self.pieces.push(Piece { address, content: Content::Bytes(bytes) });
        Ok(())
    }

    /// Puts bytes made here where the image leaves room; the address.
    pub(super) fn add_bytes(
        &mut self,
        what: &'static str,
        bytes: Vec<u8>,
    ) -> Result<u64, BootError> {
        let address = self.add(what, bytes.len() as u64)?;
        self.pieces.push(Piece { address, content: Content::Bytes(bytes) });
        Ok(address)
    }

    /// Puts bytes made here at a place that was added for them.
    pub(super) fn fill(&mut self, address: u64, bytes: Vec<u8>) {
        self.pieces.push(Piece { address, content: Content::Bytes(bytes) });
    }

    /// Reserves whole pages for `len` bytes that the loader adds: as high as the image allows in
    /// low memory, else as low as it allows in high memory. Their address.
    pub(super) fn add(&mut self, what: &'static str, len: u64) -> Result<u64, BootError> {
        let pages = len.next_multiple_of(PAGE);
        let low = self.highest_free(pages, LOW_MEMORY_END, PAGE);
        let Some(address) = low.or_else(|| self.lowest_free(pages, HIGH_MEMORY)) else {
            let ram = self.ram_bytes;
            return Err(BootError::kernel(format!(
                "no room for {what}, {len} bytes, beside the image, memory ends at {ram:#x}; \
                allowed: more memory"
            )));
        };
        let what = What::Added(what);
        self.reserve(Place { part: Part::Kernel, what, address, len: pages })?;
        Ok(address)
    }

    /// Reserves `len` bytes, aligned to `len`, in low memory, below all that was added there
    /// before.
    pub(super) fn add_beneath(&mut self, what: &'static str, len: u64) -> Result<u64, BootError> {
        let is_added = |taken: &&Taken| matches!(taken.what, What::Added(_));
        let added = self.taken.iter().filter(is_added).map(|taken| taken.begin);
        let limit = added.chain([LOW_MEMORY_END]).min().unwrap_or(LOW_MEMORY_END);
        let Some(address) = self.highest_free(len, limit, len) else {
            return Err(BootError::kernel(format!(
                "no room for {what}, {len} bytes, below {limit:#x} beside the image; allowed: an \
                image that leaves it"
            )));
        };
        self.reserve(Place { part: Part::Kernel, what: What::Added(what), address, len })?;
        Ok(address)
    }

    /// Reserves the place.
    pub(super) fn reserve(&mut self, place: Place) -> Result<(), BootError> {
        let end = self.check_end(place)?;
        let Place { part, what, address: begin, .. } = place;
        if let Some(other) = self.taken.iter().find(|t| t.begin < end && begin < t.end) {
            let Taken { begin, end, what: other } = *other;
            let why = format!(
                "{other} at {begin:#x} to {end:#x} is in the way of {what}; allowed: an image \
                elsewhere"
            );
            return Err(BootError { part, why });
        }
        if begin < end {
            self.taken.push(Taken { begin, end, what });
        }
        Ok(())
    }

    /// Checks that a piece ends in RAM; its end.
    fn check_end(&self, place: Place) -> Result<u64, BootError> {
        let Place { part, what, address: begin, len } = place;
        let (end, ram) = (begin.checked_add(len), self.ram_bytes);
        end.filter(|end| *end <= ram).ok_or_else(|| {
            let end = end.unwrap_or(u64::MAX);
            let why = match what {
                What::Added(_) | What::Firmware(_) => format!(
                    "no room for {what} at {begin:#x}, memory ends at {ram:#x}; allowed: more \
                    memory"
                ),
                What::Image(_) | What::Segment(_) => format!(
                    "{what} ends at {end:#x}, memory at {ram:#x}; allowed: an image that fits"
                ),
            };
            BootError { part, why }
        })
    }

    /// The lowest free place for `len` bytes at a whole page, from `from` on. An empty piece, too,
    /// gets its own address, which identifies it.
    pub(super) fn lowest_free(&self, len: u64, from: u64) -> Option<u64> {
        let len = len.max(1);
        let candidates = self.taken.iter().map(|taken| taken.end).chain([from]);
        let pages = candidates.filter_map(|at| at.max(from).checked_next_multiple_of(PAGE));
        pages.filter(|at| self.is_free(*at, len)).min()
    }

    /// The highest free place for `len` bytes at a multiple of `alignment` that ends at `limit` or
    /// below.
    pub(super) fn highest_free(&self, len: u64, limit: u64, alignment: u64) -> Option<u64> {
        let (limit, len) = (limit.min(self.ram_bytes), len.max(1));
        let candidates = self.taken.iter().map(|taken| taken.begin).chain([limit]);
        let pages = candidates.filter_map(|end| end.min(limit).checked_sub(len));
        pages.map(|at| at - at % alignment).filter(|at| self.is_free(*at, len)).max()
    }

    fn is_free(&self, begin: u64, len: u64) -> bool {
        let Some(end) = begin.checked_add(len) else { return false };
        end <= self.ram_bytes && !self.taken.iter().any(|t| t.begin < end && begin < t.end)
    }

    /// Where the next part of an image begins, from `begin` on and below `end`; `end` if none does.
    pub(super) fn next_image(&self, begin: u64, end: u64) -> u64 {
        let is_image = |taken: &&Taken| matches!(taken.what, What::Image(_) | What::Segment(_));
        let images = self.taken.iter().filter(is_image).map(|taken| taken.begin);
        images.filter(|at| (begin..end).contains(at)).min().unwrap_or(end)
    }

    /// The most entries that the memory map can have once `more` ranges are reserved.
    pub(super) fn max_map_entries(&self, more: usize) -> usize {
        // One may cut a range of RAM in two.
        self.memory_map(&[]).len() + 2 * more
    }

    /// The memory map with what the loader added so far, and the other `reserved` ranges.
    pub(super) fn memory_map(&self, reserved: &[(u64, u64)]) -> Vec<memory_map::Range> {
        let is_added = |taken: &&Taken| matches!(taken.what, What::Added(_));
        let added = self.taken.iter().filter(is_added).map(|taken| (taken.begin, taken.end));
        let reserved = added.chain(reserved.iter().copied()).collect();
        memory_map::with_reserved(self.ram_bytes, &self.high_ram, reserved)
    }

    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }
}

pub(super) const PAGE: u64 = 0x1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u64, len: u64) -> Place {
        Place { part: Part::Kernel, what: What::Image("the image"), address, len }
    }

    #[test]
    fn pieces_lie_in_ram_and_not_on_one_another() {
        let mut layout = Layout::new(0x10_0000);
        assert!(layout.reserve(at(0x1000, 0x1000)).is_ok());
        assert!(layout.reserve(at(0x2000, 0x1000)).is_ok());
        assert!(layout.reserve(at(0x500, 0xb00)).is_ok(), "behind the BIOS data area");
        assert!(layout.reserve(at(0x9_f000, 0x1000)).is_ok(), "up to the BIOS area");
        let firmware = [(0x4ff, 1), (0xa_0000, 1), (0xd_ffff, 1), (0xe_1000, 1), (0xf_ffff, 1)];
        let taken = [(0x1fff, 1), (0, 0x1001), (0x2fff, 2), (0, 0x10_0000)];
        for (address, len) in firmware.into_iter().chain(taken) {
            let error = layout.reserve(at(address, len)).unwrap_err();
            assert!(error.why.contains("is in the way of the image"), "{error}");
        }
        for (address, len) in [(0xf_ffff, 2), (u64::MAX, 1), (0x10_0000, 1)] {
            let error = layout.reserve(at(address, len)).unwrap_err();
            assert!(error.why.contains("memory at 0x100000"), "{error}");
        }
    }

    #[test]
    fn what_may_lie_anywhere_finds_a_free_page() {
        let mut layout = Layout::new(0x20_0000);
        layout.reserve(at(0x1000, 0x1801)).unwrap();
        layout.reserve(at(0x1f_f000, 0x10)).unwrap();
        assert_eq!(layout.lowest_free(0x1000, 0x1000), Some(0x3000));
        assert_eq!(layout.lowest_free(0x1000, HIGH_MEMORY), Some(0x10_0000));
        assert_eq!(layout.highest_free(0x1800, u64::MAX, PAGE), Some(0x1f_d000));
        assert_eq!(layout.highest_free(0x1800, u64::MAX, 0x400), Some(0x1f_d800));
        assert_eq!(layout.highest_free(0xff_001, u64::MAX, PAGE), None);
        assert_eq!(layout.lowest_free(u64::MAX, 0), None);
    }

    #[test]
    fn what_is_added_goes_to_the_top_of_low_memory_then_above_the_image() {
        let mut layout = Layout::new(0x40_0000);
        layout.reserve(at(0x9_8000, 0x1000)).unwrap();
        assert_eq!(layout.add("the GDT", 0x20).ok(), Some(0x9_f000));
        assert_eq!(layout.add("the page tables", 0x6000).ok(), Some(0x9_9000));
        assert_eq!(layout.add("the stack", 0x1000).ok(), Some(0x9_7000));
        assert_eq!(layout.next_image(0x9_9000, 0xa_0000), 0xa_0000);
        assert_eq!(layout.next_image(0x9_7000, 0xa_0000), 0x9_8000);
        assert_eq!(layout.add_beneath("the EBDA", 0x400).ok(), Some(0x9_6c00));
        layout.reserve(at(0x10_0000, 0x1234)).unwrap();
        assert_eq!(layout.add("a large one", 0xa_0000).ok(), Some(0x10_2000));
        let error = layout.add("a larger one", 0x40_0000).unwrap_err();
        let why =
            "no room for a larger one, 4194304 bytes, beside the image, memory ends at 0x400000";
        assert!(error.why.starts_with(why), "{error}");
    }
}
