//! The trace as a timeline in the Chrome trace event format, which Perfetto opens: a track for each
//! VM, one for the core, and counters. Times begin with the first event that is left.

use sent::Output;
use serde_json::{Value, json};
use std::io::{self, Write};
use vmm_common::Instant;
use vmm_common::seam::ExitReason;
use vmm_common::system::System;
use vmm_common::trace::{Event, What};

mod access;
mod sent;

/// Track of what belongs to no VM.
const CORE_TRACK: usize = 1000;

/// Writes the recorded events, one by one: the file is as large as the trace, and no more is kept.
pub fn write<M>(system: &System<M>, mut to: impl Write) -> io::Result<()> {
    let mut names = vec![json!({"ph": "M", "pid": 1, "name": "process_name",
                                "args": {"name": "tandem"}})];
    names.extend(system.vms.iter().enumerate().map(|(vm, it)| track_name(vm, it.name())));
    names.push(track_name(CORE_TRACK, "core"));
    write!(to, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    for (index, value) in names.iter().enumerate() {
        write!(to, "{}\n{value}", if index == 0 { "" } else { "," })?;
    }
    let zero = system.trace.events().next().map_or(Instant::ZERO, |event| event.at);
    let mut output = Output::new(system);
    for event in system.trace.events() {
        let at = Instant::from_ns(event.at.ns_since(zero));
        for value in values(event, at, &mut output) {
            write!(to, ",\n{value}")?;
        }
    }
    writeln!(to, "\n],\"overwritten\":{}}}", system.trace.overwritten())?;
    to.flush()
}

fn track_name(track: usize, name: &str) -> Value {
    json!({"ph": "M", "pid": 1, "tid": track, "name": "thread_name", "args": {"name": name}})
}

/// What an event, `at` since the first one, is on the timeline.
fn values(event: &Event, at: Instant, output: &mut Output) -> Vec<Value> {
    let vm = event.vcpu.vm().0;
    let mut values = Vec::new();
    if let Some((begin, counters)) = output.counters(at) {
        for (name, series) in counters {
            if series.as_object().is_some_and(|series| !series.is_empty()) {
                values.push(json!({"ph": "C", "pid": 1, "ts": us(begin), "name": name,
                                   "args": series}));
            }
        }
    }
    let mut texts = Vec::new();
    let mut own = None;
    match event.what {
        What::TurnBegins => output.turn_begins(vm, at),
        What::TurnEnds => texts = output.turn_ends(vm, at),
        What::IdleEnds => output.idle_ends(at),
        What::HostTook { ns } => own = Some(host_had_it(output.host_took(ns, at), at)),
        What::Exit(reason) => {
            if let ExitReason::PortOut { port, size: 1, value } = reason {
                texts.extend(output.wrote(vm, port, value as u8));
            }
        }
        What::IdleBegins | What::Interrupt(_) | What::Ended | What::Restarted => {}
    }
    let is_end = event.what == What::TurnEnds;
    let own = own.unwrap_or_else(|| value(event, at));
    let texts = texts.into_iter().map(|mut text| {
        for (key, value) in [("ph", json!("i")), ("s", json!("t")), ("pid", json!(1))] {
            text[key] = value;
        }
        text["tid"] = json!(vm);
        text["ts"] = json!(us(at));
        text
    });
    // What ends with a turn lies within it.
    if is_end {
        values.extend(texts);
        values.push(own);
    } else {
        values.push(own);
        values.extend(texts);
    }
    values
}

fn host_had_it(begin: Instant, end: Instant) -> Value {
    json!({"ph": "X", "pid": 1, "tid": CORE_TRACK, "name": "the host had it",
           "ts": us(begin), "dur": us(end) - us(begin)})
}

fn us(at: Instant) -> f64 {
    at.as_ns() as f64 / 1000.0
}

fn value(event: &Event, at: Instant) -> Value {
    let (vm, vcpu) = (event.vcpu.vm().0, event.vcpu.id());
    let phase = |phase: &str, track: usize, name: &str| {
        json!({"ph": phase, "pid": 1, "tid": track, "ts": us(at),
               "name": name})
    };
    let instant = |name: &str| {
        json!({"ph": "i", "s": "t", "pid": 1, "tid": vm, "ts": us(at), "name": name,
               "args": {"vcpu": vcpu}})
    };
    match event.what {
        What::TurnBegins => phase("B", vm, "turn"),
        What::TurnEnds => phase("E", vm, "turn"),
        What::IdleBegins => phase("B", CORE_TRACK, "idle"),
        What::IdleEnds => phase("E", CORE_TRACK, "idle"),
        What::HostTook { .. } => instant("the host had it"),
        What::Interrupt(vector) => instant(&format!("interrupt, vector {vector:#x}")),
        What::Ended => instant("ended"),
        What::Restarted => instant("restarted"),
        What::Exit(reason) => {
            let mut value = instant(&access::in_words(&reason));
            value["cat"] = json!(ExitReason::KINDS[reason.kind()]);
            value
        }
    }
}
