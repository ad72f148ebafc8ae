//! The trace as a timeline in the Chrome trace event format, which Perfetto opens: one track for
//! each VM and one for the core's idle time.

use serde_json::{Value, json};
use std::io::{self, Write};
use vmm_common::seam::ExitReason;
use vmm_common::system::System;
use vmm_common::trace::{Event, What};

/// Track of what belongs to no VM.
const CORE_TRACK: usize = 1000;

/// Writes the recorded events.
pub fn write<M>(system: &System<M>, mut to: impl Write) -> io::Result<()> {
    let names = system.vms.iter().enumerate().map(|(vm, it)| track_name(vm, it.name()));
    let names = names.chain([track_name(CORE_TRACK, "core")]);
    let events = system.trace.events().map(event);
    writeln!(to, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    for (index, value) in names.chain(events).enumerate() {
        writeln!(to, "{}{value}", if index == 0 { "" } else { "," })?;
    }
    writeln!(to, "],\"overwritten\":{}}}", system.trace.overwritten())?;
    to.flush()
}

fn track_name(track: usize, name: &str) -> Value {
    json!({"ph": "M", "pid": 1, "tid": track, "name": "thread_name", "args": {"name": name}})
}

fn event(event: &Event) -> Value {
    let at_us = event.at.as_ns() as f64 / 1000.0;
    let (vm, vcpu) = (event.vcpu.vm().0, event.vcpu.id());
    let phase = |phase: &str, track: usize, name: &str| {
        json!({"ph": phase, "pid": 1, "tid": track, "ts": at_us,
               "name": name})
    };
    let instant = |name: &str, arguments: Value| {
        json!({"ph": "i", "s": "t", "pid": 1, "tid": vm, "ts": at_us, "name": name,
               "args": {"vcpu": vcpu, "what": arguments}})
    };
    match event.what {
        What::TurnBegins => phase("B", vm, "turn"),
        What::TurnEnds => phase("E", vm, "turn"),
        What::IdleBegins => phase("B", CORE_TRACK, "idle"),
        What::IdleEnds => phase("E", CORE_TRACK, "idle"),
        What::Interrupt(vector) => instant("interrupt", json!(format!("vector {vector:#x}"))),
        What::Ended => instant("ended", json!(null)),
        What::Restarted => instant("restarted", json!(null)),
        What::Exit(reason) => {
            instant(ExitReason::KINDS[reason.kind()], json!(format!("{reason:x?}")))
        }
    }
}
