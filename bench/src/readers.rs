//! What a slow reader of the output costs the VMs.

use crate::code;
use crate::lines::{Line, Target};
use crate::measure::side_by_side;
use crate::tandem::{Guest, run_for};
use anyhow::{Context, Result};
use std::io::{PipeReader, Read};
use std::thread;
use std::time::Duration;
use vmm_kvm::sys::pin_to;

/// VMs that print without end.
const VMS: usize = 64;
const RUN_NS: u64 = 3_000_000_000;
const SLICE_NS: u64 = 5_000_000;
/// 10 kB/s.
const SLOW_BYTES: usize = 1000;
const SLOW_PAUSE: Duration = Duration::from_millis(100);

/// 64 VMs flood a slow reader: the core's time outside guests, against that with a fast one.
pub fn slow_reader(core: u64) -> Result<Line> {
    let (slow, fast) = side_by_side(3, || outside(core, read_slowly), || outside(core, read_all))?;
    Ok(Line {
        what: "64 VMs flood a reader of 10 kB/s, time outside guests less that with a fast one, \
            per cent"
            .to_string(),
        ours: format!("{slow:.2} %"),
        floor: format!("{fast:.2} %"),
        figure: slow - fast,
        target: Target::AtMost(1.0),
    })
}

/// The part of the core's time, less what the host took, that no guest had, per cent.
fn outside(core: u64, read: fn(PipeReader)) -> Result<f64> {
    let (reader, writer) = std::io::pipe().context("a pipe")?;
    let reading = thread::spawn(move || {
        leave(core);
        read(reader);
    });
    let guests = vec![Guest::flat(code::console_lines(u32::MAX)); VMS];
    let outcome = run_for(
        &guests,
        (SLICE_NS, Some(RUN_NS)),
        core,
        std::fs::File::from(std::os::fd::OwnedFd::from(writer)),
    )?;
    reading.join().expect("a reader does not panic");
    let receipt = outcome.receipt;
    let guest_ns: u64 = receipt.vms.iter().map(|vm| vm.guest_ns).sum();
    let ours_ns = receipt.accounted_ns - receipt.taken_ns;
    Ok(100.0 * (1.0 - guest_ns as f64 / ours_ns as f64))
}

/// Runs on from here on another core than `core`, if there is one.
fn leave(core: u64) {
    const CORES: u64 = 1024;
    let _ = (0..CORES).filter(|other| *other != core).find(|other| pin_to(*other).is_ok());
}

fn read_all(mut reader: PipeReader) {
    let mut buffer = [0; 1 << 16];
    while reader.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
}

fn read_slowly(mut reader: PipeReader) {
    let mut buffer = [0; SLOW_BYTES];
    while reader.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
        thread::sleep(SLOW_PAUSE);
    }
}
