//! Sets of a link's ends.

/// The most ends one link may have.
pub const MAX_ENDS: usize = 64;

/// A set of ends, numbered from 0 to [`MAX_ENDS`] - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndSet(u64);

impl EndSet {
    /// No end.
    pub const EMPTY: Self = Self(0);

    /// The ends from 0 up to `count` - 1.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        if count >= MAX_ENDS { Self(u64::MAX) } else { Self((1 << count) - 1) }
    }

    /// Whether `end` is in the set.
    #[must_use]
    pub const fn contains(self, end: usize) -> bool {
        end < MAX_ENDS && self.0 >> end & 1 != 0
    }

    /// Whether nobody is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set without `end`.
    #[must_use]
    pub const fn without(self, end: usize) -> Self {
        if end < MAX_ENDS { Self(self.0 & !(1 << end)) } else { self }
    }

    /// Adds `end`; one that no link can have is not added.
    pub const fn insert(&mut self, end: usize) {
        if end < MAX_ENDS {
            self.0 |= 1 << end;
        }
    }

    /// The ends in the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_ENDS).filter(move |&end| self.contains(end))
    }
}

#[cfg(test)]
mod tests {
    use super::{EndSet, MAX_ENDS};

    #[test]
    fn set_holds_what_was_put_in() {
        let mut set = EndSet::EMPTY;
        assert!(set.is_empty());
        set.insert(0);
        set.insert(MAX_ENDS - 1);
        set.insert(MAX_ENDS);
        assert!(set.contains(0) && set.contains(MAX_ENDS - 1) && !set.contains(MAX_ENDS));
        assert!(set.iter().eq([0, MAX_ENDS - 1]));
        assert!(set.without(0).without(MAX_ENDS).iter().eq([MAX_ENDS - 1]));
    }

    #[test]
    fn first_counts_from_zero_to_everybody() {
        assert_eq!(EndSet::first(0), EndSet::EMPTY);
        assert!(EndSet::first(3).iter().eq(0..3));
        assert!(EndSet::first(MAX_ENDS).iter().eq(0..MAX_ENDS));
    }
}
