//! Scan codes of set 2, how the controller makes set 1 of them, and which key of a US keyboard has
//! a character.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboard", the tables
//! of scan codes, and "Keyboard and Auxiliary Device Controller", the translation.

/// Before the code of a key that is released, in set 2.
pub(super) const BREAK: u8 = 0xF0;
/// Before the codes of keys that the 84-key keyboard has not.
pub(super) const EXTENDED: u8 = 0xE0;
/// In set 1 a released key's code has this bit.
pub(super) const RELEASED: u8 = 0x80;
/// The left Ctrl and Shift keys.
pub(super) const CONTROL: u8 = 0x14;
const SHIFT: u8 = 0x12;

/// A key and what is held down with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its code in set 2.
    pub(super) code: u8,
    pub(super) is_extended: bool,
    pub(super) has_control: bool,
    has_shift: bool,
}

/// What the controller makes of a byte of set 2 (0 to 7Fh); two keys have codes beyond, and all
/// other bytes, replies among them, stay as they are.
#[rustfmt::skip]
const TRANSLATION: [u8; 128] = [
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59,
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B,
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F,
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61,
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F,
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54,
];

/// What the controller makes of a byte of set 2.
pub(super) const fn translated(code: u8) -> u8 {
    match code {
        0x83 => 0x41,
        0x84 => 0x54,
        code if code < 0x80 => TRANSLATION[code as usize],
        code => code,
    }
}

/// The characters of each key without and with Shift, and the key's code.
#[rustfmt::skip]
const KEYS: [([u8; 2], u8); 47] = [
    (*b"`~", 0x0E), (*b"1!", 0x16), (*b"2@", 0x1E), (*b"3#", 0x26), (*b"4$", 0x25), (*b"5%", 0x2E),
    (*b"6^", 0x36), (*b"7&", 0x3D), (*b"8*", 0x3E), (*b"9(", 0x46), (*b"0)", 0x45), (*b"-_", 0x4E),
    (*b"=+", 0x55), (*b"qQ", 0x15), (*b"wW", 0x1D), (*b"eE", 0x24), (*b"rR", 0x2D), (*b"tT", 0x2C),
    (*b"yY", 0x35), (*b"uU", 0x3C), (*b"iI", 0x43), (*b"oO", 0x44), (*b"pP", 0x4D), (*b"[{", 0x54),
    (*b"]}", 0x5B), (*b"\\|", 0x5D), (*b"aA", 0x1C), (*b"sS", 0x1B), (*b"dD", 0x23), (*b"fF", 0x2B),
    (*b"gG", 0x34), (*b"hH", 0x33), (*b"jJ", 0x3B), (*b"kK", 0x42), (*b"lL", 0x4B), (*b";:", 0x4C),
    (*b"'\"", 0x52), (*b"zZ", 0x1A), (*b"xX", 0x22), (*b"cC", 0x21), (*b"vV", 0x2A), (*b"bB", 0x32),
    (*b"nN", 0x31), (*b"mM", 0x3A), (*b",<", 0x41), (*b".>", 0x49), (*b"/?", 0x4A),
];
const SPACE: u8 = 0x29;
const ENTER: u8 = 0x5A;
const TAB: u8 = 0x0D;
const BACKSPACE: u8 = 0x66;
const ESCAPE: u8 = 0x76;
const F1_TO_F12: [u8; 12] =
    [0x05, 0x06, 0x04, 0x0C, 0x03, 0x0B, 0x83, 0x0A, 0x01, 0x09, 0x78, 0x07];

impl Key {
    const fn plain(code: u8) -> Self {
        Self { code, is_extended: false, has_control: false, has_shift: false }
    }

    const fn extended(code: u8) -> Self {
        Self { is_extended: true, ..Self::plain(code) }
    }

    pub(super) const ESCAPE: Self = Self::plain(ESCAPE);

    /// The Shift key, if it is held down.
    pub(super) fn shift(self) -> Option<u8> {
        self.has_shift.then_some(SHIFT)
    }

    /// The key that a terminal sends this byte for; None: no key of this keyboard.
    pub(super) fn of_character(byte: u8) -> Option<Self> {
        match byte {
            b'\n' | b'\r' => Some(Self::plain(ENTER)),
            b'\t' => Some(Self::plain(TAB)),
            0x08 | 0x7F => Some(Self::plain(BACKSPACE)),
            b' ' => Some(Self::plain(SPACE)),
            // Ctrl and the character 40h above it; of letters the small one.
            0 => Some(Self { has_control: true, ..Self::plain(SPACE) }),
            0x01..=0x1A => Self::with_control(byte | 0x60),
            0x1B => Some(Self::ESCAPE),
            0x1C..=0x1F => Self::with_control(byte | 0x40),
            byte => Self::printable(byte),
        }
    }

    fn with_control(character: u8) -> Option<Self> {
        Self::printable(character).map(|key| Self { has_control: true, ..key })
    }

    fn printable(byte: u8) -> Option<Self> {
        let (characters, code) = KEYS.iter().find(|(characters, _)| characters.contains(&byte))?;
        Some(Self { has_shift: characters[1] == byte, ..Self::plain(*code) })
    }

    /// The key that a terminal sends ESC, `[` or O, and this for: a number, 0 if there is none, and
    /// the last byte (xterm's control sequences, "PC-Style Function Keys").
    pub(super) fn of_sequence(number: u8, last: u8) -> Option<Self> {
        let function = |index: u8| F1_TO_F12.get(usize::from(index)).map(|code| Self::plain(*code));
        match (last, number) {
            (b'A', _) => Some(Self::extended(0x75)),
            (b'B', _) => Some(Self::extended(0x72)),
            (b'C', _) => Some(Self::extended(0x74)),
            (b'D', _) => Some(Self::extended(0x6B)),
            (b'H', _) | (b'~', 1 | 7) => Some(Self::extended(0x6C)),
            (b'F', _) | (b'~', 4 | 8) => Some(Self::extended(0x69)),
            (b'~', 2) => Some(Self::extended(0x70)),
            (b'~', 3) => Some(Self::extended(0x71)),
            (b'~', 5) => Some(Self::extended(0x7D)),
            (b'~', 6) => Some(Self::extended(0x7A)),
            (b'P'..=b'S', _) => function(last - b'P'),
            (b'~', 11..=15) => function(number - 11),
            (b'~', 17..=21) => function(number - 12),
            (b'~', 23 | 24) => function(number - 13),
            (b'Z', _) => Some(Self { has_shift: true, ..Self::plain(TAB) }),
            _ => None,
        }
    }
}
