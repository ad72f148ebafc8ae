//! What a guest prints, as text that does nothing to a terminal and to programs that read lines.
//!
//! Text in UTF-8, tabs and line feeds pass. Other controls are shown: of ASCII as `^G`, the others
//! (ISO/IEC 6429's C1, Unicode's line and paragraph separators, the characters that change the
//! direction of text) as `\u{9b}`, and bytes that are not UTF-8 as `\x9b`. Three things are
//! understood:
//! - CR LF is one line feed; a CR without one begins a new line, so that nothing is overwritten.
//! - BS, space, BS erases a character: this is how terminal drivers and shells echo a correction
//!   (Linux's `n_tty`).
//! - A sequence that selects colours or weight, SGR (ECMA-48, 8.3.117): see [`Piece::Style`].

use crate::units::acts_on_text;
use core::fmt::Write;

/// The longest SGR sequence that is understood, bytes.
const HELD_BYTES: usize = 32;
const ESC: u8 = 0x1b;
const BS: u8 = 0x08;
const DEL: u8 = 0x7f;

/// A piece of what a guest printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A printable ASCII character.
    Ascii(u8),
    /// A tab, another character, or a control made visible.
    Text(&'a str),
    /// An SGR sequence of digits, `;` and `:`, as `ESC [ 1 ; 31 m`.
    Style {
        /// All of it.
        sequence: &'a str,
        /// It goes back to the terminal's own colours and weight.
        is_reset: bool,
    },
    /// The last character is erased.
    Rubout,
    /// The line ends.
    LineEnd,
    /// The cursor goes back to the line's beginning.
    Return,
}

/// The state of one guest's stream between two bytes.
#[derive(Debug)]
pub struct Printable {
    /// The beginning of a character or sequence.
    held: [u8; HELD_BYTES],
    len: usize,
    /// A CR whose LF may follow.
    has_return: bool,
}

/// What the held bytes and one more are.
enum Held {
    /// The beginning of something.
    Beginning,
    /// A character of more than one byte.
    Character,
    Style,
    Rubout,
    /// Nothing that is understood; the last byte may begin something.
    Nothing,
}

impl Printable {
    /// The beginning of a stream.
    pub const fn new() -> Self {
        Self { held: [0; HELD_BYTES], len: 0, has_return: false }
    }

