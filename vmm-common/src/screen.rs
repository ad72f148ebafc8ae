//! A VM's text screen as lines of text: what is new on it since the last look.
//!
//! A guest writes the screen as RAM, with no exit. So it is compared with a copy now and then.
//! A row is printed once the guest has gone on to another one, or has left it alone for a while.
//! Rows that have only moved up, as screens scroll, are not printed again: the new screen is held
//! against the old one moved up by each number of rows. The row with the cursor at its end may grow
//! yet: what is added to it is printed behind it.
//!
//! What scrolls through between two looks is not seen. Colours are left out.

use crate::index::VmIndex;
use crate::memory::GuestMemory;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::Write;

mod code_page;

/// Where the text screen lies.
pub const ADDRESS: u64 = 0xb_8000;
/// Its rows and columns.
pub const ROWS: usize = 25;
/// See [`ROWS`].
pub const COLUMNS: usize = 80;
/// The memory that the screen may be moved about in, bytes.
const WINDOW_BYTES: u64 = 0x8000;
/// A character and its colours.
const CELL_BYTES: usize = 2;

/// The characters of a row and of a screen, by code page 437.
type Row = [u8; COLUMNS];
type Rows = [Row; ROWS];

/// The most that a look prints, bytes: each row, gone or there, of characters of three bytes.
pub const MAX_TEXT_BYTES: usize = 2 * ROWS * (3 * COLUMNS + 2);

/// So many looks wait for the end of a scroll, which may be none: a status line stays, too.
const MAX_MID_SCROLLS: u8 = 2;

const BLANK: Row = [b' '; COLUMNS];

/// Who shows the screens, and gets back what was typed to a VM that has ended.
pub trait Viewer {
    /// VM `vm` ends and has not read this byte, which was typed to it; in the order of typing.
    fn input_unread(&mut self, vm: VmIndex, byte: u8) {
        let _ = (vm, byte);
    }

    /// Takes new text of a VM's screen: lines, of which the last may grow.
    fn screen_output(&mut self, vm: VmIndex, text: &str) {
        let _ = (vm, text);
    }

    /// The VM writes its screen, which its config does not show.
    fn screen_is_not_shown(&mut self, vm: VmIndex) {
        let _ = vm;
    }

    /// The VM whose whole screen is to be shown now, once.
    fn screen_wanted(&mut self) -> Option<VmIndex> {
        None
    }

    /// Takes that.
    fn whole_screen(&mut self, vm: VmIndex, picture: &Picture) {
        let _ = (vm, picture);
    }
}

/// A screen at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    rows: Box<Rows>,
    /// Row and column.
    cursor: Option<(usize, usize)>,
}

impl Picture {
    /// A blank screen.
    #[must_use]
    pub fn new() -> Self {
        Self { rows: Box::new([BLANK; ROWS]), cursor: None }
    }

    /// Takes the screen in `memory` that begins with character `start`, with the cursor at
    /// `cursor`, both counted from [`ADDRESS`]. False if there is no RAM.
    pub fn take(&mut self, memory: &impl GuestMemory, start: u16, cursor: Option<u16>) -> bool {
        for (number, row) in self.rows.iter_mut().enumerate() {
            let mut cells = [0; COLUMNS * CELL_BYTES];
            let at = u64::from(start) * CELL_BYTES as u64 + (number * cells.len()) as u64;
            let at = at % WINDOW_BYTES;
            // A row may go on where the window begins.
            let first = cells.len().min((WINDOW_BYTES - at) as usize);
            let (head, tail) = cells.split_at_mut(first);
            if !memory.read(ADDRESS + at, head) || !memory.read(ADDRESS, tail) {
                return false;
            }
            for (character, cell) in row.iter_mut().zip(cells.chunks(CELL_BYTES)) {
                *character = if matches!(cell[0], 0 | 0xff) { b' ' } else { cell[0] };
            }
        }
        let place = cursor.map(|cursor| usize::from(cursor.wrapping_sub(start)));
        let place = place.filter(|place| *place < ROWS * COLUMNS);
        self.cursor = place.map(|place| (place / COLUMNS, place % COLUMNS));
        true
    }

