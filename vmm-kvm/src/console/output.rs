//! Standard output, where the console's lines go.

use crate::sys::{is_writable, terminal_columns};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;
use vmm_common::Instant;
use vmm_common::console::{Ability, Console, Display};

/// Written at once without waiting: a ready pipe accepts so much as a whole (PIPE_BUF).
const CHUNK_BYTES: usize = 4096;

/// The most that is written between turns, and the size of one write: the VMs wait meanwhile,
/// however fast the reader is.
const MAX_CHUNKS: usize = 16;

/// Standard output, shared by all VMs.
#[derive(Debug)]
pub struct Output {
    to: File,
    is_terminal: bool,
    /// Why nothing can be written any more.
    write_error: Option<io::Error>,
}

impl Output {
    /// The output of all VMs on `to`.
    #[must_use]
    pub fn new(to: File) -> Self {
        Self { is_terminal: to.is_terminal(), to, write_error: None }
    }

    /// What shows the output.
    pub fn display(&self) -> Display {
        if !self.is_terminal {
            return Display::Stream;
        }
        let variable = |name| std::env::var(name).ok();
        let ability =
            Ability::of_environment(variable("TERM").as_deref(), variable("NO_COLOR").as_deref());
        Display::Terminal { columns: terminal_columns(self.to.as_raw_fd()), ability }
    }

    /// Takes over the terminal's size, where the output is one.
    pub fn follow_size(&self, console: &mut Console) {
        if self.is_terminal {
            console.set_columns(terminal_columns(self.to.as_raw_fd()));
        }
    }

    /// Writes what the reader accepts without waiting; see also [`Console::show_prompts`].
    pub fn flush(&mut self, console: &mut Console, now: Instant) {
        console.show_prompts(now);
        for _ in 0..MAX_CHUNKS {
            if console.waiting().is_empty() || !is_writable(self.to.as_raw_fd(), 0) {
                break;
            }
            match self.write(console.waiting()) {
                0 => break,
                written => console.written(written),
            }
        }
    }

    /// Writes a first piece of what waits, and waits for the reader up to `wait_ms`; returns
    /// whether the reader accepted something.
    pub fn write_some(&mut self, console: &mut Console, wait_ms: i32) -> bool {
        if !is_writable(self.to.as_raw_fd(), wait_ms) {
            return false;
        }
        let written = self.write(console.waiting());
        if written == 0 && !self.is_closed() {
            // A terminal may be ready and yet accept nothing.
            std::thread::sleep(Duration::from_millis(wait_ms as u64));
        }
        console.written(written);
        written > 0
    }

    /// The output is a terminal.
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The reader has gone.
    pub fn is_closed(&self) -> bool {
        self.write_error.is_some()
    }

    /// Why nothing can be written any more.
    pub fn write_error(&self) -> Option<&io::Error> {
        self.write_error.as_ref()
    }

    /// Writes a first piece of what waits; returns how much was taken.
    fn write(&mut self, waiting: &[u8]) -> usize {
        match self.to.write(&waiting[..waiting.len().min(CHUNK_BYTES)]) {
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
