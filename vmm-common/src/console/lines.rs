//! What the guests print: whole lines led by the VM's name, kept until the reader takes them.
//!
//! A guest never waits for the reader: output is kept here up to a limit; what does not fit is left
//! out, and a line in its place says how much.

use crate::Instant;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// An unfinished line is shown once the guest has added nothing to it for this long.
const LINGER_NS: u64 = 20_000_000;
/// A guest's line is broken after this many bytes.
const LINE_BYTES: usize = 4096;
/// Foreground colours that read well on dark and light: cyan, yellow, green, magenta, blue, red.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// The lines of all VMs.
#[derive(Debug)]
pub struct Lines {
    vms: Vec<VmLines>,
    backlog: Vec<u8>,
    backlog_bytes: usize,
    is_terminal: bool,
    /// The VM whose unfinished line the terminal shows.
    open_line: Option<usize>,
}

#[derive(Debug)]
struct VmLines {
    prefix: String,
    line: Vec<u8>,
    /// Bytes of `line` that the terminal shows already, on the line it is on.
    shown: usize,
    /// How much of `line` was shown last, wherever that is now.
    shown_before: usize,
    /// How long `line` was when it was last looked at, and since when it is that long.
    looked_at: (usize, Instant),
    /// Bytes left out since the last line that fitted.
    omitted: u64,
    omitted_total: u64,
}

impl Lines {
    /// The lines of VMs with these names, of which up to `backlog_bytes` wait for the reader. A
    /// terminal gets colours and sees prompts.
    #[must_use]
    pub fn new(names: &[&str], is_terminal: bool, backlog_bytes: usize) -> Self {
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let vm = |(index, name): (usize, &&str)| {
            let colour = COLOURS[index % COLOURS.len()];
            let prefix = match is_terminal {
                true => format!("\x1b[{colour}m{name:width$} |\x1b[0m "),
                false => format!("{name:width$} | "),
            };
            VmLines {
                prefix,
                line: Vec::new(),
                shown: 0,
                shown_before: 0,
                looked_at: (0, Instant::ZERO),
                omitted: 0,
                omitted_total: 0,
            }
        };
        let vms = names.iter().enumerate().map(vm).collect();
        Self { vms, backlog: Vec::new(), backlog_bytes, is_terminal, open_line: None }
    }

    /// Takes what VM `vm` printed.
    pub fn push(&mut self, vm: usize, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' => self.end_line(vm),
                byte => {
                    self.vms[vm].line.push(*byte);
                    if self.vms[vm].line.len() >= LINE_BYTES {
                        self.end_line(vm);
                    }
                }
            }
        }
    }

    /// Takes a line of Tandem's own.
    pub fn say(&mut self, text: &str) {
        self.close_open_line();
        for line in text.lines() {
            self.backlog.extend_from_slice(line.as_bytes());
            self.backlog.push(b'\n');
        }
    }

    /// Ends the unfinished line of a VM that is over.
    pub fn finish(&mut self, vm: usize) {
        if !self.vms[vm].line.is_empty() {
            self.end_line(vm);
        }
    }

    /// Ends the unfinished lines of all.
    pub fn finish_all(&mut self) {
        for vm in 0..self.vms.len() {
            self.finish(vm);
        }
    }

    /// On a terminal, also shows the unfinished line of VM `focus`, its prompt perhaps, once the
    /// guest has added nothing to it for a while.
    pub fn show_prompt(&mut self, focus: usize, now: Instant) {
        if self.is_terminal {
            self.show_unfinished(focus, now);
        }
    }

    /// When the unfinished line of VM `focus` should be shown, if it is not.
    #[must_use]
    pub fn unfinished_due(&self, focus: usize) -> Option<Instant> {
        let VmLines { line, shown_before, looked_at, .. } = &self.vms[focus];
        let is_due = self.is_terminal && !line.is_empty() && line.len() != *shown_before;
        is_due.then(|| looked_at.1.after_ns(LINGER_NS))
    }

    /// What waits to be written.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.backlog
    }

    /// The reader has taken the first `bytes` of what waits.
    pub fn taken(&mut self, bytes: usize) {
        self.backlog.drain(..bytes);
    }

    /// What was left out of the output of each VM, bytes.
    pub fn omitted(&self) -> impl Iterator<Item = u64> + '_ {
        self.vms.iter().map(|vm| vm.omitted_total)
    }

    fn end_line(&mut self, vm: usize) {
        let mut line = core::mem::take(&mut self.vms[vm].line);
        let shown = core::mem::take(&mut self.vms[vm].shown);
        self.vms[vm].shown_before = 0;
        line.push(b'\n');
        if shown > 0 && self.open_line == Some(vm) {
            self.open_line = None;
            self.append(&line[shown..]);
        } else {
            self.close_open_line();
            self.append_for(vm, &line);
        }
        line.clear();
        self.vms[vm].line = line;
    }

    fn show_unfinished(&mut self, vm: usize, now: Instant) {
        let VmLines { line, shown, shown_before, looked_at, .. } = &mut self.vms[vm];
        if looked_at.0 != line.len() {
            *looked_at = (line.len(), now);
        }
        let is_open = self.open_line == Some(vm) && *shown > 0;
        let has_lingered = now.ns_since(looked_at.1) >= LINGER_NS;
        let is_news = !line.is_empty() && line.len() != *shown_before;
        let has_room = self.backlog.len() < self.backlog_bytes;
        if !is_news || !(is_open || has_lingered) || !has_room {
            return;
        }
        let fresh = line[if is_open { *shown } else { 0 }..].to_vec();
        (*shown, *shown_before) = (line.len(), line.len());
        if is_open {
            self.append(&fresh);
        } else {
            self.close_open_line();
            self.append_for(vm, &fresh);
        }
        self.open_line = Some(vm);
    }

    /// Ends the unfinished line on the terminal: one of another VM follows.
    fn close_open_line(&mut self) {
        if let Some(vm) = self.open_line.take() {
            self.vms[vm].shown = 0;
            self.append(b"\n");
        }
    }

    fn append_for(&mut self, vm: usize, line: &[u8]) {
        let VmLines { prefix, omitted, omitted_total, .. } = &mut self.vms[vm];
        if self.backlog.len() + prefix.len() + line.len() > self.backlog_bytes {
            *omitted += line.len() as u64;
            *omitted_total += line.len() as u64;
            return;
        }
        if *omitted > 0 {
            let note = format!("{prefix}[{omitted} bytes left out: they were not read]\n");
            *omitted = 0;
            self.backlog.extend_from_slice(note.as_bytes());
        }
        self.backlog.extend_from_slice(prefix.as_bytes());
        self.backlog.extend_from_slice(line);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.backlog.extend_from_slice(bytes);
    }
}
