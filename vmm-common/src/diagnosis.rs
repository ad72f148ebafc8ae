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
mod events;
mod frames;
mod replay;
mod scene;
mod tables;

use crate::ending::Ending;
use crate::fault::Fault;
use crate::memory::GuestMemory;
use crate::registers::{CpuState, segment};
use crate::x86::paging::error;
use crate::x86::{Exception, Guest};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::{self, Write};
use delivery::{Event, deliver};
pub use events::{last_events, last_injected};
use replay::Replayed;
use scene::Scene;
use tables::Failure;

const DOUBLE_FAULT: u8 = 8;
const PAGE_FAULT: u8 = 14;

/// What helps where a KVM's emulator lacks an instruction.
const WAY_OUT: &str = "this KVM lacks it; other targets have it: cargo xtask run FILE --on qemu";

/// Names of exceptions by vector (SDM vol. 3, table 6-1).
const NAMES: [&str; 20] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
    "#PF", "15", "#MF", "#AC", "#MC", "#XM",
];

/// What is shown of a processor whose VM has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Lines that say why, and how it came there, each ended by a newline.
    explanation: String,
    /// What it has left; None: that shows nothing.
    registers: Option<CpuState>,
}

/// How a processor that had not failed was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It ran.
    Running,
    /// It halts; and why nothing can wake it, or what it waits for.
    Halted(String),
}

impl Dump {
    /// Of a processor with these registers whose VM ended so, with this RAM.
    #[must_use]
    pub fn new(
        ending: &Ending,
        found: &Found,
        (registers, injected): (CpuState, Option<u8>),
        memory: &impl GuestMemory,
    ) -> Self {
        let scene = Scene::new(&registers, memory);
        let mut explanation = String::new();
        match (ending, found) {
            (Ending::TripleFault, _) => {
                explanation += &of_triple_fault(&registers, injected, memory);
            }
            (Ending::Fault(_), _) if frames::code(&scene).is_empty() => {
                say(&mut explanation, &format!("no RAM, and no instruction {}", place(&scene)));
            }
            (Ending::Fault(fault), _) => {
                say(&mut explanation, &format!("the instruction {}", place(&scene)));
                if let Fault::CannotEmulate { .. } = fault {
                    say(&mut explanation, WAY_OUT);
                }
            }
            (_, Found::Running) => say(&mut explanation, &format!("ran {}", place(&scene))),
            (_, Found::Halted(why)) => {
                let at = halted_at(&scene).linear_rip();
                say(&mut explanation, &format!("halted at {at:#x}; {why}"));
            }
        }
        Self { explanation, registers: Some(registers) }
    }

    /// The same, with how it came there.
    #[must_use]
    pub fn with_stack(mut self, found: &Found, memory: &impl GuestMemory) -> Self {
        if let Some(registers) = &self.registers
            && !is_as_after_reset(registers)
        {
            let scene = Scene::new(registers, memory);
            let scene = if *found == Found::Running { scene } else { halted_at(&scene) };
            if let Some(how) = frames::bad_return(&scene) {
                say(&mut self.explanation, &how);
            }
            if let Some(trace) = frames::call_trace(&scene) {
                say(&mut self.explanation, &trace);
            }
            say(&mut self.explanation, &frames::stack(&scene));
        }
        self
    }

    /// The same, with these lines more.
    #[must_use]
    pub fn with_lines(mut self, lines: &[String]) -> Self {
        lines.iter().for_each(|line| say(&mut self.explanation, line));
        self
    }

    /// The same, but the registers.
    #[must_use]
    pub fn without_registers(mut self) -> Self {
        self.registers = None;
        self
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explanation)?;
        self.registers.iter().try_for_each(|registers| write!(f, "{registers}"))
    }
}

