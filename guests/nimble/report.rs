//! What a step comes to, and the console: COM1, polled for every byte, without string I/O.

use crate::common::console::{COM1, LINE_STATUS, Line, TRANSMIT_EMPTY};
use crate::common::{cpu, power};
use crate::traps::Frame;
use core::panic::PanicInfo;

/// The status where a step failed.
const STATUS_FAILED: u32 = 1;
/// An exception's vector plus this is the machine's status.
const STATUS_EXCEPTION: u32 = 128;
/// The status where this guest's own code is wrong.
const STATUS_PANIC: u32 = 101;

/// What was not as it should be.
pub struct Failure {
    what: &'static str,
    expected: u64,
    found: u64,
}

/// A step's outcome.
pub type Verdict = Result<(), Failure>;

/// Passes if the two are equal.
pub fn expect(what: &'static str, expected: u64, found: u64) -> Verdict {
    if expected == found { Ok(()) } else { Err(Failure { what, expected, found }) }
}

/// Passes if `found` is `least` or more.
pub fn expect_least(what: &'static str, least: u64, found: u64) -> Verdict {
    if found >= least { Ok(()) } else { Err(Failure { what, expected: least, found }) }
}

/// The outcomes of all steps.
pub struct Report {
    is_all_well: bool,
}

impl Report {
    /// Of no step yet.
    pub fn new() -> Self {
        Self { is_all_well: true }
    }

    /// Whether no step has failed.
    pub fn is_all_well(&self) -> bool {
        self.is_all_well
    }

    /// Prints the step's outcome.
    pub fn add(&mut self, step: &str, verdict: Verdict) {
        let mut line = Line::new();
        line.text("nimble: ").text(step);
        match verdict {
            Ok(()) => line.text(" PASSED"),
            Err(failure) => {
                self.is_all_well = false;
                line.text(" FAILED: ").text(failure.what).text(": expected ");
                line.hexadecimal(failure.expected, 16).text(", found ");
                line.hexadecimal(failure.found, 16)
            }
        };
        print(&mut line);
    }

    /// Ends the machine.
    pub fn end(&self) -> ! {
        if self.is_all_well {
            say("all passed");
        }
        power::off(if self.is_all_well { 0 } else { STATUS_FAILED })
    }
}

/// Prints a line.
pub fn say(text: &str) {
    print(Line::new().text("nimble: ").text(text));
}

/// Prints what has been collected, and a line feed.
pub fn print(line: &mut Line) {
    for &byte in line.text("\n").bytes() {
        put(byte);
    }
}

/// Ends the machine after an exception of ring 0.
pub fn end_by_exception(frame: &Frame, fault_address: u64) -> ! {
    let mut line = Line::new();
    line.text("nimble: exception ").decimal(frame.vector).text(" in ring 0, error code ");
    line.hexadecimal(frame.error, 8).text(", RIP ").hexadecimal(frame.rip, 16);
    print(line.text(", CR2 ").hexadecimal(fault_address, 16));
    power::off(STATUS_EXCEPTION + frame.vector as u32)
}

/// Writes a byte to COM1.
pub fn put(byte: u8) {
    while cpu::in8(COM1 + LINE_STATUS) & TRANSMIT_EMPTY == 0 {}
    cpu::out8(COM1, byte);
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    let mut line = Line::new();
    line.text("nimble: panic");
    if let Some(place) = information.location() {
        line.text(" at ").text(place.file()).text(":").decimal(u64::from(place.line()));
    }
    if let Some(message) = information.message().as_str() {
        line.text(": ").text(message);
    }
    print(&mut line);
    power::off(STATUS_PANIC)
}