    /// Whether nothing is on it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.rows.iter().all(|row| *row == BLANK)
    }

    /// Row and column of the cursor, from 0; None if it is off, or elsewhere.
    #[must_use]
    pub const fn cursor(&self) -> Option<(usize, usize)> {
        self.cursor
    }

    /// All of it, without blank rows at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let used = self.rows.iter().rposition(|row| *row != BLANK).map_or(0, |last| last + 1);
        let mut text = String::new();
        for row in &self.rows[..used] {
            put(&mut text, &row[..length(row)]);
            text.push('\n');
        }
        text
    }

    /// How much of the row is text, if that ends at the cursor.
    fn open_length(&self, row: usize) -> Option<usize> {
        let (cursor_row, column) = self.cursor?;
        (cursor_row == row && column >= length(&self.rows[row])).then_some(column)
    }
}

impl Default for Picture {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a row of the screen, where a BIOS has it, is not blank.
pub(crate) fn has_text(memory: &impl GuestMemory, row: usize) -> bool {
    let mut cells = [0; COLUMNS * CELL_BYTES];
    let at = ADDRESS + (row * cells.len()) as u64;
    memory.read(at, &mut cells)
        && cells.chunks(CELL_BYTES).any(|cell| !matches!(cell[0], 0 | 0xff | b' '))
}

/// When a screen is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The guest may be about to change what it has just changed, or in the middle of scrolling.
    Any,
    /// The guest halts, or has run for a while without a change: rows are as they are to be.
    Settled,
    /// The guest has moved the cursor to another line, and scrolled before if it had to.
    LineLeft,
    /// The guest has ended.
    End,
}

/// What has been seen of a screen, and what has been printed of it.
#[derive(Debug)]
pub struct Screen {
    seen: Box<Rows>,
    printed: Box<Rows>,
    /// The row that was printed last, and how much of it, if its line may grow.
    open: Option<(usize, usize)>,
    /// Some row is yet to be printed.
    is_pending: bool,
    /// How many looks in succession found it in the middle of scrolling.
    mid_scrolls: u8,
}

impl Screen {
    /// A blank screen.
    #[must_use]
    pub fn new() -> Self {
        let blank = || Box::new([BLANK; ROWS]);
        Self { seen: blank(), printed: blank(), open: None, is_pending: false, mid_scrolls: 0 }
    }

    /// Whether some row is yet to be printed, as the guest may be about to change it.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// Looks at it: adds what is to be printed to `text`. Whether something has changed.
    pub fn look(&mut self, now: &Picture, moment: Moment, text: &mut String) -> bool {
        let has_changed = *now.rows != *self.seen;
        if !has_changed && !self.is_pending {
            return false;
        }
        if matches!(moment, Moment::Any | Moment::Settled)
            && self.mid_scrolls < MAX_MID_SCROLLS
            && is_mid_scroll(&self.seen, &now.rows)
        {
            self.mid_scrolls += 1;
            self.is_pending = true;
            return true;
        }
        self.mid_scrolls = 0;
        let is_settled = matches!(moment, Moment::Settled | Moment::End);
        let by = scrolled(&self.seen, &now.rows);
        self.scroll(by, text);
        let is_new = |row: usize, than: &Rows| now.rows[row] != than[row];
        let last_changed = (0..ROWS).rfind(|row| is_new(*row, &self.seen));
        self.is_pending = false;
        for row in 0..ROWS {
            if !is_new(row, &self.printed) {
                continue;
            }
            let has_gone_on = last_changed.is_some_and(|last| row < last);
            let is_left_alone = is_settled && !is_new(row, &self.seen);
            if has_gone_on || is_left_alone || now.rows[row] == BLANK {
                self.print(row, &now.rows[row], now.open_length(row), text);
            } else {
                self.is_pending = true;
            }
        }
        *self.seen = *now.rows;
        has_changed
    }

