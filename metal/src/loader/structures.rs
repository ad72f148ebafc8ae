//! What else the loader left besides the memory map: the tables that its information points to,
//! modules, texts. All of it is reserved.

use super::multiboot::Range;
use crate::frames::FRAME_BYTES;

/// The most structures of the loader that are reserved: 16 tables, and a range and a name for each
/// of 12 modules.
pub const MAX_STRUCTURES: usize = 40;

/// All that the information at `address` points to (table of section 3.3).
pub(super) fn structures(
    address: u32,
    flags: u32,
    word: &impl Fn(u64) -> u32,
) -> [Range; MAX_STRUCTURES] {
    const TEXT_BYTES: u32 = 1024;
    const MODULE_BYTES: u32 = 16;
    const INFORMATION_BYTES: u32 = 120;
    let field = |offset: u64| word(u64::from(address) + offset);
    let has = |flag: u32| flags & 1 << flag != 0;
    // The flag, and where what it announces lies.
    let modules = if has(3) { field(20) } else { 0 };
    let tables = [
        (true, Range::of(address, INFORMATION_BYTES)),
        (has(2), Range::of(field(16), TEXT_BYTES)),
        (has(3), Range::of(field(24), modules.saturating_mul(MODULE_BYTES))),
        // Symbols of a.out: two sizes, an address; of ELF: number, size, address of headers.
        (has(4), Range::of(field(36), field(28).saturating_add(field(32)))),
        (has(5), Range::of(field(36), field(28).saturating_mul(field(32)))),
        (has(6), Range::of(field(48), field(44))),
        (has(7), Range::of(field(56), field(52))),
        (has(8), Range::of(field(60), TEXT_BYTES)),
        (has(9), Range::of(field(64), TEXT_BYTES)),
        (has(10), Range::of(field(68), 20)),
        (has(11), Range::of(field(72), 512)),
        (has(11), Range::of(field(76), 256)),
    ];
    let module = |index: u32| {
        let at = u64::from(field(24)) + u64::from(index) * u64::from(MODULE_BYTES);
        let (begin, end) = (word(at), word(at + 4));
        [Range::of(begin, end.saturating_sub(begin)), Range::of(word(at + 8), TEXT_BYTES)]
    };
    let tables = tables.into_iter().filter_map(|(is_there, range)| is_there.then_some(range));
    let mut found = [Range::default(); MAX_STRUCTURES];
    for (to, range) in found.iter_mut().zip(tables.chain((0..modules).flat_map(module))) {
        *to = range;
    }
    found
}

impl Range {
    /// The range extended to whole frames; an empty range stays empty.
    pub(crate) const fn whole_frames(self) -> Self {
        if self.begin == self.end {
            return self;
        }
        let begin = self.begin - self.begin % FRAME_BYTES;
        Self { begin, end: self.end.next_multiple_of(FRAME_BYTES) }
    }

    /// From a structure's address and length.
    pub(super) const fn of(address: u32, bytes: u32) -> Self {
        let begin = address as u64;
        Self { begin, end: begin + bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[(u64, u32)]) -> [Range; MAX_STRUCTURES] {
        let word = |at: u64| words.iter().find(|(of, _)| *of == at).map_or(0, |(_, word)| *word);
        structures(0x9000, word(0x9000), &word)
    }

    #[test]
    fn all_that_the_loader_left_is_reported() {
        let found = found(&[
            (0x9000, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9),
            (0x9010, 0x5000),
            (0x9014, 2),
            (0x9018, 0xa000),
            (0x902c, 48),
            (0x9030, 0xb000),
            (0x9040, 0x6000),
            (0xa000, 0x20_0000),
            (0xa004, 0x20_1000),
            (0xa008, 0x7000),
            (0xa010, 0x30_0000),
            (0xa014, 0x38_0000),
            (0xa018, 0x8000),
        ]);
        let found = found.iter().filter(|range| range.begin < range.end);
        let expected = [
            (0x9000, 0x9078),
            (0x5000, 0x5400),
            (0xa000, 0xa020),
            (0xb000, 0xb030),
            (0x6000, 0x6400),
            (0x20_0000, 0x20_1000),
            (0x7000, 0x7400),
            (0x30_0000, 0x38_0000),
            (0x8000, 0x8400),
        ];
        assert!(found.copied().eq(expected.map(|(begin, end)| Range { begin, end })));
    }
}
