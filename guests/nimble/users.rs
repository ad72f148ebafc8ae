//! The steps that run in ring 3.

use crate::common::console::Line;
use crate::kernel::{PAGE_FAULT, kernel};
use crate::paging::{KERNEL, USER_CODE, USER_HEAP, USER_STACK_END};
use crate::report::{self, Verdict, expect, expect_least};
use crate::traps::{self, Frame, SYSTEM_CALL, expect_gs_unswapped};
use crate::{hpet, local_apic};
use core::slice;

macro_rules! programs {
    ($($name:ident)*) => {
        unsafe extern "C" { $(static $name: u8;)* }
    };
}
programs! {
    ring3_code_start user_calls user_spin user_sleep user_touch user_send user_receive
    user_invalid_instruction user_division user_privileged_instruction user_port user_selector
    user_coprocessor user_not_canonical user_read user_write user_jump user_single_step user_stepped
}

const TICK_NS: u64 = 1_000_000;
/// Below the other program's.
const SLEEPER_STACK_END: u64 = USER_STACK_END - 0x1000;

/// Where ring 3 sees a symbol of its code.
fn address(symbol: *const u8) -> u64 {
    symbol as u64 - &raw const ring3_code_start as u64 + USER_CODE
}

fn start(program: *const u8, arguments: [u64; 2]) -> Frame {
    Frame::start(address(program), USER_STACK_END, arguments)
}

/// Runs a program until it exits, and gives its result.
fn run_to_exit(program: *const u8, arguments: [u64; 2]) -> Result<u64, report::Failure> {
    traps::run(&start(program, arguments));
    expect("the vector", SYSTEM_CALL, kernel().ended.vector)?;
    Ok(kernel().ended.rdi)
}

/// Thousands of system calls, with ticks in between: every register is kept or as SYSCALL says.
pub fn system_calls() -> Verdict {
    const CALLS: u64 = 5000;
    local_apic::start_ticks();
    let left = run_to_exit(&raw const user_calls, [CALLS, 0]);
    local_apic::stop_ticks();
    expect("calls left at a wrong register", 0, left?)?;
    expect("flags that SYSCALL should clear", 0, kernel().unmasked_calls)?;
    expect_gs_unswapped()
}

/// A program that sleeps for so many ticks a time beside one that never exits.
pub fn sleeps(ticks: u64, sleeps: u64) -> Verdict {
    const ALLOWED_PERCENT: u64 = 98; // of the time: the rate was measured
    kernel().waiting = start(&raw const user_spin, [0; 2]);
    kernel().sleeps_left = sleeps;
    let sleeper = Frame::start(address(&raw const user_sleep), SLEEPER_STACK_END, [ticks, 0]);
    let start = hpet::count();
    local_apic::start_ticks();
    traps::run(&sleeper);
    let elapsed_ns = hpet::nanoseconds_since(start);
    local_apic::stop_ticks();
    expect("the vector", SYSTEM_CALL, kernel().ended.vector)?;
    expect_least("ticks", ticks * sleeps, kernel().ticks)?;
    expect_least("loops of the other", 1, kernel().waiting.rax)?;
    let least_ns = ticks * sleeps * TICK_NS / 100 * ALLOWED_PERCENT;
    expect_least("nanoseconds", least_ns, elapsed_ns)
}

/// Pages that come when they are touched, half of them by reads.
pub fn page_faults() -> Verdict {
    const PAGES: u64 = 64;
    let sum = run_to_exit(&raw const user_touch, [USER_HEAP.start, PAGES])?;
    expect("the sum", (2..=PAGES).step_by(2).sum(), sum)?;
    let [reads, writes] = kernel().mapped_pages;
    expect("faults of reads", PAGES / 2, reads)?;
    expect("faults of writes", PAGES / 2, writes)
}

/// Exceptions of ring 3, each with its error code, at its instruction, and with its address in CR2.
pub fn exceptions() -> Verdict {
    const DIVISION: u64 = 0;
    const DEBUG: u64 = 1;
    const INVALID: u64 = 6;
    const NO_COPROCESSOR: u64 = 7;
    const PROTECTION: u64 = 13;
    const BEYOND_TABLE: u64 = 0x80;
    const NOT_CANONICAL: u64 = 1 << 63;
    const DIVISION_OFFSET: u64 = 3; // behind `xor eax, eax` and `cdq`
    /// Of page faults: the page is there; by ring 3.
    const PRESENT_USER: u64 = 5;
    const WRITE: u64 = 2;
    const FETCH: u64 = 16;
    let code = &raw const user_read;
    let division = &raw const user_division;
    let nowhere = USER_HEAP.end;
    for (program, argument, vector, error, rip) in [
        (&raw const user_invalid_instruction, 0, INVALID, 0, None),
        (division, 0, DIVISION, 0, Some(address(division) + DIVISION_OFFSET)),
        (&raw const user_privileged_instruction, 0, PROTECTION, 0, None),
        (&raw const user_port, 0, PROTECTION, 0, None),
        (&raw const user_selector, BEYOND_TABLE, PROTECTION, BEYOND_TABLE, None),
        (&raw const user_coprocessor, 0, NO_COPROCESSOR, 0, None),
        (&raw const user_not_canonical, NOT_CANONICAL, PROTECTION, 0, None),
        (&raw const user_single_step, 0, DEBUG, 0, Some(address(&raw const user_stepped))),
        (code, nowhere, PAGE_FAULT, PRESENT_USER - 1, None),
        (code, KERNEL, PAGE_FAULT, PRESENT_USER, None),
        (&raw const user_write, USER_CODE, PAGE_FAULT, PRESENT_USER | WRITE, None),
        (&raw const user_jump, KERNEL, PAGE_FAULT, PRESENT_USER | FETCH, Some(KERNEL)),
    ] {
        traps::run(&start(program, [argument, 0]));
        let ended = kernel().ended;
        expect("the vector", vector, ended.vector)?;
        expect("the error code", error, ended.error)?;
        expect("RIP", rip.unwrap_or(address(program)), ended.rip)?;
        if vector == PAGE_FAULT {
            expect("CR2", argument, kernel().fault_address)?;
        }
    }
    expect_gs_unswapped()
}

/// Sends a line over COM1, which is the link while its interrupt enable register is 1.
pub fn send() -> Verdict {
    let text = b"COM1 writes OK!!!!\n";
    // SAFETY: a page of ring 3's that `page_faults` had mapped, and ring 3 does not run.
    let page = unsafe { slice::from_raw_parts_mut(USER_HEAP.start as *mut u8, text.len()) };
    page.copy_from_slice(text);
    run_to_exit(&raw const user_send, [USER_HEAP.start, text.len() as u64]).map(|_| ())
}

/// Waits for a line from COM1 as the link, and prints it.
pub fn receive() -> Verdict {
    const LONGEST: u64 = 64;
    let length = run_to_exit(&raw const user_receive, [USER_HEAP.start, LONGEST])?;
    // SAFETY: as above; the program fills no more than its argument says.
    let line = unsafe { slice::from_raw_parts(USER_HEAP.start as *const u8, length as usize) };
    let text = str::from_utf8(line).unwrap_or("(no text)");
    report::print(Line::new().text("nimble: the result: ").text(text));
    Ok(())
}
