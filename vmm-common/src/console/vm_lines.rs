//! One VM's unfinished line: its bytes, and how much of it the terminal shows.

use super::display::Display;
use super::sequences::STYLE_END;
use crate::Instant;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The unfinished line of the VM that has the keyboard is shown once the guest has added nothing to
/// it for this long.
const LINGER_NS: u64 = 20_000_000;
/// The same for other VMs.
const OTHERS_LINGER_NS: u64 = 1_000_000_000;
/// A guest's line is broken after this many bytes.
const LINE_BYTES: usize = 4096;
/// A row has at least this many columns, however long the names are.
const MIN_ROW_COLUMNS: usize = 16;
/// Foreground colours that read well on dark and light: cyan, yellow, green, magenta, blue, red.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// What one VM printed since its last line's end, and what became of the lines before.
#[derive(Debug)]
pub struct VmLines {
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) row: Row,
    /// Bytes of the row that the terminal shows already, on the line it is on.
    pub(super) shown: usize,
    /// How much of the row was shown last, wherever that is now.
    shown_before: usize,
    /// The length of the row at the last check, and since when it has that length.
    looked_at: (usize, Instant),
    /// Bytes left out since the last line that fitted.
    pub(super) omitted: u64,
    pub(super) omitted_total: u64,
}

/// Printable text on one row.
#[derive(Debug)]
pub struct Row {
    bytes: Vec<u8>,
    /// Columns that it takes at most, of those that it may take.
    columns: usize,
    max_columns: usize,
    /// So many bytes at its end are ASCII characters, which a rubout may take away.
    erasable: usize,
    is_styled: bool,
}

impl VmLines {
    /// The empty line of VM `index`, whose name gets `width` columns.
    pub fn new(index: usize, name: &str, width: usize, display: Display) -> Self {
        let colour = COLOURS[index % COLOURS.len()];
        let prefix = match display.has_colours() {
            true => format!("\x1b[{colour}m{name:width$} |\x1b[0m "),
            false => format!("{name:width$} | "),
        };
        let mut row =
            Row { bytes: Vec::new(), columns: 0, max_columns: 0, erasable: 0, is_styled: false };
        row.set_columns(display, width);
        Self {
            name: name.to_string(),
            prefix,
            row,
            shown: 0,
            shown_before: 0,
            looked_at: (0, Instant::ZERO),
            omitted: 0,
            omitted_total: 0,
        }
    }

    /// Counts bytes that are left out.
    pub const fn omit(&mut self, bytes: usize) {
        self.omitted += bytes as u64;
        self.omitted_total += bytes as u64;
    }

    /// Begins the next row.
    pub fn begin_row(&mut self) {
        self.row.clear();
        (self.shown, self.shown_before) = (0, 0);
    }

    /// The terminal shows all of the row.
    pub const fn has_shown(&mut self) {
        (self.shown, self.shown_before) = (self.row.bytes.len(), self.row.bytes.len());
    }

    /// The unfinished line is to be shown again, though the terminal has shown it.
    pub const fn show_again(&mut self) {
        self.shown_before = 0;
    }

    /// A character was erased; true if the terminal showed it.
    pub fn hide_erased(&mut self) -> bool {
        let len = self.row.bytes.len();
        let was_shown = self.shown > len;
        if was_shown {
            (self.shown, self.shown_before) = (len, len);
        }
        was_shown
    }

    /// Whether the unfinished line should be shown `now`.
    pub fn is_prompt_due(&mut self, has_keyboard: bool, now: Instant) -> bool {
        let len = self.row.bytes.len();
        if self.looked_at.0 != len {
            self.looked_at = (len, now);
        }
        self.prompt_due(has_keyboard).is_some_and(|due| due <= now)
    }

    /// When the unfinished line should be shown, if it is not.
    pub fn prompt_due(&self, has_keyboard: bool) -> Option<Instant> {
        let is_news = match has_keyboard {
            true => self.shown_before != self.row.bytes.len(),
            false => self.shown_before == 0,
        };
        let linger_ns = if has_keyboard { LINGER_NS } else { OTHERS_LINGER_NS };
        (is_news && !self.row.is_empty()).then(|| self.looked_at.1.after_ns(linger_ns))
    }
}

impl Row {
    /// It has the columns of `display` behind a name that gets `width` of them.
    pub fn set_columns(&mut self, display: Display, width: usize) {
        let columns = display.row_columns().saturating_sub(width + " | ".len());
        self.max_columns = columns.max(MIN_ROW_COLUMNS);
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// It shows nothing.
    pub const fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// It must end here.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= LINE_BYTES
    }

    /// So many columns more fit.
    pub const fn has_room(&self, columns: usize) -> bool {
        self.is_empty() || self.columns + columns <= self.max_columns
    }

    /// Adds text that takes `columns` at most.
    pub fn add(&mut self, text: &[u8], columns: usize) {
        self.bytes.extend_from_slice(text);
        self.columns += columns;
        self.erasable = if text.len() == 1 && text[0].is_ascii_graphic() || text == b" " {
            self.erasable + 1
        } else {
            0
        };
    }

    /// Adds a sequence that takes no columns.
    pub fn style(&mut self, sequence: &str, is_reset: bool) {
        self.bytes.extend_from_slice(sequence.as_bytes());
        self.is_styled = !is_reset;
        self.erasable = 0;
    }

    /// Takes the last character away, if it is one of ASCII.
    pub fn rub_out(&mut self) -> bool {
        if self.erasable == 0 {
            return false;
        }
        self.erasable -= 1;
        self.columns -= 1;
        self.bytes.pop();
        true
    }

    /// What ends its colours.
    pub const fn style_end(&self) -> &'static [u8] {
        if self.is_styled { STYLE_END } else { &[] }
    }

    /// Ends it.
    pub fn end(&mut self, newline: &[u8]) {
        self.bytes.extend_from_slice(self.style_end());
        self.bytes.extend_from_slice(newline);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.columns, self.erasable, self.is_styled) = (0, 0, false);
    }
}
