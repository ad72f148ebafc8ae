//! A set of a machine's processors.

/// Processors of a machine at most: the x2APIC IDs of one cluster.
pub const MAX_PROCESSORS: usize = 16;

/// A set of processors, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processors(u32);

impl Processors {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set of processor `index` alone; empty if a machine has no such processor.
    #[must_use]
    pub const fn only(index: usize) -> Self {
        if index < MAX_PROCESSORS { Self(1 << index) } else { Self::NONE }
    }

    /// Whether processor `index` is in the set.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        self.0 & Self::only(index).0 != 0
    }

    /// No processor is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many processors are in the set.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The set and processor `index`.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        Self(self.0 | Self::only(index).0)
    }

    /// The set less processor `index`.
    #[must_use]
    pub const fn without(self, index: usize) -> Self {
        Self(self.0 & !Self::only(index).0)
    }

    /// The processors of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// In ascending order.
impl Iterator for Processors {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let first = self.0.trailing_zeros() as usize;
        if self.is_empty() {
            return None;
        }
        *self = self.without(first);
        Some(first)
    }
}
