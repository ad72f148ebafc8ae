//! Standard output, where the console's lines go.

use crate::sys::is_writable;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;
use vmm_common::Instant;
use vmm_common::console::Console;

/// Written at once without waiting: a ready pipe accepts so much as a whole (PIPE_BUF).
const CHUNK_BYTES: usize = 4096;

/// Standard output, shared by all VMs.
#[derive(Debug)]
pub struct Output {
    to: File,
    /// Why nothing can be written any more.
    write_error: Option<io::Error>,
}

impl Output {
    /// The output of all VMs on `to`.
    #[must_use]
    pub fn new(to: File) -> Self {
        Self { to, write_error: None }
    }

    /// The output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.to.is_terminal()
    }

    /// Writes what the reader accepts without waiting; see also [`Console::show_prompt`].
    pub fn flush(&mut self, console: &mut Console, now: Instant) {
        console.show_prompt(now);
        let mut written = 0;
        while written < console.waiting().len() && is_writable(self.to.as_raw_fd(), 0) {
            match self.write(&console.waiting()[written..]) {
                0 => break,
                more => written += more,
            }
        }
        console.written(written);
    }

    /// Drains the output. Gives up on a reader that accepts nothing for `patience_ms`, and
    /// returns how many bytes were lost.
    pub fn drain(&mut self, console: &mut Console, patience_ms: i32) -> usize {
        console.finish();
        /// Pause before retrying a reader that is ready but accepts nothing.
        const PAUSE_MS: i32 = 10;
        let (mut written, mut patience_ms) = (0, patience_ms);
        while written < console.waiting().len() && !self.is_closed() && patience_ms > 0 {
            if !is_writable(self.to.as_raw_fd(), patience_ms) {
                break;
            }
            match self.write(&console.waiting()[written..]) {
                0 => {
                    std::thread::sleep(Duration::from_millis(PAUSE_MS as u64));
                    patience_ms -= PAUSE_MS;
                }
                more => written += more,
            }
        }
        let left = console.waiting().len() - written;
        console.written(written + left);
        left
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
