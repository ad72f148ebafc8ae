//! A link's ends, and sets of them.

/// The most ends one link may have.
pub const MAX_ENDS: usize = 64;

/// An end of a link, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkEnd(pub usize);

impl LinkEnd {
    /// The ends of a link with `count` ends.
    pub fn first(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(Self)
    }
}

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
    pub const fn contains(self, LinkEnd(end): LinkEnd) -> bool {
        end < MAX_ENDS && self.0 >> end & 1 != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set without `end`.
    #[must_use]
    pub const fn without(self, LinkEnd(end): LinkEnd) -> Self {
        if end < MAX_ENDS { Self(self.0 & !(1 << end)) } else { self }
    }

    /// The set with the ends of `other`.
    #[must_use]
    pub const fn with(self, Self(other): Self) -> Self {
        Self(self.0 | other)
    }

    /// Adds `end`; ignores one that no link can have.
    pub const fn insert(&mut self, LinkEnd(end): LinkEnd) {
        if end < MAX_ENDS {
            self.0 |= 1 << end;
        }
    }

    /// The ends in the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = LinkEnd> {
        LinkEnd::first(MAX_ENDS).filter(move |&end| self.contains(end))
    }
}

#[cfg(test)]
mod tests {
    use super::{EndSet, LinkEnd, MAX_ENDS};

    #[test]
    fn set_holds_what_was_put_in() {
        let mut set = EndSet::EMPTY;
        assert!(set.is_empty());
        set.insert(LinkEnd(0));
        set.insert(LinkEnd(MAX_ENDS - 1));
        set.insert(LinkEnd(MAX_ENDS));
        assert!(
            set.contains(LinkEnd(0))
                && set.contains(LinkEnd(MAX_ENDS - 1))
                && !set.contains(LinkEnd(MAX_ENDS))
        );
        assert!(set.iter().eq([LinkEnd(0), LinkEnd(MAX_ENDS - 1)]));
        assert!(
            set.without(LinkEnd(0)).without(LinkEnd(MAX_ENDS)).iter().eq([LinkEnd(MAX_ENDS - 1)])
        );
    }

    #[test]
    fn first_counts_from_zero_to_everybody() {
        assert_eq!(EndSet::first(0), EndSet::EMPTY);
        assert!(EndSet::first(3).iter().eq(LinkEnd::first(3)));
        assert!(EndSet::first(MAX_ENDS).iter().eq(LinkEnd::first(MAX_ENDS)));
    }
}
