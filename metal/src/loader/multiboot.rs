//! The loader's information (Multiboot 1, 0.6.96, section 3.3): memory map and modules.

use super::structures::{MAX_STRUCTURES, structures};
use crate::carve::Region;

/// EAX at the entry.
pub const LOADED_MAGIC: u32 = 0x2bad_b002;
/// The most ranges of RAM that are used.
pub const MAX_RANGES: usize = 32;

/// Addresses from `begin` to `end`, less one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First address.
    pub begin: u64,
    /// The first one after it.
    pub end: u64,
}

/// The loader's information, copied out.
#[derive(Clone, Copy, Debug)]
pub struct Information {
    ranges: [Range; MAX_RANGES],
    count: usize,
    /// Where the first module lies, if there is one.
    pub module: Option<Range>,
    structures: [Range; MAX_STRUCTURES],
    /// Where the command line lies; 0 if there is none.
    pub(super) command_line: u64,
}

impl Information {
    /// Available RAM.
    #[must_use]
    pub fn ram(&self) -> &[Range] {
        &self.ranges[..self.count]
    }

    /// Reads the structure at `address` with `word(address)`, a load of 32 bits.
    #[must_use]
    pub fn read(address: u32, word: impl Fn(u64) -> u32) -> Self {
        const HAS_MEMORY_SIZES: u32 = 1 << 0;
        const HAS_COMMAND_LINE: u32 = 1 << 2;
        const HAS_MODULES: u32 = 1 << 3;
        const HAS_MAP: u32 = 1 << 6;
        let base = u64::from(address);
        let field = |offset: u64| word(base + offset);
        let mut information = Self {
            ranges: [Range::default(); MAX_RANGES],
            count: 0,
            module: None,
            structures: [Range::default(); MAX_STRUCTURES],
            command_line: 0,
        };
        let flags = field(0);
        if flags & HAS_COMMAND_LINE != 0 {
            information.command_line = field(16).into();
        }
        if flags & HAS_MODULES != 0 && field(20) > 0 {
            let module = u64::from(field(24));
            let (begin, end) = (u64::from(word(module)), u64::from(word(module + 4)));
            information.module = Some(Range { begin, end: end.max(begin) });
        }
        if flags & HAS_MAP != 0 {
            let map = Range::of(field(48), field(44));
            map_entries(map, &word).filter(|entry| entry.is_available).for_each(|entry| {
                information.add(entry.range.begin, entry.range.end - entry.range.begin);
            });
            // Entries of firmware's maps may overlap; a reserved one takes precedence.
            let reserved = map_entries(map, &word).filter(|entry| !entry.is_available);
            reserved.for_each(|entry| information.cut(entry.range));
        } else if flags & HAS_MEMORY_SIZES != 0 {
            information.add(0x10_0000, u64::from(field(8)) * 1024);
        }
        information.structures = structures(address, flags, &word);
        information
    }

    /// Where the loader's structures and modules lie; empty ranges besides.
    #[must_use]
    pub const fn structures(&self) -> &[Range; MAX_STRUCTURES] {
        &self.structures
    }

    /// The lowest `bytes` of RAM below 4 GiB that touch nothing reserved, found without allocating:
    /// what lies above stays in one piece.
    pub(crate) fn first_gap(&self, reserved: &[Range], bytes: u64) -> Option<Region> {
        const BELOW: u64 = 1 << 32;
        let starts = self.ram().iter().map(|ram| ram.begin);
        let starts = starts.chain(reserved.iter().map(|range| range.end));
        let gap = |begin: u64| Range { begin, end: begin.saturating_add(bytes) };
        let is_ram = |gap: &Range| {
            self.ram().iter().any(|ram| ram.begin <= gap.begin && gap.end <= ram.end.min(BELOW))
        };
        let is_free = |gap: &Range| {
            reserved.iter().all(|range| range.end <= gap.begin || gap.end <= range.begin)
        };
        starts
            .map(|start| gap(start.next_multiple_of(0x1000)))
            .filter(|gap| is_ram(gap) && is_free(gap))
            .min()
            .map(Region::of)
    }

    /// Adds RAM, less what other ranges already have.
    fn add(&mut self, begin: u64, bytes: u64) {
        let range = Range { begin, end: begin.saturating_add(bytes) };
        self.cut(range);
        self.push(range);
    }

    fn push(&mut self, range: Range) {
        if self.count < MAX_RANGES && range.begin < range.end {
            self.ranges[self.count] = range;
            self.count += 1;
        }
    }

    /// Removes `hole` from the RAM. A remainder for which the table has no room is not used.
    fn cut(&mut self, hole: Range) {
        if hole.begin >= hole.end {
            return;
        }
        for range in
            core::mem::take(&mut self.ranges).into_iter().take(core::mem::take(&mut self.count))
        {
            self.push(Range { end: range.end.min(hole.begin), ..range });
            self.push(Range { begin: range.begin.max(hole.end), ..range });
        }
    }
}

