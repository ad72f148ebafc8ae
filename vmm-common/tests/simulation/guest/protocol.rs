//! What a guest holds the loop to, at every entry.
//!
//! | held | by |
//! |---|---|
//! | no entry after the VM ended; HLT ends by an event only | [`Guest::check_entry`] |
//! | the deadline is later than the time the loop decided by | [`Guest::check_entry`] |
//! | injection only when possible, and then at once | [`Guest::check_entry`] |
//! | each access gets exactly one reply, of its kind | [`Guest::take_reply`] |
//! | the guest is left when its own timer expires | [`Guest::check_exit`] |
//! | a due interrupt comes within [`MAX_ENTRIES_TO_INJECT`] | [`Guest::check_promptness`] |

use super::Guest;
use super::parts::Parts;
use crate::cpu::{Expected, Outcome};
use vmm_common::Instant;
use vmm_common::seam::{Entry, ExitReason, Injection, Reply};

/// Entries into a guest with interrupts enabled before an interrupt that is due comes: one that
/// opens the window, if the guest could not take it at its last exit, and the one that brings it.
const MAX_ENTRIES_TO_INJECT: u32 = 2;
/// What an access waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    Nothing,
    Value,
    MsrValue,
    MsrDone,
}

/// How long a guest that could run has waited for an entry, ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// After it was preempted, or an interrupt that ends its HLT became due.
    pub longest_ns: u64,
    /// After an IN, which may have been a fruitless poll.
    pub longest_after_in_ns: u64,
}

impl Guest {
    pub(super) fn check_entry(&self, entry: &Entry, entered: Instant) {
        let vm = self.vm;
        assert!(!self.clock.has_ended(vm), "VM {vm} has ended and is entered");
        let basis = self.clock.basis();
        let is_part = self.last.is_some_and(|(exit, _)| exit.has_more);
        let is_ahead = is_part || entry.deadline > basis;
        assert!(is_ahead, "VM {vm}: {:?} is past, at {basis:?}", entry.deadline);
        let could_take = self.last.is_some_and(|(exit, _)| exit.is_interruptible);
        if let Some(Injection::Interrupt(vector)) = entry.inject {
            assert!(could_take, "VM {vm} gets {vector:#x}, which it cannot take, at {entered:?}");
        }
        let is_late = entry.wants_window && could_take && entry.inject.is_none();
        assert!(!is_late, "VM {vm} can take an interrupt, and it is held back");
        let is_fallen_through = self.is_halted() && entry.inject.is_none();
        assert!(!is_fallen_through, "VM {vm} goes on after HLT without an event, at {entered:?}");
    }

    /// An expected interrupt that is due is counted against the entries until it comes.
    pub(super) fn check_promptness(&mut self, entry: &Entry) {
        let Some(Expected { earliest, latest, vector }) = self.cpu.expected_interrupt() else {
            return;
        };
        let (vm, now) = (self.vm, self.clock.now());
        if entry.inject == Some(Injection::Interrupt(vector)) {
            assert!(now >= earliest, "VM {vm}: {vector:#x} comes at {now:?}, due {earliest:?}");
            self.cpu.has_come();
            self.overdue_entries = 0;
        } else if self.clock.may_stall() {
            // The timer began later than the guest assumes by what the host took meanwhile.
        } else if self.clock.basis() >= latest && entry.inject.is_none() {
            assert!(entry.wants_window, "VM {vm}: {vector:#x} waits, and no window is asked for");
            self.overdue_entries += u32::from(self.is_flag_set);
            let is_prompt = self.overdue_entries < MAX_ENTRIES_TO_INJECT;
            assert!(is_prompt, "VM {vm}: {vector:#x} was due at {latest:?}, now it is {now:?}");
        }
    }

    /// A guest does not run through the moment its own timer expires.
    pub(super) fn check_exit(&self, entry: &Entry, entered: Instant) {
        const SLACK_NS: u64 = 2_000;
        /// A guest that was just preempted gets on a little before the next timer of its own.
        const PROGRESS_NS: u64 = 50_000;
        let was_preempted = self.last.is_some_and(|(exit, _)| exit.reason == ExitReason::Preempted);
        let slack_ns = SLACK_NS + if was_preempted { PROGRESS_NS } else { 0 };
        let Some(Expected { latest, .. }) = self.cpu.expected_interrupt() else { return };
        // A host may take the core between the reading of the clock and the entry.
        if self.clock.may_stall() {
            return;
        }
        // With a window asked for it is pending already, and the guest takes none.
        if self.clock.basis() < latest && !entry.wants_window {
            let due = latest.max(entered).after_ns(self.habits.max_overrun_ns + slack_ns);
            let now = self.clock.now();
            assert!(now <= due, "VM {} runs until {now:?}, its timer was {latest:?}", self.vm);
        }
    }

    pub(super) fn note_wait(&mut self, entered: Instant) {
        let due = self.due_at.take();
        let Some((exit, left_at)) = self.last else { return };
        let is_after_in = matches!(exit.reason, ExitReason::PortIn { .. });
        let since = if self.is_halted() {
            let expected = self.cpu.expected_interrupt().map(|expected| expected.latest);
            match expected.into_iter().chain(due).min() {
                Some(at) => at.max(left_at),
                None => return,
            }
        } else {
            left_at
        };
        let waits = &mut self.waits;
        let longest =
            if is_after_in { &mut waits.longest_after_in_ns } else { &mut waits.longest_ns };
        *longest = (*longest).max(entered.ns_since(since));
    }

    pub(super) fn take_reply(&mut self, reply: Reply) {
        let awaits = std::mem::replace(&mut self.awaits, Awaits::Nothing);
        let outcome = match (awaits, reply) {
            (Awaits::Nothing, Reply::None) => return,
            (Awaits::Value | Awaits::MsrValue, Reply::Value(value)) => Outcome::Value(value),
            (Awaits::MsrValue | Awaits::MsrDone, Reply::GeneralProtection) => {
                Outcome::GeneralProtection
            }
            (Awaits::MsrDone, Reply::None) => Outcome::Done,
            (awaits, reply) => panic!("VM {} waits for {awaits:?} and gets {reply:?}", self.vm),
        };
        match (&mut self.parts, outcome) {
            (Some(Parts::In { left, got, .. }), Outcome::Value(value)) => {
                got.push(value as u8);
                *left -= 1;
                if *left == 0 {
                    let got = std::mem::take(got);
                    self.parts = None;
                    self.finish(Outcome::Bytes(got));
                }
            }
            (_, outcome) => self.finish(outcome),
        }
    }
}

/// What the next entry must bring after this exit.
pub(super) fn awaited(reason: &ExitReason) -> Awaits {
    match reason {
        ExitReason::PortIn { .. } | ExitReason::MmioRead { .. } => Awaits::Value,
        ExitReason::MsrRead { .. } => Awaits::MsrValue,
        ExitReason::MsrWrite { .. } => Awaits::MsrDone,
        ExitReason::PortOut { .. } | ExitReason::MmioWrite { .. } => Awaits::Nothing,
        ExitReason::Halt | ExitReason::Shutdown | ExitReason::Fault(_) => Awaits::Nothing,
        ExitReason::InterruptWindow | ExitReason::Preempted | ExitReason::Pause => Awaits::Nothing,
        ExitReason::Debug(_) => unreachable!("no debugger has it"),
    }
}
