//! The taps of a plan's links: what passes is written to a file, a line for each run of bytes of
//! one sender: nanoseconds since the start, `VM.comN`, the bytes in hexadecimal.

use crate::outputs::{Recorder, Slot};
use devices::link::LinkEnd;
use std::fmt::Write;
use vmm_common::plan::Plan;
use vmm_common::system::System;

/// Bytes on one line of a tap's file.
const LINE_BYTES: usize = 32;

/// The taps of all links that have one.
#[derive(Debug)]
pub struct Taps {
    taps: Vec<Tap>,
}

#[derive(Debug)]
struct Tap {
    wire: usize,
    link: String,
    file: Slot,
}

impl Taps {
    /// The taps of `plan`'s links, which go to these files, by link.
    #[must_use]
    pub fn new(plan: &Plan, files: &[Option<Slot>]) -> Self {
        let links = plan.links.iter().zip(files).enumerate();
        let taps = links.filter_map(|(wire, (link, file))| {
            file.map(|file| Tap { wire, link: link.name.clone(), file })
        });
        Self { taps: taps.collect() }
    }

    /// Records the bytes that have passed since the last call.
    pub fn drain<M>(&mut self, system: &mut System<M>, recorder: &mut Recorder) {
        for tap in &self.taps {
            tap.drain(system, recorder);
        }
    }

    /// Messages about bytes that passed unrecorded.
    pub fn omissions<M>(&self, system: &mut System<M>) -> Vec<String> {
        let lost = |tap: &Tap| {
            let lost = system.wires[tap.wire].link.tap().map_or(0, |ring| ring.overflowed());
            (lost > 0).then(|| format!("the tap of link {} lacks {lost} bytes", tap.link))
        };
        self.taps.iter().filter_map(lost).collect()
    }
}

impl Tap {
    fn drain<M>(&self, system: &mut System<M>, recorder: &mut Recorder) {
        let System { vms, wires, .. } = system;
        let wire = &mut wires[self.wire];
        let Some(ring) = wire.link.tap() else { return };
        let mut line = String::new();
        let mut run: Option<(LinkEnd, usize)> = None;
        while let Some(record) = ring.take() {
            let is_continued =
                run.is_some_and(|(end, len)| end == record.from_end && len < LINE_BYTES);
            if !is_continued {
                if run.is_some() {
                    line.push('\n');
                }
                let (vm, port) = wire.ends.at(record.from_end);
                let (at_ns, name) = (record.at.as_ns(), vms[vm].name());
                write!(line, "{at_ns} {name}.{port}").expect("a string takes all");
            }
            write!(line, " {:02x}", record.byte).expect("a string takes all");
            let len = if is_continued { run.map_or(0, |(_, len)| len) } else { 0 };
            run = Some((record.from_end, len + 1));
        }
        if run.is_some() {
            line.push('\n');
            recorder.push(self.file, line.as_bytes());
        }
    }
}
