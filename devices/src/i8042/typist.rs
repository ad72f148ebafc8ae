//! Presses the keys for the bytes that a terminal sends: characters, and the sequences of its arrow
//! and function keys.

use super::scan_codes::Key;

/// What came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Typist {
    #[default]
    Between,
    /// An ESC.
    Escape,
    /// An ESC and `[` or O.
    Sequence {
        /// Its first number so far.
        number: u8,
        /// Another number has begun, a modifier, which is left out.
        has_more: bool,
    },
}

impl Typist {
    /// Whether an ESC waits for what it begins.
    pub(super) fn has_escape(self) -> bool {
        self == Self::Escape
    }

    /// A byte from the terminal; the keys that it completes, at most two.
    pub(super) fn take(&mut self, byte: u8) -> [Option<Key>; 2] {
        let (next, keys) = match (*self, byte) {
            (Self::Between | Self::Escape, 0x1B) => {
                (Self::Escape, [(*self == Self::Escape).then_some(Key::ESCAPE), None])
            }
            (Self::Between, byte) => (Self::Between, [Key::of_character(byte), None]),
            (Self::Escape, b'[' | b'O') => {
                (Self::Sequence { number: 0, has_more: false }, [None, None])
            }
            // Alt and a key are sent so: Escape and the key are near enough.
            (Self::Escape, byte) => (Self::Between, [Some(Key::ESCAPE), Key::of_character(byte)]),
            (Self::Sequence { number, has_more: false }, b'0'..=b'9') => {
                let number = number.saturating_mul(10).saturating_add(byte - b'0');
                (Self::Sequence { number, has_more: false }, [None, None])
            }
            (Self::Sequence { number, .. }, b'0'..=b'9' | b';') => {
                (Self::Sequence { number, has_more: true }, [None, None])
            }
            (Self::Sequence { number, .. }, last) => {
                (Self::Between, [Key::of_sequence(number, last), None])
            }
        };
        *self = next;
        keys
    }

    /// No byte follows for now: an ESC was the Escape key.
    pub(super) fn pause(&mut self) -> Option<Key> {
        let key = self.has_escape().then_some(Key::ESCAPE);
        if key.is_some() {
            *self = Self::Between;
        }
        key
    }
}
