//! Runs the other programs as children and compares their statuses with what they should be. The
//! output is the same on every machine.

use crate::abi::STATUS_KILLED;
use crate::print::println;
use crate::system;

const PAGE_FAULT: i32 = 14;
const KILLED_BY_PAGE_FAULT: i32 = STATUS_KILLED as i32 + PAGE_FAULT;

/// The commands and the statuses they end with.
const TESTS: &[(&str, i32)] = &[
    ("hello_world", 0),
    ("sleep_simple", 0),
    ("sleep", 0),
    ("yield", 0),
    ("forktest", 0),
    ("exec_simple", 0),
    ("matrix", 0),
    ("primes 300000", 0),
    ("stack_overflow", KILLED_BY_PAGE_FAULT),
    ("bad_pointer", KILLED_BY_PAGE_FAULT),
    ("cyclictest 20 quiet", 0),
    ("no_such_program", crate::abi::STATUS_NOT_FOUND as i32),
];

/// Runs all tests; the status is 1 if any failed.
pub fn run(_arguments: &str) -> i32 {
    let (mut passed, mut failed) = (0, 0);
    for &(command, expected) in TESTS {
        let name = command.split(' ').next().unwrap_or(command);
        let child = system::spawn(command);
        let status = system::wait(child).map(|ended| ended.status);
        if status == Some(expected) {
            passed += 1;
            println!("usertests: {name} PASSED");
        } else {
            failed += 1;
            println!("usertests: {name} FAILED with {status:?} instead of {expected}");
        }
    }
    println!("usertests: {passed} passed, {failed} failed");
    if failed == 0 {
        println!("usertests: all passed");
    }
    i32::from(failed != 0)
}
