//! Tests of sleeping.

use crate::print::println;
use crate::{number, system};

const SLEEPERS: u64 = 4;
const STEP_MS: u64 = 20;

/// Starts the longest sleeper first and sees them wake in order of their times.
pub fn sleep(_arguments: &str) -> i32 {
    let mut children = [0; SLEEPERS as usize];
    for (place, child) in children.iter_mut().enumerate().rev() {
        let duration_ms = (place as u64 + 1) * STEP_MS;
        *child = system::fork();
        if *child < 0 {
            return 1;
        }
        if *child == 0 {
            system::sleep_ms(duration_ms);
            println!("sleep: woke after {duration_ms} ms");
            return 0;
        }
    }
    let in_order = children
        .iter()
        .all(|&child| system::wait(0).is_some_and(|ended| ended.number == child));
    i32::from(!in_order)
}

/// Sleeps once and checks that it was long enough.
pub fn sleep_simple(arguments: &str) -> i32 {
    let duration_ms = number(arguments, 50);
    let start_ns = system::time_ns();
    system::sleep_ms(duration_ms);
    let slept_us = (system::time_ns() - start_ns) / 1000;
    println!("sleep_simple: asked for {duration_ms} ms, slept {slept_us} us");
    i32::from(slept_us < duration_ms * 1000)
}
