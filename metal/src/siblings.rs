//! The vCPUs of one guest.

/// Which of its guest's vCPUs a new one is; `B` is a control block.
#[derive(Debug)]
pub enum Siblings<'a, B> {
    /// The only one.
    Alone,
    /// The first of several.
    First,
    /// Another one, beside this one.
    Beside(&'a B),
}

impl<'a, B> Siblings<'a, B> {
    /// There is no other.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        matches!(self, Self::Alone)
    }

    /// The same, with a part of the block.
    pub fn map<P>(self, part: impl FnOnce(&'a B) -> &'a P) -> Siblings<'a, P> {
        match self {
            Self::Alone => Siblings::Alone,
            Self::First => Siblings::First,
            Self::Beside(block) => Siblings::Beside(part(block)),
        }
    }
}