/// An entry of the memory map.
#[derive(Clone, Copy)]
struct MapEntry {
    range: Range,
    is_available: bool,
}

/// The entries of the map that lies there.
fn map_entries<'a>(
    map: Range,
    word: &'a impl Fn(u64) -> u32,
) -> impl Iterator<Item = MapEntry> + 'a {
    const AVAILABLE: u32 = 1;
    let long = |at: u64| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let next = move |at: &u64| Some(at + u64::from(word(*at)) + 4).filter(|at| *at < map.end);
    let first = (map.begin < map.end).then_some(map.begin);
    core::iter::successors(first, next).map(move |at| {
        let (begin, bytes) = (long(at + 4), long(at + 12));
        let range = Range { begin, end: begin.saturating_add(bytes) };
        MapEntry { range, is_available: word(at + 20) == AVAILABLE }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[(u64, u32)]) -> Information {
        let word = |at: u64| words.iter().find(|(of, _)| *of == at).map_or(0, |(_, word)| *word);
        Information::read(0x9000, word)
    }

    #[test]
    fn map_and_module_are_found() {
        let information = read(&[
            (0x9000, 1 << 6 | 1 << 3),
            (0x9014, 1),
            (0x9018, 0xa000),
            (0xa000, 0x20_0000),
            (0xa004, 0x20_1000),
            (0x902c, 48),
            (0x9030, 0xb000),
            (0xb000, 20),
            (0xb00c, 0x9fc00),
            (0xb014, 1),
            (0xb018, 20),
            (0xb01c, 0x10_0000),
            (0xb024, 0x700_0000),
            (0xb02c, 1),
        ]);
        assert_eq!(information.module, Some(Range { begin: 0x20_0000, end: 0x20_1000 }));
        let ram = [(0, 0x9fc00), (0x10_0000, 0x710_0000)].map(|(begin, end)| Range { begin, end });
        assert_eq!(information.ram(), ram);
    }

    #[test]
    fn the_lowest_gap_is_taken() {
        let mut information = read(&[]);
        information.add(0x10_0000, 0x1000_0000);
        let range = |begin, end| Range { begin, end };
        // An empty range between two others, as where a module brings the plan.
        let reserved =
            [range(0, 0x18_0000), range(0x500_0000, 0x500_0000), range(0x18_0000, 0x20_0000)];
        let gap = information.first_gap(&reserved, 0x80_0000).map(|gap| gap.range());
        assert_eq!(gap, Some(range(0x20_0000, 0xa0_0000)));
    }

    #[test]
    fn what_is_reserved_counts_where_entries_of_the_map_overlap() {
        // Reserved 0x9f000 to 0x10_0000; available from 0 and from 0x8_0000; a hole in the middle.
        let entries: [(u32, u32, u32); 5] = [
            (0x9_f000, 0x6_1000, 2),
            (0, 0xa_0000, 1),
            (0x10_0000, 0x70_0000, 1),
            (0x20_0000, 0x10_0000, 4),
            (0x40_0000, 0x80_0000, 1),
        ];
        let word = |at: u64| match at {
            0x9000 => 1 << 6,
            0x902c => 24 * 5,
            0x9030 => 0xb000,
            0xb000.. => {
                let (begin, bytes, kind) = entries[(at - 0xb000) as usize / 24];
                match (at - 0xb000) % 24 {
                    0 => 20,
                    4 => begin,
                    12 => bytes,
                    20 => kind,
                    _ => 0,
                }
            }
            _ => 0,
        };
        let mut ram = Information::read(0x9000, word).ram().to_vec();
        ram.sort_unstable();
        let expected =
            [(0, 0x9_f000), (0x10_0000, 0x20_0000), (0x30_0000, 0x40_0000), (0x40_0000, 0xc0_0000)];
        assert_eq!(ram, expected.map(|(begin, end)| Range { begin, end }));
    }

    #[test]
    fn memory_sizes_serve_where_there_is_no_map() {
        let information = read(&[(0x9000, 1), (0x9008, 1024)]);
        assert_eq!(information.ram(), [Range { begin: 0x10_0000, end: 0x20_0000 }]);
        assert_eq!(information.module, None);
    }

    #[test]
    fn an_empty_module_is_one() {
        let module = |begin, end| {
            read(&[(0x9000, 8), (0x9014, 1), (0x9018, 0xa000), (0xa000, begin), (0xa004, end)])
                .module
        };
        let empty = Some(Range { begin: 0x20_0000, end: 0x20_0000 });
        assert_eq!(module(0x20_0000, 0x20_0000), empty);
        assert_eq!(module(0x20_0000, 0x1f_0000), empty);
    }
}