/// `at 0x1000: 64-bit code f4 ...`, which a host's program turns into names and an instruction.
fn place<M: GuestMemory>(scene: &Scene<'_, M>) -> String {
    let (at, code) = (scene.linear_rip(), frames::code(scene));
    let mut text = format!("at {at:#x}");
    if !code.is_empty() {
        let _ = write!(text, ": {}-bit code", scene.code_bits());
        code.iter().for_each(|byte| {
            let _ = write!(text, " {byte:02x}");
        });
    }
    text
}

/// A halted processor at its HLT: RIP of one that has executed it is behind.
fn halted_at<'a, M: GuestMemory>(scene: &Scene<'a, M>) -> Scene<'a, M> {
    const HLT: u8 = 0xf4;
    let mut before = scene.copy();
    before.state.rip = before.state.rip.wrapping_sub(1);
    match frames::code(&before).first() {
        Some(&HLT) => before,
        _ => scene.copy(),
    }
}

/// Lines that say why a processor in `state` has shut down, each ended by a newline. `injected` is
/// the interrupt that it was to take last.
#[must_use]
pub fn of_triple_fault(
    state: &CpuState,
    injected: Option<u8>,
    memory: &impl GuestMemory,
) -> String {
    let scene = Scene::new(state, memory);
    if is_as_after_reset(state) {
        return String::from(
            "its registers are those of a reset: this host has lost what they were\n",
        );
    }
    let at = place(&scene);
    let mut lines = String::new();
    let injected =
        injected.map(|vector| Event { vector, is_software: false, has_error_code: false });
    if let Some(event) = injected.filter(|event| deliver(&scene, *event).is_some()) {
        say(&mut lines, &format!("interrupt {:#x} {at}", event.vector));
        follow(&scene, event, &mut lines);
        return lines;
    }
    let event = match replay::first_exception(&scene) {
        Replayed::Raises(exception) => {
            let addressed = matches!(exception.vector, 12 | 13) && exception.error == Some(0);
            let why = addressed.then(|| replay::bad_address(&scene)).flatten();
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            say(&mut lines, &format!("{}{why} {at}", in_words(&scene, exception)));
            Some(event_of(exception))
        }
        Replayed::Interrupts(vector) => {
            say(&mut lines, &format!("int {vector:#x} {at}"));
            Some(Event { vector, is_software: true, has_error_code: false })
        }
        Replayed::Nothing => {
            say(&mut lines, &format!("nothing that the instruction raises by itself {at}"));
            None
        }
        Replayed::Unknown => {
            say(&mut lines, &format!("an exception that is not known {at}"));
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
    let (mut event, mut said) = (first, String::new());
    let mut lacks_gates = true;
    for _ in 0..LONGEST {
        let Some(Failure { exception, why }) = deliver(scene, event) else {
            say(&mut said, &format!("{} can be delivered", name(event.vector)));
            break;
        };
        let (before, raised) = (name(event.vector), in_words(scene, exception));
        lacks_gates &= why == delivery::no_gate(event.vector, scene.state.idtr.limit);
        if event.vector == DOUBLE_FAULT {
            say(
                &mut said,
                &format!("then {raised} while delivering {before}: {why}; a triple fault"),
            );
            if lacks_gates && event != first {
                said = in_short(scene, first);
            }
            break;
        }
        let is_double = is_double(event.vector, exception.vector) && !event.is_software;
        let next = if is_double { "; a double fault" } else { "" };
        say(&mut said, &format!("then {raised} while delivering {before}: {why}{next}"));
        event = match is_double {
            true => event_of(Exception::coded(DOUBLE_FAULT, 0)),
            false => event_of(exception),
        };
    }
    *lines += &said;
}

/// The chain where no gate is there for the first event, nor for what that raises.
fn in_short<M: GuestMemory>(scene: &Scene<'_, M>, first: Event) -> String {
    let why = delivery::no_gate(first.vector, scene.state.idtr.limit);
    format!("then #GP while delivering it: {why}, then a triple fault\n")
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
