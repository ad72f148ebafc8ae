//! The last output: who is waited for, and for how long.

use super::LinuxHost;
use crate::sys::Signal;
use anyhow::Result;

/// A terminal that accepts nothing is given up after this time, and any reader once the run was
/// interrupted.
const PATIENCE_NS: u64 = 2_000_000_000;
/// Signals are looked for this often.
const LOOK_MS: i32 = 20;

impl LinuxHost<'_> {
    /// All VMs have ended: writes what they left, and returns how many bytes were not read. A pipe
    /// or a file is waited for, as every program does, until a signal or the time limit interrupts
    /// the run. Such a run gives up after a while, and so does one on a terminal that accepts
    /// nothing, as it may be stopped (Ctrl-S). Another signal ends the wait.
    ///
    /// # Errors
    /// The host's events fail.
    pub fn drain(&mut self) -> Result<usize> {
        self.console.finish();
        let mut since = self.clock.now();
        while !self.console.waiting().is_empty() && !self.output.is_closed() {
            // A reader that sleeps keeps logs and taps from nothing.
            self.recorder.hand_over();
            let has_written = self.output.write_some(&mut self.console, LOOK_MS);
            let was_interrupted = self.stop_request.is_some();
            let signals = self.events.look(0)?.signals;
            let is_ended_again = signals.iter().any(|signal| matches!(signal, Signal::End(_)));
            let now = self.clock.now();
            let is_limited = was_interrupted || self.output.is_terminal();
            let has_patience = !is_limited || now.ns_since(since) < PATIENCE_NS;
            if !has_patience || was_interrupted && is_ended_again {
                break;
            }
            self.answer(&signals, now)?;
            if !was_interrupted && (has_written || self.stop_request.is_some()) {
                since = self.clock.now();
            }
        }
        let unread = self.console.waiting_bytes();
        self.console.written(unread);
        Ok(unread)
    }
}
