//! Exits that are handed out in several parts: strings, and writes that were gathered.

use super::Guest;
use super::protocol::{Awaits, awaited};
use crate::cpu::Outcome;
use std::collections::VecDeque;
use vmm_common::seam::{Exit, ExitReason};

/// Writes that are gathered at most.
const MAX_BATCH: usize = 16;

/// The parts of a string instruction that have not been handed out.
#[derive(Debug)]
pub(super) enum Parts {
    Out { port: u16, bytes: VecDeque<u8> },
    In { port: u16, left: usize, got: Vec<u8> },
}

impl Guest {
    /// The next part of an exit that was taken already.
    pub(super) fn next_part(&mut self) -> Option<Exit> {
        if let Some(write) = self.batch.pop_front() {
            return Some(self.exit(write, false, false));
        }
        if let Some(exit) = self.behind_batch.take() {
            self.awaits = awaited(&exit.reason);
            return Some(exit);
        }
        self.parts.is_some().then(|| self.string_part(false))
    }

    pub(super) fn string_part(&mut self, left_guest: bool) -> Exit {
        let (reason, is_last) = match self.parts.as_mut().expect("a string is at hand") {
            Parts::Out { port, bytes } => {
                let value = bytes.pop_front().expect("strings are not empty").into();
                (ExitReason::PortOut { port: *port, size: 1, value }, bytes.is_empty())
            }
            Parts::In { port, left, .. } => {
                (ExitReason::PortIn { port: *port, size: 1 }, *left == 1)
            }
        };
        self.awaits = awaited(&reason);
        if is_last && self.awaits == Awaits::Nothing {
            self.parts = None;
            self.finish(Outcome::Done);
        }
        self.exit(reason, left_guest, is_last)
    }

    /// `exit`, or the first of the writes gathered before it.
    pub(super) fn after_batch(&mut self, exit: Exit) -> Exit {
        let Some(write) = self.batch.pop_front() else { return exit };
        self.awaits = Awaits::Nothing;
        self.behind_batch = Some(exit);
        self.exit(write, false, false)
    }

    pub(super) fn may_gather(&self, reason: &ExitReason, batchable: u8) -> bool {
        const TRANSMITTERS: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
        let ExitReason::PortOut { port, size: 1, .. } = reason else { return false };
        let com = TRANSMITTERS.iter().position(|transmitter| transmitter == port);
        self.habits.is_batching
            && self.batch.len() < MAX_BATCH
            && com.is_some_and(|com| batchable >> com & 1 != 0)
    }
}