    /// Takes a byte, and hands on the pieces that are complete.
    pub fn push(&mut self, byte: u8, take: &mut impl FnMut(Piece<'_>)) {
        if self.len > 0 && !self.push_held(byte, take) {
            return;
        }
        let had_return = core::mem::take(&mut self.has_return);
        match byte {
            b'\n' => take(Piece::LineEnd),
            b'\r' => self.has_return = true,
            byte => {
                if had_return {
                    take(Piece::Return);
                }
                match byte {
                    b' '..=b'~' => take(Piece::Ascii(byte)),
                    // The beginnings of well-formed sequences (The Unicode Standard, table 3-7).
                    BS | ESC | 0xc2..=0xf4 => {
                        self.held[0] = byte;
                        self.len = 1;
                    }
                    byte => show_byte(byte, take),
                }
            }
        }
    }

    /// The stream ends, or something else follows it: hands on what is held.
    pub fn finish(&mut self, take: &mut impl FnMut(Piece<'_>)) {
        self.show_held(take);
        self.has_return = false;
    }

    /// Takes a byte behind those that are held. True if it is still to be taken.
    fn push_held(&mut self, byte: u8, take: &mut impl FnMut(Piece<'_>)) -> bool {
        self.held[self.len] = byte;
        let bytes = &self.held[..=self.len];
        let text = core::str::from_utf8(bytes).unwrap_or_default();
        match classify(bytes) {
            Held::Beginning if bytes.len() < HELD_BYTES => {
                self.len += 1;
                return false;
            }
            Held::Beginning | Held::Nothing => {
                self.show_held(take);
                return true;
            }
            Held::Character => show_character(text, take),
            Held::Style => {
                let is_reset = !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
                take(Piece::Style { sequence: text, is_reset });
            }
            Held::Rubout => take(Piece::Rubout),
        }
        self.len = 0;
        false
    }

    fn show_held(&mut self, take: &mut impl FnMut(Piece<'_>)) {
        for byte in &self.held[..core::mem::take(&mut self.len)] {
            match byte {
                b' '..=b'~' => take(Piece::Ascii(*byte)),
                byte => show_byte(*byte, take),
            }
        }
    }
}

fn classify(bytes: &[u8]) -> Held {
    match bytes {
        [ESC, b'['] | [BS, b' '] => Held::Beginning,
        [ESC, b'[', .., b'0'..=b'9' | b';' | b':'] => Held::Beginning,
        [ESC, b'[', .., b'm'] => Held::Style,
        [BS, b' ', BS] => Held::Rubout,
        [ESC | BS, ..] => Held::Nothing,
        bytes => match core::str::from_utf8(bytes) {
            Ok(_) => Held::Character,
            Err(error) if error.error_len().is_none() => Held::Beginning,
            Err(_) => Held::Nothing,
        },
    }
}

/// A byte that is no printable ASCII, by itself.
fn show_byte(byte: u8, take: &mut impl FnMut(Piece<'_>)) {
    match byte {
        b'\t' => take(Piece::Text("\t")),
        0..b' ' | DEL => {
            let caret = [b'^', byte ^ 0x40];
            take(Piece::Text(core::str::from_utf8(&caret).unwrap_or("^")));
        }
        byte => {
            let mut shown = Shown::new();
            write!(shown, "\\x{byte:02x}").expect("it has room for all bytes");
            take(Piece::Text(shown.as_str()));
        }
    }
}

fn show_character(text: &str, take: &mut impl FnMut(Piece<'_>)) {
    match text.chars().next() {
        Some(character) if acts_on_text(character) => {
            let mut shown = Shown::new();
            let number = u32::from(character);
            write!(shown, "\\u{{{number:x}}}").expect("it has room for all characters");
            take(Piece::Text(shown.as_str()));
        }
        Some(_) | None => take(Piece::Text(text)),
    }
}

/// A character or byte as it is shown: the longest is `\u{10ffff}`.
struct Shown {
    bytes: [u8; 10],
    len: usize,
}

impl Shown {
    const fn new() -> Self {
        Self { bytes: [0; 10], len: 0 }
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Shown {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(core::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    /// The pieces of `bytes` as text: styles in angle brackets, `<<` for a rubout.
    fn shown(bytes: &[u8]) -> String {
        let mut text = String::new();
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Ascii(byte) => text.push(char::from(byte)),
            Piece::Text(piece) => text += piece,
            Piece::Style { sequence, is_reset } => {
                text += &alloc::format!("<{}{}>", &sequence[2..], if is_reset { "!" } else { "" });
            }
            Piece::Rubout => text += "<<",
            Piece::LineEnd => text.push('\n'),
            Piece::Return => text.push('\r'),
        };
        let mut printable = Printable::new();
        for byte in bytes {
            printable.push(*byte, &mut take);
        }
        printable.finish(&mut take);
        text
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(shown(bytes), expected, "{bytes:02x?}");
    }

    #[test]
    fn text_tabs_and_lines_pass() {
        let text = "plain\ttext ~ \u{e4}\u{f6}\u{df} \u{65e5}\u{672c} \u{1f600} \u{5d0}\n";
        check(text.as_bytes(), text);
    }

    #[test]
    fn controls_of_ascii_have_a_caret() {
        check(b"\0\x01\x05\x07\x0b\x0c\x0e\x0f\x1f\x7f", "^@^A^E^G^K^L^N^O^_^?");
    }

    #[test]
    fn sequences_of_a_terminal_show_as_text() {
        check(b"\x1b]0;title\x07", "^[]0;title^G");
        check(b"\x1b[6n\x1b[1G\x1b[2K\x1b[?1049h\x1bc", "^[[6n^[[1G^[[2K^[[?1049h^[c");
        check(b"\x1bP$q\x1b\\", "^[P$q^[\\");
        check("\u{9b}6n \u{9d}0;x\u{9c}".as_bytes(), "\\u{9b}6n \\u{9d}0;x\\u{9c}");
        check(b"\x9b6n \x9d0;x\x9c", "\\x9b6n \\x9d0;x\\x9c");
    }

    #[test]
    fn characters_that_end_lines_or_turn_text_round_show_as_numbers() {
        let text = "\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}\u{61c}";
        check(text.as_bytes(), "\\u{85}\\u{2028}\\u{2029}\\u{202e}\\u{2066}\\u{200f}\\u{61c}");
    }

    #[test]
    fn bytes_that_are_no_utf_8_show_as_numbers_and_what_follows_stays() {
        check(b"\xff\xfe\x80\xc0\xaf", "\\xff\\xfe\\x80\\xc0\\xaf");
        check(b"\xe2\x80x", "\\xe2\\x80x");
        check(b"\xe2\x80\xe2\x80\xa8", "\\xe2\\x80\\u{2028}");
        check(b"\xe0\x80\xa8", "\\xe0\\x80\\xa8");
        check(b"\xed\xa0\x80\xf4\x90\x80\x80", "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80");
        check(b"\xc3", "\\xc3");
        check(b"\xc3\n", "\\xc3\n");
    }

    #[test]
    fn carriage_returns_before_a_line_feed_are_part_of_it() {
        check(b"one\r\ntwo\r\r\nthree\rfour\n\rfive\r", "one\ntwo\nthree\rfour\n\rfive");
    }

    #[test]
    fn only_colours_and_weight_are_styles() {
        check(b"\x1b[31mred\x1b[0m \x1b[1;38:5:9mbold\x1b[m", "<31m>red<0m!> <1;38:5:9m>bold<m!>");
        check(b"\x1b[00;0m", "<00;0m!>");
        // xterm's key modifiers, DEC's private ones, and a space before the final byte.
        check(b"\x1b[>4;2m\x1b[?4m\x1b[1 m", "^[[>4;2m^[[?4m^[[1 m");
        check(b"\x1b[3\x1b[31m", "^[[3<31m>");
        check(b"\x1b[31", "^[[31");
        let mut long = b"\x1b[".to_vec();
        long.extend([b'1'; 40]);
        check(&long, &alloc::format!("^[[{}", "1".repeat(40)));
    }

    #[test]
    fn backspace_space_backspace_is_a_rubout_and_other_backspaces_show() {
        check(b"ab\x08 \x08c", "ab<<c");
        check(b"ab\x08\x08 \x08c", "ab^H<<c");
        check(b"ab\x08 c\x08", "ab^H c^H");
    }
}
