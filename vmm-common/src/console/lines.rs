//! What the guests print: whole lines led by the VM's name, kept until the reader takes them.
//!
//! No guest makes a line that looks like another's or like Tandem's: its text is made printable
//! ([`super::printable`]), and every row on a terminal begins with its name and a bar, since rows
//! are broken before the terminal would wrap them. Tandem's own lines never begin with a name and a
//! bar.
//!
//! A guest never waits for the reader: output is kept here up to a limit; what does not fit is left
//! out, and a line in its place says how much.

use super::display::Display;
use super::printable::Piece;
use super::queue::Queue;
use super::sequences::{ERASE, KEEP_TITLES, RESET_TERMINAL};
use super::vm_lines::VmLines;
use crate::Instant;
use alloc::format;
use alloc::vec::Vec;

/// Tandem's own lines are kept up to this part of the guests' limit beyond it.
const OWN_PART: usize = 4;
/// While a VM has the terminal raw, lines are kept up to this part of the limit.
const HELD_PART: usize = 4;
/// The longest line that says what was left out.
const NOTE_BYTES: usize = 64;
/// Beyond these limits: the rest of a line that is shown as it grows, the terminal's reset.
const SLACK_BYTES: usize = 8192;
/// The lines of all VMs.
#[derive(Debug)]
pub struct Lines {
    vms: Vec<VmLines>,
    display: Display,
    newline: &'static str,
    /// What the reader takes next.
    queue: Queue,
    /// Lines that wait while a VM has the terminal raw.
    held: Queue,
    /// Guests' output is left out beyond this, bytes.
    limit: usize,
    /// Tandem's own bytes that were left out.
    own_omitted: u64,
    /// The VM whose unfinished line the terminal shows.
    open_line: Option<usize>,
    /// The VM whose bytes go to the terminal as they are.
    raw: Option<usize>,
}

impl Lines {
    /// The lines of VMs with these names, of which up to `limit` bytes wait for the reader.
    #[must_use]
    pub fn new(names: &[&str], display: Display, newline: &'static str, limit: usize) -> Self {
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let vm = |(index, name): (usize, &&str)| VmLines::new(index, name, width, display);
        let vms = names.iter().enumerate().map(vm).collect();
        let queue = Queue::new(limit + limit / OWN_PART + SLACK_BYTES);
        let held = Queue::new(limit / HELD_PART);
        let (own_omitted, open_line, raw) = (0, None, None);
        Self { vms, display, newline, queue, held, limit, own_omitted, open_line, raw }
    }

    /// Takes over a new size of the terminal.
    pub fn set_display(&mut self, display: Display) {
        self.display = display;
        let width = self.vms.iter().map(|vm| vm.name.len()).max().unwrap_or(0);
        for vm in &mut self.vms {
            vm.row.set_columns(display, width);
        }
    }

    /// Takes a piece of what VM `vm` printed.
    pub fn take(&mut self, vm: usize, piece: Piece<'_>) {
        match piece {
            Piece::Ascii(byte) => self.add(vm, &[byte], 1),
            // Each character takes two columns at most, and a tab eight.
            Piece::Text("\t") => self.add(vm, b"\t", 8),
            Piece::Text(text) if text.is_ascii() => self.add(vm, text.as_bytes(), text.len()),
            Piece::Text(text) => self.add(vm, text.as_bytes(), 2 * text.chars().count()),
            Piece::Style { sequence, is_reset } if self.display.has_colours() => {
                self.vms[vm].row.style(sequence, is_reset);
                if self.vms[vm].row.is_full() {
                    self.end_line(vm);
                }
            }
            Piece::Style { .. } => {}
            Piece::Rubout => self.rub_out(vm),
            Piece::LineEnd => self.end_line(vm),
            Piece::Return => self.finish(vm),
        }
    }

    /// Takes what VM `vm` printed while it has the terminal raw.
    pub fn take_raw(&mut self, vm: usize, bytes: &[u8]) {
        if self.waiting_bytes() + bytes.len() <= self.limit {
            self.queue.extend(bytes);
        } else {
            self.vms[vm].omit(bytes.len());
        }
    }

    /// The VM whose bytes go to the terminal as they are.
    #[must_use]
    pub const fn raw(&self) -> Option<usize> {
        self.raw
    }

    /// Gives the terminal to VM `vm` as it is, or takes it back. All lines wait meanwhile.
    pub fn set_raw(&mut self, vm: Option<usize>) {
        if self.raw.is_some() {
            self.queue.extend(RESET_TERMINAL);
            self.queue.append(&mut self.held);
        }
        if vm.is_some() {
            self.close_open_line();
            self.queue.extend(KEEP_TITLES);
        }
        self.raw = vm;
    }

    /// Takes lines of Tandem's own. They have a reserve beyond the guests' limit, so that guests do
    /// not crowd them out; beyond it they are left out, too.
    pub fn say(&mut self, text: &str) {
        self.close_open_line();
        for line in text.lines() {
            let bytes = line.len() + self.newline.len();
            let limit = self.lines_limit();
            let note = if self.own_omitted > 0 { NOTE_BYTES } else { 0 };
            if self.lines_to().len() + note + bytes > limit + limit / OWN_PART {
                self.own_omitted += bytes as u64;
                continue;
            }
            if self.own_omitted > 0 {
                let omitted = core::mem::take(&mut self.own_omitted);
                let newline = self.newline;
                let note = format!("[{omitted} bytes of Tandem's lines left out]{newline}");
                self.lines_to().extend(note.as_bytes());
            }
            let newline = self.newline.as_bytes();
            let to = self.lines_to();
            to.extend(line.as_bytes());
            to.extend(newline);
        }
    }

