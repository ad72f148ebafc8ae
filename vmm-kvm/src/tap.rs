//! The taps of a plan's links: what passes is written to a file, a line for each run of bytes of
//! one sender: nanoseconds since the start, `VM.comN`, the bytes in hexadecimal.

use anyhow::{Context, Result};
use devices::link::LinkEnd;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use vmm_common::plan::Plan;
use vmm_common::system::System;

/// Bytes on one line of a tap's file.
const LINE_BYTES: usize = 32;

/// The files of all links that have a tap.
#[derive(Debug)]
pub struct Taps {
    taps: Vec<TapFile>,
}

#[derive(Debug)]
struct TapFile {
    wire: usize,
    path: String,
    file: BufWriter<File>,
    error: Option<io::Error>,
}

impl Taps {
    /// Creates the files that `plan` names.
    pub fn open(plan: &Plan) -> Result<Self> {
        let mut taps = Vec::new();
        for (wire, link) in plan.links.iter().enumerate() {
            let Some(path) = link.tap.clone() else { continue };
            let file = File::create(&path);
            let file = file.with_context(|| format!("link {}: the tap {path}", link.name))?;
            taps.push(TapFile { wire, path, file: BufWriter::new(file), error: None });
        }
        Ok(Self { taps })
    }

    /// Writes what has passed since the last time.
    pub fn drain<M>(&mut self, system: &mut System<M>) {
        for tap in &mut self.taps {
            let written = tap.drain(system);
            tap.error = tap.error.take().or(written.err());
        }
    }

    /// Writes the rest; returns the errors as messages.
    pub fn finish<M>(mut self, system: &mut System<M>) -> Vec<String> {
        self.drain(system);
        let trouble = |mut tap: TapFile| {
            let error = tap.error.or(tap.file.flush().err());
            let lost = system.wires[tap.wire].link.tap().map_or(0, |ring| ring.overflowed());
            let path = &tap.path;
            match (error, lost) {
                (Some(error), _) => Some(format!("the tap {path} is not complete: {error}")),
                (None, 1..) => Some(format!("the tap {path} lacks {lost} bytes")),
                (None, 0) => None,
            }
        };
        self.taps.into_iter().filter_map(trouble).collect()
    }
}

impl TapFile {
    fn drain<M>(&mut self, system: &mut System<M>) -> io::Result<()> {
        let System { vms, wires, .. } = system;
        let wire = &mut wires[self.wire];
        let Some(ring) = wire.link.tap() else { return Ok(()) };
        let mut line = String::new();
        let mut run: Option<(LinkEnd, usize)> = None;
        while let Some(record) = ring.take() {
            let is_continued =
                run.is_some_and(|(end, len)| end == record.from_end && len < LINE_BYTES);
            if !is_continued {
                if run.is_some() {
                    line.push('\n');
                }
                let (vm, port) = wire.ends[record.from_end.0];
                let (at_ns, name, com) = (record.at.as_ns(), vms[vm].name(), port.number());
                write!(line, "{at_ns} {name}.com{com}").expect("a string takes all");
            }
            write!(line, " {:02x}", record.byte).expect("a string takes all");
            let len = if is_continued { run.map_or(0, |(_, len)| len) } else { 0 };
            run = Some((record.from_end, len + 1));
        }
        if run.is_some() {
            line.push('\n');
            self.file.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}
