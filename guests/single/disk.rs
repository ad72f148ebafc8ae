//! Drives its disks, well and badly: a line for each check of each disk. A disk that can be written
//! is checked from its 256th sector on, and is expected to hold before it what a test's image
//! holds: little-endian words of 64 bits that count from 0. Nothing depends on how fast the device
//! is; requests come back by polling and by interrupts.
//!
//! The word `lenient` leaves out what the specification demands and QEMU's device does not do,
//! `reset` ends by a triple fault instead of a power-off, and `durable`, perhaps with a number,
//! makes another guest of it (`disk/durable.rs`).
#![no_std]
#![no_main]

#[path = "virtio/arena.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod arena;
#[path = "../common/mod.rs"]
mod common;
#[path = "virtio/device.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod device;
#[path = "disk/interrupts.rs"]
mod disk_interrupts;
#[path = "disk/driver.rs"]
mod driver;
#[path = "disk/durable.rs"]
mod durable;
#[path = "virtio/io_apic.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod io_apic;
#[path = "disk/negotiation.rs"]
mod negotiation;
#[path = "virtio/queue.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod queue;
#[path = "disk/ram.rs"]
mod ram;
#[path = "disk/refusals.rs"]
mod refusals;
#[path = "virtio/registers.rs"]
#[allow(dead_code, reason = "each image uses its own part")]
mod registers;
#[path = "disk/resets.rs"]
mod resets;
#[path = "disk/rings.rs"]
mod rings;
#[path = "disk/transfers.rs"]
mod transfers;

use common::{boot, console, interrupts};
use device::offered;
use driver::{EVENT_IDX, FLUSH, INDIRECT_DESC, READ_ONLY, VERSION_1};
use registers::{MOST, Window};

const STATUS_WRONG: u32 = 1;

/// What is wrong, if something is.
pub type Verdict = Result<(), &'static str>;

/// Which disks a check is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    Writable,
    ReadOnly,
    /// All, unless the command line says `lenient`.
    Strict,
}
use Of::{All, ReadOnly, Strict, Writable};

type Check = (&'static str, Of, fn(Window) -> Verdict);

const PLAIN: u64 = VERSION_1 | FLUSH;
const FULL: u64 = PLAIN | INDIRECT_DESC | EVENT_IDX;

#[rustfmt::skip]
const CHECKS: &[Check] = &[
    ("registers", All, negotiation::registers),
    ("features", All, negotiation::features),
    ("feature that is not offered", Strict, negotiation::not_offered),
    ("version 1 not accepted", Strict, negotiation::legacy),
    ("nothing before DRIVER_OK", All, negotiation::too_early),
    ("reads", All, |window| transfers::reads(window, PLAIN)),
    ("reads with all features", All, |window| transfers::reads(window, FULL)),
    ("uneven buffers", All, transfers::uneven),
    ("identifier", All, transfers::identifier),
    ("writes", Writable, |window| transfers::writes(window, PLAIN)),
    ("writes with all features", Writable, |window| transfers::writes(window, FULL)),
    ("writes without FLUSH", Writable, |window| transfers::writes(window, VERSION_1)),
    ("write zeroes", Writable, transfers::write_zeroes),
    ("discard", Writable, transfers::discard),
    ("many requests at a time", All, |window| transfers::many(window, PLAIN)),
    ("many requests with all features", All, |window| transfers::many(window, FULL)),
    ("a queue that wraps around", All, transfers::wraps),
    ("a queue of one", All, transfers::queue_of_one),
    ("beyond the end", All, refusals::beyond_the_end),
    ("write beyond the end", Writable, refusals::write_beyond),
    ("no whole sectors", All, refusals::no_whole_sectors),
    ("unknown type", All, refusals::unknown_type),
    ("bad segments", Writable, refusals::bad_segments),
    ("write refused", ReadOnly, refusals::write_refused),
    ("interrupt", All, disk_interrupts::comes),
    ("interrupt suppressed", All, disk_interrupts::suppressed),
    ("interrupt by event index", All, disk_interrupts::event_index),
    ("notification by event index", All, disk_interrupts::notification),
    ("reset with requests under way", All, resets::under_way),
    ("loop", All, rings::chain_loop),
    ("head beyond the table", All, rings::bad_head),
    ("next beyond the table", All, rings::bad_next),
    ("index jump", All, rings::index_jump),
    ("read behind write", All, rings::order),
    ("no status byte", All, rings::no_status),
    ("no header", All, rings::no_header),
    ("nested indirect table", All, rings::nested),
    ("indirect without the feature", Strict, rings::indirect_not_accepted),
    ("indirect table of no whole entries", All, rings::partial_table),
    ("buffer outside RAM", Strict, rings::buffer_outside),
    ("buffer that wraps around", Strict, rings::buffer_wraps),
    ("rings outside RAM", Strict, rings::rings_outside),
    ("queue size 0", Strict, |window| rings::queue_size(window, 0)),
    ("queue size 3", Strict, |window| rings::queue_size(window, 3)),
    ("queue size 32768", Strict, |window| rings::queue_size(window, 32768)),
    ("rings over each other", All, rings::over_each_other),
];

/// What is wrong if that is not right.
pub fn expect(is_right: bool, what: &'static str) -> Verdict {
    if is_right { Ok(()) } else { Err(what) }
}

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    if boot::has_word("durable") {
        durable::run();
    }
    disk_interrupts::initialise();
    let mut disks = 0;
    let mut is_right = true;
    while let Some(window) = (disks < MOST).then(|| driver::disk(disks)).flatten() {
        is_right &= check(disks, window);
        disks += 1;
    }
    is_right &= disks > 0;
    let mut line = console::Line::new();
    line.text("disk: ").decimal(disks as u64).text(" disks, ");
    line.text(if is_right { "all passed" } else { "FAILED" }).print();
    boot::end(if is_right { 0 } else { STATUS_WRONG })
}

/// Carries out all checks of a disk: each begins with a reset, whatever came of the one before.
fn check(number: usize, window: Window) -> bool {
    let is_read_only = offered(window) & READ_ONLY != 0;
    let is_lenient = boot::has_word("lenient");
    let mut is_right = true;
    for &(name, of, check) in CHECKS {
        let is_wanted = match of {
            All => true,
            Writable => !is_read_only,
            ReadOnly => is_read_only,
            Strict => !is_lenient,
        };
        if is_wanted {
            is_right &= report(number, name, check(window));
        }
    }
    is_right
}

/// Prints a check's line; false if it failed.
fn report(number: usize, name: &str, verdict: Verdict) -> bool {
    let mut line = console::Line::new();
    line.text("disk ").decimal(number as u64).text(": ").text(name);
    match verdict {
        Ok(()) => line.text(" PASSED"),
        Err(why) => line.text(" FAILED: ").text(why),
    };
    line.print();
    verdict.is_ok()
}
