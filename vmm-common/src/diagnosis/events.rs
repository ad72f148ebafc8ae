//! The last events of a VM, for a dump.

use crate::index::VmIndex;
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
    let first = events.len().saturating_sub(SHOWN);
    let texts: Vec<String> = events[first..].iter().map(in_words).collect();
    let lead = |line: usize| if line == 0 { "last events: " } else { "             " };
    let lines = texts.chunks(PER_LINE).enumerate();
    lines.map(|(line, texts)| format!("{}{}", lead(line), texts.join(", "))).collect()
}

fn in_words((what, count): &(What, u32)) -> String {
    let text = match what {
        What::Exit(reason) => of_exit(*reason),
        What::Interrupt(vector) => format!("interrupt {vector:#04x}"),
        What::TurnBegins
        | What::TurnEnds
        | What::IdleBegins
        | What::IdleEnds
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
        ExitReason::Fault(_) => "fault".into(),
    }
}
