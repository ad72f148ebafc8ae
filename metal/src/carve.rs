//! Allocates physical memory: first fit, from below, of what is neither taken nor reserved.

use crate::loader::multiboot::Range;
use alloc::vec::Vec;

/// Physical memory that one owner has, all of it RAM and mapped. Only [`Free`] gives any out.
///
/// ```compile_fail,E0423
/// use metal::carve::Region;
/// let mine = Region(metal::loader::multiboot::Range { begin: 0, end: 0x1000 });
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Region(Range);

impl Region {
    /// The caller must have found `range` free.
    pub(crate) const fn of(range: Range) -> Self {
        Self(range)
    }

    /// Its first address.
    #[must_use]
    pub const fn begin(&self) -> u64 {
        self.0.begin
    }

    /// Its length.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.0.end - self.0.begin
    }

    /// Its addresses.
    #[must_use]
    pub const fn range(&self) -> Range {
        self.0
    }
}

/// Memory not yet allocated.
#[derive(Debug)]
pub struct Free {
    ranges: Vec<Range>,
}

impl Free {
    /// `ram`, which the loader's map says it is, less `reserved` and what `taken` has.
    #[must_use]
    pub(crate) fn new(ram: &[Range], reserved: &[Range], taken: Range) -> Self {
        let mut free = Self { ranges: ram.to_vec() };
        free.ranges.sort_unstable();
        for range in reserved {
            free.remove(*range);
        }
        free.remove(taken);
        free
    }

    /// Takes `bytes` at a multiple of `align`, below `limit`.
    pub fn take(&mut self, bytes: u64, align: u64, limit: u64) -> Option<Region> {
        let fits = |range: &Range| {
            let begin = range.begin.checked_next_multiple_of(align)?;
            let end = begin.checked_add(bytes)?;
            (end <= range.end.min(limit)).then_some(Range { begin, end })
        };
        let taken = self.ranges.iter().find_map(fits)?;
        self.remove(taken);
        Some(Region(taken))
    }

    /// What is left, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.begin).sum()
    }

    /// `taken` is in use.
    fn remove(&mut self, taken: Range) {
        if taken.begin >= taken.end {
            return;
        }
        let cut = |range: &Range| {
            let before = Range { begin: range.begin, end: range.end.min(taken.begin) };
            let after = Range { begin: range.begin.max(taken.end), end: range.end };
            [before, after].into_iter().filter(|range| range.begin < range.end)
        };
        self.ranges = self.ranges.iter().flat_map(cut).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Range = Range { begin: 0, end: 0 };
    const RAM: [Range; 2] =
        [Range { begin: 0x10_0000, end: 0x800_0000 }, Range { begin: 1 << 32, end: 5 << 30 }];

    #[test]
    fn what_is_taken_is_disjoint_from_all_else() {
        let reserved = [Range { begin: 0x10_0000, end: 0x34_5000 }];
        let mut free = Free::new(&RAM, &reserved, NOTHING);
        let mut taken: Vec<Range> = reserved.to_vec();
        while let Some(region) = free.take(0x123_4000, 0x20_0000, u64::MAX) {
            let range = region.range();
            assert_eq!(range.begin % 0x20_0000, 0);
            assert!(RAM.iter().any(|ram| ram.begin <= range.begin && range.end <= ram.end));
            assert!(taken.iter().all(|t| t.end <= range.begin || range.end <= t.begin));
            taken.push(range);
        }
        assert!(taken.len() > 50, "{}", taken.len());
    }

    #[test]
    fn nothing_is_taken_by_an_empty_range() {
        let empty = Range { begin: 0x500_0000, end: 0x500_0000 };
        let mut free = Free::new(&RAM, &[empty], NOTHING);
        assert!(free.take(0x700_0000, 0x1000, 1 << 32).is_some());
    }

    #[test]
    fn a_limit_is_kept_and_too_much_is_refused() {
        let mut free = Free::new(&RAM, &[], NOTHING);
        assert_eq!(free.take(0x800_0000, 0x1000, 1 << 32), None);
        assert!(free.take(0x800_0000, 0x1000, u64::MAX).is_some_and(|r| r.begin() == 1 << 32));
    }
}
