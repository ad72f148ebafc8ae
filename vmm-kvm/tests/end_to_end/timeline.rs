//! The timeline of a run, for Perfetto.

use crate::harness::{Tandem, config};
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn the_timeline_is_json_with_a_track_for_each_vm_and_turns_that_end() {
    let run = Tandem::run(config("two.yml"));
    let path = run.scratch().path("trace.json");
    let run = run.arg("--trace").arg(&path).finish().ended_with(0).complains_of_nothing();
    let text = std::fs::read(&path).expect("it was written");
    let timeline: Value = serde_json::from_slice(&text).expect("it is JSON");
    assert_eq!(timeline["overwritten"], 0);
    let events = timeline["traceEvents"].as_array().expect("the events");
    let tracks: Vec<_> = events.iter().filter_map(|e| e["args"]["name"].as_str()).collect();
    assert_eq!(tracks, ["tandem", "left", "right", "core"]);
    let first = events.iter().find(|event| event["name"] == "turn").expect("a turn");
    assert_eq!(first["ts"], 0.0);

    let mut at_us = 0.0;
    let mut turns = BTreeMap::new();
    let mut open = None;
    // Counters and what the host had stand where they begin.
    let is_moment = |event: &&Value| ["B", "E", "i"].iter().any(|phase| event["ph"] == *phase);
    for event in events.iter().filter(is_moment) {
        let next_us = event["ts"].as_f64().expect("every event has its time");
        assert!(next_us >= at_us, "out of order: {event}");
        at_us = next_us;
        let track = event["tid"].as_u64().expect("every event has its track");
        match (event["name"].as_str(), event["ph"].as_str()) {
            (Some("turn"), Some("B")) => {
                assert_eq!(open.replace(track), None, "two turns at once: {event}");
                *turns.entry(track).or_insert(0) += 1;
            }
            (Some("turn"), Some("E")) => assert_eq!(open.take(), Some(track), "{event}"),
            _ => {}
        }
    }
    assert_eq!(open, None, "the last turn has no end");
    for (track, vm) in [(0, "left"), (1, "right")] {
        assert_eq!(run.vm(vm)["turns"], turns[&track], "the receipt counts other turns of {vm}");
    }
    let ends = events.iter().filter(|event| event["name"] == "ended").count();
    assert_eq!(ends, 2);
    let has = |name: &str| events.iter().any(|event| event["name"] == name);
    assert!(has("out 0x3f9 <- 0x00 (COM1 IER)") && has("com1: usertests: all passed"));
    let burst = |event: &Value| -> Option<u64> {
        let name = event["name"].as_str()?.strip_prefix("com1: ")?;
        name.strip_suffix(" bytes to the link")?.parse().ok()
    };
    assert_eq!(events.iter().filter_map(burst).sum::<u64>(), 19, "left's message");
    let shares = events.iter().filter(|event| event["name"] == "share of the core, %");
    for share in shares {
        let vms = ["left", "right"].map(|vm| share["args"][vm].as_f64().expect("a share"));
        assert!(vms.iter().sum::<f64>() <= 100.001, "{share}");
    }
}

/// A run that ends by its time limit has a whole timeline, too, and the ring keeps its end.
#[test]
fn the_timeline_of_a_run_that_fails_is_whole() {
    let run = Tandem::run_text("vms: [{name: busy, kernel: storm_forever}]");
    let path = run.scratch().path("trace.json");
    let run = run.arg("--trace").arg(&path).arg("--timeout").arg("1s").finish().ended_with(1);
    let text = std::fs::read(&path).expect("it was written");
    let timeline: Value = serde_json::from_slice(&text).expect("it is JSON");
    let events = timeline["traceEvents"].as_array().expect("the events");
    assert!(events.iter().any(|event| event["name"] == "ended"), "{}", run.shown());
}
