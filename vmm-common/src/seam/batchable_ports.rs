//! Which port writes a backend may gather.

/// Ports whose 1-byte writes may be gathered and handed out later, in order, as nothing the guest
/// can see depends on the moment: a bit for each of [`BatchablePorts::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchablePorts(pub u8);

impl BatchablePorts {
    /// Those that ever are.
    pub const ALL: [u16; 4] = crate::machine::TRANSMITTERS;

    /// Whether the port at this position in [`BatchablePorts::ALL`] is one.
    #[must_use]
    pub const fn contains(self, position: usize) -> bool {
        self.0 & 1 << position != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
