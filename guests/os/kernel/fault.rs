//! Faults: a process that faults is killed with one line; a fault of the kernel ends the machine.

use crate::common::console::Line;
use crate::common::power;
use crate::trap::Frame;

/// The machine's status after a fault of the kernel.
const STATUS_KERNEL_FAULT: u32 = 102;

/// The vector of a page fault.
pub const PAGE_FAULT: u64 = 14;

/// The name of an exception, as the processor manuals have it.
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid task state segment",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        _ => "exception",
    }
}

/// Prints why a process is killed. `address` is what a page fault was about.
pub fn report_kill(program: &str, frame: &Frame, address: u64) {
    let mut line = Line::new();
    line.text("[kernel] ").text(program).text(": ").text(name(frame.vector));
    if frame.vector == PAGE_FAULT {
        line.text(if frame.error & 2 != 0 { " writing " } else { " reading " });
        line.hexadecimal(address, 16);
    }
    line.text(" at ").hexadecimal(frame.rip, 8).text(", killed").print();
}

/// Prints the registers of the kernel and ends the machine.
pub fn end_machine(frame: &Frame) -> ! {
    let mut line = Line::new();
    line.text("[kernel] fatal ").text(name(frame.vector)).text(" error ");
    line.hexadecimal(frame.error, 4).text(" at ").hexadecimal(frame.rip, 8);
    line.text(" address ").hexadecimal(crate::memory::fault_address(), 16);
    line.text(" stack ").hexadecimal(frame.rsp, 8).print();
    for (name, value) in frame.named_registers() {
        line.text(name).text(" ").hexadecimal(value, 16).print();
    }
    power::off(STATUS_KERNEL_FAULT)
}
