//! Why a processor has shut down: the chain of exceptions of a triple fault, found again from what
//! it has left. Its registers are those of the instruction that raised the first exception, and its
//! RAM holds the tables that the deliveries went through.
//!
//! ```text
//! the instruction, replayed --> first exception --deliver--> the next one ... --> shutdown
//! ```
//!
//! Nothing is written: the replay is of a copy, and stores of the replayed instruction are dropped.

mod delivery;
mod replay;
mod scene;
mod tables;

use crate::ending::Ending;
use crate::memory::GuestMemory;
use crate::registers::{CpuState, segment};
use crate::x86::Exception;
use crate::x86::paging::error;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::{self, Write};
use delivery::{Event, deliver};
use replay::Replayed;
use scene::Scene;
use tables::Failure;

const DOUBLE_FAULT: u8 = 8;
const PAGE_FAULT: u8 = 14;

/// Names of exceptions by vector (SDM vol. 3, table 6-1).
const NAMES: [&str; 20] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
    "#PF", "15", "#MF", "#AC", "#MC", "#XM",
];

/// What is shown of a processor whose VM a fault has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// Lines that say why, each ended by a newline; none if the ending says it all.
    why: String,
    /// What it has left.
    pub registers: CpuState,
}

impl Dump {
    /// Of a processor that has left these registers when its VM ended so, with this RAM.
    #[must_use]
    pub fn new(ending: &Ending, registers: CpuState, memory: &impl GuestMemory) -> Self {
        let why = match ending {
            Ending::TripleFault => of_triple_fault(&registers, memory),
            Ending::PowerOff { .. }
            | Ending::Reset
            | Ending::Panicked
            | Ending::HaltedForGood
            | Ending::Fault(_)
            | Ending::Stopped { .. } => String::new(),
        };
        Self { why, registers }
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.why, self.registers)
    }
}

/// Lines that say why a processor in `state` has shut down, each ended by a newline.
#[must_use]
pub fn of_triple_fault(state: &CpuState, memory: &impl GuestMemory) -> String {
    let scene = Scene::new(state, memory);
    if is_as_after_reset(state) {
        return String::from(
            "its registers are those of a reset: this host has lost what they were\n",
        );
    }
    let at = format!("{:#x}", scene.linear_rip());
    let mut lines = String::new();
    let event = match replay::first_exception(&scene) {
        Replayed::Raises(exception) => {
            say(&mut lines, &format!("{} at {at}", in_words(&scene, exception)));
            Some(event_of(exception))
        }
        Replayed::Interrupts(vector) => {
            say(&mut lines, &format!("int {vector:#x} at {at}"));
            Some(Event { vector, is_software: true, has_error_code: false })
        }
        Replayed::Nothing => {
            say(&mut lines, &format!("at {at}: its instruction raises nothing by itself"));
            None
        }
        Replayed::Unknown => {
            say(&mut lines, &format!("at {at}: what its instruction raised is not known"));
            None
        }
    };
    match event {
        Some(event) => follow(&scene, event, &mut lines),
        // Whatever it was, it went this way.
        None => follow(&scene, event_of(Exception::coded(DOUBLE_FAULT, 0)), &mut lines),
    }
    lines
}

/// Linux's KVM resets a processor of AMD's that shuts down, whose state is undefined then (APM vol.
/// 2, 15.14.3).
fn is_as_after_reset(state: &CpuState) -> bool {
    /// Where a processor begins (SDM vol. 3, 10.1.4).
    const FIRST: (u64, u64) = (0xffff_0000, 0xfff0);
    (state.segments[segment::CS].base, state.rip) == FIRST
}

/// Follows the deliveries of an event and of what they raise (SDM vol. 3, table 6-5).
fn follow<M: GuestMemory>(scene: &Scene<'_, M>, first: Event, lines: &mut String) {
    /// An exception in the delivery of a benign one takes its place; no chain is longer.
    const LONGEST: usize = 4;
    let mut event = first;
    for _ in 0..LONGEST {
        let Some(Failure { exception, why }) = deliver(scene, event) else {
            say(lines, &format!("{} can be delivered", name(event.vector)));
            return;
        };
        let (before, raised) = (name(event.vector), in_words(scene, exception));
        if event.vector == DOUBLE_FAULT {
            say(lines, &format!("then {raised} while delivering {before}: {why}; a triple fault"));
            return;
        }
        let is_double = is_double(event.vector, exception.vector) && !event.is_software;
        let next = if is_double { "; a double fault" } else { "" };
        say(lines, &format!("then {raised} while delivering {before}: {why}{next}"));
        event = match is_double {
            true => event_of(Exception::coded(DOUBLE_FAULT, 0)),
            false => event_of(exception),
        };
    }
}

/// Whether the second exception makes a double fault of the first (SDM vol. 3, table 6-5).
fn is_double(first: u8, second: u8) -> bool {
    let is_contributory = |vector| matches!(vector, 0 | 10..=13);
    match first {
        PAGE_FAULT => second == PAGE_FAULT || is_contributory(second),
        _ => is_contributory(first) && is_contributory(second),
    }
}

fn event_of(exception: Exception) -> Event {
    Event {
        vector: exception.vector,
        is_software: false,
        has_error_code: exception.error.is_some(),
    }
}

/// An exception by its name; a page fault by its access, and what the tables say of it.
fn in_words<M: GuestMemory>(scene: &Scene<'_, M>, exception: Exception) -> String {
    match (exception.cr2, exception.error) {
        (Some(linear), Some(code)) => {
            let what = match (code & error::FETCH != 0, code & error::WRITE != 0) {
                (true, _) => "fetch from",
                (false, true) => "write to",
                // Without no-execute paging a fetch has the error code of a read.
                (false, false) if linear == scene.linear_rip() => "fetch from",
                (false, false) => "read of",
            };
            let ring = if code & error::USER != 0 { " by ring 3" } else { "" };
            let why = scene.page_in_words(linear, code);
            format!("page fault ({what} {linear:#x}{ring}, {why})")
        }
        (_, Some(code)) if code != 0 => format!("{}({code:#x})", name(exception.vector)),
        _ => name(exception.vector),
    }
}

fn name(vector: u8) -> String {
    NAMES
        .get(usize::from(vector))
        .map_or_else(|| format!("vector {vector:#x}"), ToString::to_string)
}

fn say(lines: &mut String, line: &str) {
    // A string takes everything.
    let _ = writeln!(lines, "{line}");
}

#[cfg(test)]
mod tests;
