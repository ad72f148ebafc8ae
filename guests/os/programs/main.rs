//! The programs of the guest OS, in one read-only image: the kernel starts every process here with
//! its command, and the first word picks the program. They run in ring 3 and may use SSE.
#![no_std]
#![no_main]

#[path = "../abi.rs"]
mod abi;
mod basics;
mod compute;
mod cyclictest;
mod faults;
mod input;
mod link;
#[path = "../../common/memory.rs"]
mod memory;
mod print;
mod processes;
mod shell;
mod sleepers;
mod spelling;
mod system;
mod usertests;

use core::panic::PanicInfo;
use core::slice;
use print::println;

/// A program: its name, what `help` says, and its main function with the words after its name.
struct Program {
    name: &'static str,
    summary: &'static str,
    run: fn(&str) -> i32,
}

const fn program(name: &'static str, summary: &'static str, run: fn(&str) -> i32) -> Program {
    Program { name, summary, run }
}

static PROGRAMS: &[Program] = &[
    program("bad_pointer", "pass a kernel pointer to write, then write there", faults::bad_pointer),
    program(
        "cyclictest",
        "[N] [quiet] latency of N sleeps of 1 ms, as a histogram",
        cyclictest::run,
    ),
    program("count_input", "[N] read N bytes and print their checksum", input::count_input),
    program("echo", "[words] print them", basics::echo),
    program("exec_simple", "replace this program by echo", processes::exec_simple),
    program("forktest", "several children by fork, waited for", processes::forktest),
    program("get_char", "print a line that comes over the link", link::get_char),
    program("hello_world", "say hello", basics::hello_world),
    program("matrix", "floating-point work in three processes at once", compute::matrix),
    program("primes", "[N] count the primes below N, with progress", compute::primes),
    program("put_char", "send a line over the link", link::put_char),
    program("shell", "this command interpreter", shell::run),
    program("sleep", "four sleepers that wake in order", sleepers::sleep),
    program("sleep_simple", "[MS] sleep and measure", sleepers::sleep_simple),
    program("spin", "[MS] compute without a system call in between", compute::spin),
    program("stack_overflow", "recurse until killed", faults::stack_overflow),
    program("usertests", "run every test", usertests::run),
    program("yield", "three processes take turns", processes::take_turns),
];

core::arch::global_asm!(
    "
    .section .text.start, \"ax\"
    .global program_start
program_start:                      // (command, length), as the kernel sets it up
    and rsp, -16
    call {start}
    ud2
    .section .text, \"ax\"
    ",
    start = sym start,
);

extern "C" fn start(command: *const u8, length: usize) -> ! {
    // SAFETY: the kernel passes the command it placed above the stack, which lasts.
    let command = unsafe { slice::from_raw_parts(command, length) };
    let command = str::from_utf8(command).unwrap_or("");
    let (name, arguments) = command.split_once(' ').unwrap_or((command, ""));
    let Some(program) = PROGRAMS.iter().find(|program| program.name == name) else {
        println!("{name}: no such program");
        system::exit(abi::STATUS_NOT_FOUND as i32)
    };
    system::exit((program.run)(arguments))
}

/// The number that is the only argument, or the default.
fn number(arguments: &str, default: u64) -> u64 {
    arguments.trim().parse().unwrap_or(default)
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    println!("{information}");
    system::exit(101)
}
