//! Tests of processes: fork, wait, exec, yield.

use crate::print::println;
use crate::system;

/// Children that end with different statuses, fetched one by one; memory is not shared.
pub fn forktest(_arguments: &str) -> i32 {
    const CHILDREN: i32 = 5;
    let parent = system::process_number();
    let mut untouched = 7;
    let mut sum = 0;
    for child in 1..=CHILDREN {
        match system::fork() {
            0 => {
                store(&mut untouched, child);
                let is_itself = system::process_number() != parent;
                return if is_itself { untouched } else { 0 };
            }
            number if number < 0 => return 1,
            _ => {}
        }
    }
    while let Some(ended) = system::wait(0) {
        sum += ended.status;
    }
    println!("forktest: {CHILDREN} children, statuses add up to {sum}");
    i32::from(sum != CHILDREN * (CHILDREN + 1) / 2 || core::hint::black_box(untouched) != 7)
}

fn store(place: &mut i32, value: i32) {
    *core::hint::black_box(place) = value;
}

/// Becomes echo.
pub fn exec_simple(_arguments: &str) -> i32 {
    system::execute("echo exec_simple: this is echo now");
    1
}

/// Three processes print in turn.
pub fn take_turns(_arguments: &str) -> i32 {
    const ROUNDS: u32 = 3;
    for name in ["first", "second", "third"] {
        match system::fork() {
            0 => {
                for round in 1..=ROUNDS {
                    println!("yield: {name} in round {round}");
                    system::give_way();
                }
                return 0;
            }
            number if number < 0 => return 1,
            _ => {}
        }
    }
    let mut failures = 0;
    while let Some(ended) = system::wait(0) {
        failures += i32::from(ended.status != 0);
    }
    failures
}
