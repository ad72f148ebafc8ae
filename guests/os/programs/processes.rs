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

/// Three processes give way to each other. The parent prints, in an order of its own: theirs
/// depends on when the machine stands still.
pub fn take_turns(_arguments: &str) -> i32 {
    const TURNS: i32 = 3;
    const NAMES: [&str; 3] = ["first", "second", "third"];
    let mut children = [0; NAMES.len()];
    for child in &mut children {
        *child = system::fork();
        match *child {
            0 => {
                for _ in 0..TURNS {
                    system::give_way();
                }
                return TURNS;
            }
            number if number < 0 => return 1,
            _ => {}
        }
    }
    for (name, &child) in NAMES.iter().zip(&children) {
        if system::wait(child).is_none_or(|ended| ended.status != TURNS) {
            return 1;
        }
        println!("yield: {name} gave way {TURNS} times");
    }
    0
}
