//! What the guests print, on standard output: whole lines led by the VM's name.
//!
//! A guest never waits for the reader: output is kept here until the reader takes it, up to
//! [`BACKLOG_BYTES`]; what does not fit is left out, and a line in its place says how much.

use crate::sys::is_writable;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;
use vmm_common::Instant;

/// Output kept for a reader that does not read.
const BACKLOG_BYTES: usize = 4 << 20;
/// An unfinished line is shown once the guest has added nothing to it for this long.
const LINGER_NS: u64 = 20_000_000;
/// A guest's line is broken after this many bytes.
const LINE_BYTES: usize = 4096;
/// Written at once without waiting: what a pipe takes as a whole when it is ready (PIPE_BUF).
const CHUNK_BYTES: usize = 4096;
/// Foreground colours that read well on dark and light: cyan, yellow, green, magenta, blue, red.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Standard output, shared by all VMs.
#[derive(Debug)]
pub struct Output {
    to: File,
    vms: Vec<VmOutput>,
    backlog: Vec<u8>,
    is_terminal: bool,
    /// Why nothing can be written any more.
    write_error: Option<io::Error>,
    /// The VM whose unfinished line the terminal shows.
    open_line: Option<usize>,
}

#[derive(Debug)]
struct VmOutput {
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
    log: Option<File>,
    log_error: Option<io::Error>,
}

impl Output {
    /// The output of VMs with these names on `to`; their raw bytes also to `log_dir/NAME.log`.
    pub fn new(to: File, names: &[&str], log_dir: Option<&Path>) -> io::Result<Self> {
        let is_terminal = to.is_terminal();
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let vm = |(index, name): (usize, &&str)| {
            let log =
                log_dir.map(|dir| File::create(dir.join(format!("{name}.log")))).transpose()?;
            let colour = COLOURS[index % COLOURS.len()];
            let prefix = match is_terminal {
                true => format!("\x1b[{colour}m{name:width$} |\x1b[0m "),
                false => format!("{name:width$} | "),
            };
            Ok(VmOutput {
                prefix,
                line: Vec::new(),
                shown: 0,
                shown_before: 0,
                looked_at: (0, Instant::ZERO),
                omitted: 0,
                omitted_total: 0,
                log,
                log_error: None,
            })
        };
        let vms = names.iter().enumerate().map(vm).collect::<io::Result<_>>()?;
        Ok(Self { to, vms, backlog: Vec::new(), is_terminal, write_error: None, open_line: None })
    }

    /// Takes what VM `vm` printed.
    pub fn push(&mut self, vm: usize, bytes: &[u8]) {
        self.log(vm, bytes);
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
            self.append(format!("{line}\n").as_bytes());
        }
    }

    /// Ends the unfinished line of a VM that is over.
    pub fn finish(&mut self, vm: usize) {
        if !self.vms[vm].line.is_empty() {
            self.end_line(vm);
        }
    }

    /// Writes what the reader takes without waiting. On a terminal the unfinished line of VM
    /// `focus`, its prompt perhaps, is shown too, once the guest has left it at that for a while.
    pub fn flush(&mut self, focus: usize, now: Instant) {
        if self.is_terminal {
            self.show_unfinished(focus, now);
        }
        let mut written = 0;
        while written < self.backlog.len() && is_writable(self.to.as_raw_fd(), 0) {
            match self.write(written) {
                0 => break,
                more => written += more,
            }
        }
        self.backlog.drain(..written);
    }

    /// Writes all that is left. Gives up on a reader that takes nothing for `patience_ms`, and
    /// returns how many bytes that cost.
    pub fn drain(&mut self, patience_ms: i32) -> usize {
        for vm in 0..self.vms.len() {
            self.finish(vm);
        }
        /// Between tries at a reader that is ready and takes nothing.
        const PAUSE_MS: i32 = 10;
        let (mut written, mut patience_ms) = (0, patience_ms);
        while written < self.backlog.len() && !self.is_closed() && patience_ms > 0 {
            if !is_writable(self.to.as_raw_fd(), patience_ms) {
                break;
            }
            match self.write(written) {
                0 => {
                    std::thread::sleep(Duration::from_millis(PAUSE_MS as u64));
                    patience_ms -= PAUSE_MS;
                }
                more => written += more,
            }
        }
        self.backlog.drain(..written);
        std::mem::take(&mut self.backlog).len()
    }

    /// When the unfinished line of VM `focus` should be shown, if it is not.
    pub fn unfinished_due(&self, focus: usize) -> Option<Instant> {
        let VmOutput { line, shown_before, looked_at, .. } = &self.vms[focus];
        let is_due = self.is_terminal && !line.is_empty() && line.len() != *shown_before;
        is_due.then(|| looked_at.1.after_ns(LINGER_NS))
    }

    /// Lines wait to be written.
    pub fn has_lines(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.write_error.is_some()
    }

    /// Why nothing can be written any more.
    pub fn write_error(&self) -> Option<&io::Error> {
        self.write_error.as_ref()
    }

    /// What was left out of the output of each VM, bytes.
    pub fn omitted(&self) -> impl Iterator<Item = u64> + '_ {
        self.vms.iter().map(|vm| vm.omitted_total)
    }

    /// Why each VM's log is not complete.
    pub fn log_errors(&self) -> impl Iterator<Item = Option<&io::Error>> {
        self.vms.iter().map(|vm| vm.log_error.as_ref())
    }

    fn log(&mut self, vm: usize, bytes: &[u8]) {
        let vm = &mut self.vms[vm];
        if let Some(log) = &mut vm.log
            && let Err(error) = log.write_all(bytes)
        {
            vm.log_error = Some(error);
            vm.log = None;
        }
    }

    fn end_line(&mut self, vm: usize) {
        let mut line = std::mem::take(&mut self.vms[vm].line);
        let shown = std::mem::take(&mut self.vms[vm].shown);
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
        let VmOutput { line, shown, shown_before, looked_at, .. } = &mut self.vms[vm];
        if looked_at.0 != line.len() {
            *looked_at = (line.len(), now);
        }
        let is_open = self.open_line == Some(vm) && *shown > 0;
        let has_lingered = now.ns_since(looked_at.1) >= LINGER_NS;
        let is_news = !line.is_empty() && line.len() != *shown_before;
        if !is_news || !(is_open || has_lingered) || self.backlog.len() >= BACKLOG_BYTES {
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

    /// Another's line follows: the terminal leaves the unfinished one.
    fn close_open_line(&mut self) {
        if let Some(vm) = self.open_line.take() {
            self.vms[vm].shown = 0;
            self.append(b"\n");
        }
    }

    fn append_for(&mut self, vm: usize, line: &[u8]) {
        let VmOutput { prefix, omitted, omitted_total, .. } = &mut self.vms[vm];
        if self.backlog.len() + prefix.len() + line.len() > BACKLOG_BYTES {
            *omitted += line.len() as u64;
            *omitted_total += line.len() as u64;
            return;
        }
        if *omitted > 0 {
            let note = format!("{prefix}[{omitted} bytes left out: nobody read them]\n");
            *omitted = 0;
            self.backlog.extend_from_slice(note.as_bytes());
        }
        self.backlog.extend_from_slice(prefix.as_bytes());
        self.backlog.extend_from_slice(line);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.backlog.extend_from_slice(bytes);
    }

    /// Writes the next piece of the backlog; returns how much was taken.
    fn write(&mut self, start: usize) -> usize {
        let end = self.backlog.len().min(start + CHUNK_BYTES);
        match self.to.write(&self.backlog[start..end]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                self.write_error = Some(error);
                0
            }
        }
    }
}