    /// Prints what is yet to be printed, as the VM has ended.
    pub fn finish(&mut self, last: &Picture, text: &mut String) {
        self.look(last, Moment::End, text);
        self.look(last, Moment::End, text);
        if self.open.take().is_some() {
            text.push('\n');
        }
    }

    /// The screen has moved up `by` rows.
    fn scroll(&mut self, by: usize, text: &mut String) {
        if by == 0 {
            return;
        }
        for row in 0..by {
            if self.seen[row] != self.printed[row] {
                let gone = self.seen[row];
                self.print(row, &gone, None, text);
            }
        }
        for rows in [&mut self.seen, &mut self.printed] {
            rows.rotate_left(by);
            rows[ROWS - by..].fill(BLANK);
        }
        self.open = match self.open {
            Some((row, columns)) if row >= by => Some((row - by, columns)),
            Some(_) => {
                text.push('\n');
                None
            }
            None => None,
        };
    }

    /// Prints a row; `open_length`: its line may grow behind so many columns.
    fn print(&mut self, row: usize, now: &Row, open_length: Option<usize>, text: &mut String) {
        let before = core::mem::replace(&mut self.printed[row], *now);
        let columns = open_length.unwrap_or_else(|| length(now));
        let begin = match self.open {
            Some((open, shown)) if open == row && now[..shown] == before[..shown] => shown,
            Some(_) => {
                text.push('\n');
                0
            }
            None => 0,
        };
        self.open = None;
        if *now == BLANK && begin == 0 {
            return;
        }
        put(text, &now[begin.min(columns)..columns]);
        match open_length {
            Some(columns) => self.open = Some((row, columns)),
            None => text.push('\n'),
        }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the guest may be in the middle of moving rows up: those above some row have moved
/// further than those below, which have not moved, or by a few rows in scrolls since the last look.
/// The last row may have got more text since, and others may have followed it.
fn is_mid_scroll(before: &Rows, now: &Rows) -> bool {
    const MOST_SCROLLS: usize = 4;
    let last = before.iter().rposition(is_used).unwrap_or(0);
    let is_it = |rest: usize, by: usize| {
        let moved = now.iter().zip(&before[by..]).take_while(|(new, old)| new == old).count();
        let has_moved = (0..moved).any(|row| now[row] != before[row + rest]);
        let is_kept = |row: usize| now[row] == before[row + rest];
        has_moved
            && (moved..=moved + 1).any(|from| {
                let mut below = from..(ROWS - rest).max(from);
                below.clone().all(|row| is_kept(row) || row + rest >= last)
                    && below.any(|row| is_kept(row) && is_used(&now[row]))
            })
    };
    (0..=MOST_SCROLLS).any(|rest| (rest + 1..ROWS).any(|by| is_it(rest, by)))
}

fn is_used(row: &Row) -> bool {
    *row != BLANK
}

/// By how many rows the screen has most likely moved up: such that most rows are where they were
/// before, and of those that were not blank at least half. At the same number, by the fewest. Where
/// none of several is left, all have moved away.
fn scrolled(before: &Rows, now: &Rows) -> usize {
    let kept = |by: usize| {
        before[by..].iter().zip(now).filter(|(old, new)| old == new && is_used(old)).count()
    };
    let mut best = (kept(0), 0);
    let are_several = before.iter().filter(|row| is_used(row)).count() > 1;
    for by in 1..ROWS {
        let count = kept(by);
        if count > best.0 && 2 * count >= before[by..].iter().filter(|row| is_used(row)).count() {
            best = (count, by);
        }
    }
    if best.0 == 0 && are_several { ROWS } else { best.1 }
}

/// The row without blanks at its end.
fn length(row: &Row) -> usize {
    row.iter().rposition(|character| *character != b' ').map_or(0, |last| last + 1)
}

fn put(text: &mut String, characters: &[u8]) {
    for character in characters {
        text.write_char(code_page::character(*character)).expect("a String takes all characters");
    }
}

#[cfg(test)]
mod tests;
