//! The last events of a VM, for a dump.

use crate::index::{VcpuIndex, VmIndex};
use crate::seam::ExitReason;
use crate::trace::{Trace, What};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Events that are shown; repetitions count as one.
const SHOWN: usize = 10;
/// Events in a line.
const PER_LINE: usize = 5;

/// Lines with the last events of `vm`, the latest last.
pub fn last_events(trace: &Trace, vm: VmIndex) -> Vec<String> {
    let mut events: Vec<(What, u32)> = Vec::new();
    for event in trace.events().filter(|event| event.vcpu.vm() == vm) {
        let what = event.what;
        if !matches!(what, What::Exit(_) | What::Interrupt(_)) {
            continue;
        }
        match events.last_mut() {
            Some((last, count)) if *last == what => *count += 1,
            _ => events.push((what, 1)),
        }
    }
    let mut texts = Vec::new();
    while texts.len() < SHOWN
        && let Some(last) = events.pop()
    {
        match printed(&mut events, last) {
            Some(text) => texts.push(text),
            None => texts.push(in_words(&last)),
        }
    }
    texts.reverse();
    let lead = |line: usize| if line == 0 { "last events: " } else { "             " };
    let lines = texts.chunks(PER_LINE).enumerate();
    lines.map(|(line, texts)| format!("{}{}", lead(line), texts.join(", "))).collect()
}

/// The vector of the interrupt that the last entries of `vcpu` brought, if it has done nothing
/// since that shows: its delivery may have been interrupted and begun again.
pub fn last_injected(trace: &Trace, vcpu: VcpuIndex) -> Option<u8> {
    let mut last = None;
    for event in trace.events().filter(|event| event.vcpu == vcpu) {
        match event.what {
            What::Interrupt(vector) => last = Some(vector),
            What::Exit(
                ExitReason::Preempted | ExitReason::InterruptWindow | ExitReason::Shutdown,
            )
            | What::TurnBegins
            | What::TurnEnds
            | What::IdleBegins
            | What::IdleEnds
            | What::Restarted
            | What::HostTook { .. }
            | What::Ended => {}
            What::Exit(_) => last = None,
        }
    }
    last
}

/// What was printed on one port, with `last` at its end: a letter alone says nothing.
fn printed(events: &mut Vec<(What, u32)>, last: (What, u32)) -> Option<String> {
    /// Letters that are shown.
    const MOST: usize = 40;
    let (to, _) = letter(last)?;
    let is_other = |event: &(What, u32)| letter(*event).is_none_or(|(port, _)| port != to);
    let begin = events.iter().rposition(is_other).map_or(0, |at| at + 1);
    let mut letters: Vec<char> = Vec::new();
    for event in events[begin..].iter().chain([&last]) {
        let (_, letter) = letter(*event)?;
        letters.extend(core::iter::repeat_n(letter, event.1 as usize));
    }
    if letters.len() < 2 {
        return None;
    }
    events.truncate(begin);
    let skipped = letters.len().saturating_sub(MOST);
    let more = if skipped > 0 { "..." } else { "" };
    let text: String = letters[skipped..].iter().collect();
    Some(format!("out {to:#x} <- {more}{text:?}"))
}

/// A letter that was written to a port.
fn letter((what, _): (What, u32)) -> Option<(u16, char)> {
    let What::Exit(ExitReason::PortOut { port, size: 1, value }) = what else { return None };
    let byte = value as u8;
    let is_text = byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    is_text.then_some((port, char::from(byte)))
}

fn in_words((what, count): &(What, u32)) -> String {
    let text = match what {
        What::Exit(reason) => of_exit(*reason),
        What::Interrupt(vector) => format!("interrupt {vector:#04x}"),
        What::TurnBegins
        | What::TurnEnds
        | What::IdleBegins
        | What::IdleEnds
        | What::Restarted
        | What::HostTook { .. }
        | What::Ended => String::new(),
    };
    if *count > 1 { format!("{text} ({count} times)") } else { text }
}

fn of_exit(reason: ExitReason) -> String {
    match reason {
        ExitReason::PortIn { port, size } => format!("in {port:#x} ({size} B)"),
        ExitReason::PortOut { port, value, .. } => format!("out {port:#x} <- {value:#x}"),
        ExitReason::MmioRead { address, .. } => format!("load {address:#x}"),
        ExitReason::MmioWrite { address, value, .. } => format!("store {address:#x} <- {value:#x}"),
        ExitReason::MsrRead { index } => format!("rdmsr {index:#x}"),
        ExitReason::MsrWrite { index, value } => format!("wrmsr {index:#x} <- {value:#x}"),
        ExitReason::Halt => "hlt".into(),
        ExitReason::Pause => "pause loop".into(),
        ExitReason::Shutdown => "shutdown".into(),
        ExitReason::InterruptWindow => "interrupt window".into(),
        ExitReason::Preempted => "preempted".into(),
        ExitReason::Debug(_) => "debugger's stop".into(),
        ExitReason::Fault(_) => "fault".into(),
    }
}
