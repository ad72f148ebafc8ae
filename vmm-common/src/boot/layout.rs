//! What lies where in a machine's RAM before its first instruction: pieces that must lie within it and
//! not on one another.

use super::{BootError, Content, Part, Piece};
use crate::plan::DEVICE_HOLE;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

/// RAM as it fills up.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) ram_bytes: u64,
    pieces: Vec<Piece>,
    taken: Vec<Taken>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    begin: u64,
    end: u64,
    what: What,
}

/// A piece in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Of a file, as "the image".
    Image(&'static str),
    /// Of an ELF file, by its program header.
    Segment(usize),
    /// What the loader adds, as "the GDT".
    Added(&'static str),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(name) | Self::Added(name) => f.write_str(name),
            Self::Segment(index) => write!(f, "segment {index}"),
        }
    }
}

/// A piece to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Whose fault it is if that cannot be.
    pub(super) part: Part,
    pub(super) what: What,
    /// Guest physical address.
    pub(super) address: u64,
    /// Bytes that are its own, those behind its contents with them.
    pub(super) len: u64,
}

impl Layout {
    /// RAM ends where device registers may lie, so that every address in it has 32 bits.
    pub(super) fn new(ram_bytes: u64) -> Self {
        Self { ram_bytes: ram_bytes.min(DEVICE_HOLE), pieces: Vec::new(), taken: Vec::new() }
    }

    /// Puts a piece where it must lie.
    pub(super) fn put(&mut self, place: Place, content: Content) -> Result<(), BootError> {
        self.reserve(place)?;
        self.pieces.push(Piece { address: place.address, content });
        Ok(())
    }

    /// Puts bytes made here where they must lie.
    pub(super) fn put_bytes(
        &mut self,
        what: &'static str,
        address: u64,
        bytes: Vec<u8>,
    ) -> Result<(), BootError> {
        let (len, what) = (bytes.len() as u64, What::Added(what));
        self.put(Place { part: Part::Kernel, what, address, len }, Content::Bytes(bytes))
    }

    /// Keeps everything else off the place.
    pub(super) fn reserve(&mut self, place: Place) -> Result<(), BootError> {
        let Place { part, what, address: begin, len } = place;
        let (end, ram) = (begin.checked_add(len), self.ram_bytes);
        let Some(end) = end.filter(|end| *end <= ram) else {
            let end = end.unwrap_or(u64::MAX);
            let why = match what {
                What::Added(_) => format!(
                    "no room for {what} at {begin:#x}, memory ends at {ram:#x}; allowed: more memory"
                ),
                What::Image(_) | What::Segment(_) => format!(
                    "{what} ends at {end:#x}, memory at {ram:#x}; allowed: an image that fits"
                ),
            };
            return Err(BootError { part, why });
        };
        if let Some(other) = self.taken.iter().find(|t| t.begin < end && begin < t.end) {
            let Taken { begin, end, what: other } = *other;
            let why = format!(
                "{other} at {begin:#x} to {end:#x} is in the way of {what}; allowed: an image elsewhere"
            );
            return Err(BootError { part, why });
        }
        if begin < end {
            self.taken.push(Taken { begin, end, what });
        }
        Ok(())
    }

    /// The lowest free place for `len` bytes at a whole page, from `from` on.
    pub(super) fn lowest_free(&self, len: u64, from: u64) -> Option<u64> {
        let candidates = self.taken.iter().map(|taken| taken.end).chain([from]);
        let pages = candidates.filter_map(|at| at.max(from).checked_next_multiple_of(PAGE));
        pages.filter(|at| self.is_free(*at, len)).min()
    }

    /// The highest free place for `len` bytes at a whole page that ends at `limit` or below.
    pub(super) fn highest_free(&self, len: u64, limit: u64) -> Option<u64> {
        let limit = limit.min(self.ram_bytes);
        let candidates = self.taken.iter().map(|taken| taken.begin).chain([limit]);
        let pages = candidates.filter_map(|end| end.min(limit).checked_sub(len));
        pages.map(|at| at - at % PAGE).filter(|at| self.is_free(*at, len)).max()
    }

    fn is_free(&self, begin: u64, len: u64) -> bool {
        let Some(end) = begin.checked_add(len) else { return false };
        end <= self.ram_bytes && !self.taken.iter().any(|t| t.begin < end && begin < t.end)
    }

    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }
}

const PAGE: u64 = 0x1000;

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
        for (address, len) in [(0x1fff, 1), (0, 0x1001), (0x2fff, 2), (0, 0x10_0000)] {
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
        let mut layout = Layout::new(0x10_0000);
        layout.reserve(at(0x1000, 0x1801)).unwrap();
        layout.reserve(at(0xf_f000, 0x10)).unwrap();
        assert_eq!(layout.lowest_free(0x1000, 0x1000), Some(0x3000));
        assert_eq!(layout.lowest_free(0x1000, 0), Some(0));
        assert_eq!(layout.highest_free(0x1800, u64::MAX), Some(0xf_d000));
        assert_eq!(layout.highest_free(0xfd000, u64::MAX), None);
        assert_eq!(layout.lowest_free(u64::MAX, 0), None);
    }
}