    /// Ends the unfinished line of a VM that is over.
    pub fn finish(&mut self, vm: usize) {
        if !self.vms[vm].row.is_empty() {
            self.end_line(vm);
        }
    }

    /// On a terminal, also shows unfinished lines, prompts perhaps: that of VM `focus`, which has
    /// the keyboard, whenever the guest has added nothing to it for a while; another VM's once, and
    /// after a longer while, as it takes a row of its own.
    pub fn show_prompts(&mut self, focus: usize, now: Instant) {
        if !self.display.is_terminal() || self.raw.is_some() {
            return;
        }
        for vm in 0..self.vms.len() {
            let has_room = self.has_room_for_row(vm);
            if vm != focus && has_room && self.vms[vm].is_prompt_due(false, now) {
                self.show_unfinished(vm);
                self.close_open_line();
                self.vms[focus].show_again();
            }
        }
        let is_due = self.vms[focus].is_prompt_due(true, now) || self.open_line == Some(focus);
        if is_due && self.has_room_for_row(focus) {
            self.show_unfinished(focus);
        }
    }

    /// Makes the unfinished line of VM `vm`, which gets the keyboard, show again.
    pub fn show_prompt_again(&mut self, vm: usize) {
        self.vms[vm].show_again();
    }

    /// When [`Lines::show_prompts`] should be called next.
    #[must_use]
    pub fn prompt_due(&self, focus: usize) -> Option<Instant> {
        if !self.display.is_terminal() || self.raw.is_some() {
            return None;
        }
        let due = |(vm, lines): (usize, &VmLines)| lines.prompt_due(vm == focus);
        self.vms.iter().enumerate().filter_map(due).min()
    }

    /// A first part of what waits to be written: empty only if nothing does.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.queue.first()
    }

    /// How much waits, bytes.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.queue.len() + self.held.len()
    }

    /// The reader has taken the first `bytes` of what waits.
    pub fn taken(&mut self, bytes: usize) {
        self.queue.drop_first(bytes);
    }

    /// What was left out of the output of each VM, bytes.
    pub fn omitted(&self) -> impl Iterator<Item = u64> + '_ {
        self.vms.iter().map(|vm| vm.omitted_total)
    }

    fn add(&mut self, vm: usize, text: &[u8], columns: usize) {
        if !self.vms[vm].row.has_room(columns) {
            self.end_line(vm);
        }
        self.vms[vm].row.add(text, columns);
        if self.vms[vm].row.is_full() {
            self.end_line(vm);
        }
    }

    fn rub_out(&mut self, vm: usize) {
        let is_open = self.open_line == Some(vm);
        if !self.vms[vm].row.rub_out() {
            self.add(vm, b"^H", 2);
            self.add(vm, b" ", 1);
            self.add(vm, b"^H", 2);
        } else if self.vms[vm].hide_erased() && is_open {
            if self.display.obeys_sequences() {
                self.queue.extend(ERASE);
            } else {
                self.close_open_line();
                self.vms[vm].show_again();
            }
        }
    }

    fn end_line(&mut self, vm: usize) {
        let newline = self.newline.as_bytes();
        let is_open = self.open_line == Some(vm);
        let VmLines { row, shown, .. } = &mut self.vms[vm];
        row.end(newline);
        if is_open {
            self.open_line = None;
            self.queue.extend(&row.bytes()[*shown..]);
        } else {
            self.close_open_line();
            self.append_row(vm);
        }
        self.vms[vm].begin_row();
    }

    /// Shows the unfinished line of VM `vm`, or the rest of it.
    fn show_unfinished(&mut self, vm: usize) {
        if self.open_line == Some(vm) {
            let VmLines { row, shown, .. } = &self.vms[vm];
            self.queue.extend(&row.bytes()[*shown..]);
        } else {
            self.close_open_line();
            self.append_row(vm);
            self.open_line = Some(vm);
        }
        self.vms[vm].has_shown();
    }

    /// Ends the unfinished line on the terminal: one of another VM follows.
    fn close_open_line(&mut self) {
        if let Some(vm) = self.open_line.take() {
            let reset = self.vms[vm].row.style_end();
            self.vms[vm].shown = 0;
            self.queue.extend(reset);
            self.queue.extend(self.newline.as_bytes());
        }
    }

    /// Appends prefix and row of VM `vm`, or leaves it out.
    fn append_row(&mut self, vm: usize) {
        if !self.has_room_for_row(vm) {
            let bytes = self.vms[vm].row.bytes().len();
            self.vms[vm].omit(bytes);
            return;
        }
        let to = if self.raw.is_some() { &mut self.held } else { &mut self.queue };
        let VmLines { name, prefix, row, omitted, .. } = &mut self.vms[vm];
        if *omitted > 0 {
            let newline = self.newline;
            let note = format!("[{name}: {omitted} bytes left out: they were not read]{newline}");
            *omitted = 0;
            to.extend(note.as_bytes());
        }
        to.extend(prefix.as_bytes());
        to.extend(row.bytes());
    }

    fn has_room_for_row(&self, vm: usize) -> bool {
        let VmLines { prefix, row, .. } = &self.vms[vm];
        let waiting = if self.raw.is_some() { &self.held } else { &self.queue };
        waiting.len() + prefix.len() + row.bytes().len() <= self.lines_limit()
    }

    const fn lines_limit(&self) -> usize {
        if self.raw.is_some() { self.limit / HELD_PART } else { self.limit }
    }

    fn lines_to(&mut self) -> &mut Queue {
        if self.raw.is_some() { &mut self.held } else { &mut self.queue }
    }
}
