//! Tests of sleeping.

use crate::print::println;
use crate::{number, system};

const SLEEPERS: u64 = 4;
const FIRST_MS: u64 = 40;
const STEP_MS: u64 = 15;

/// Starts the longest sleeper first and sees them wake in order of their times. The times count
/// from one moment, so that the order is the same in a machine that stands still at times.
pub fn sleep(_arguments: &str) -> i32 {
    let start_ns = system::time_ns();
    let mut children = [0; SLEEPERS as usize];
    for (place, child) in children.iter_mut().enumerate().rev() {
        let duration_ms = FIRST_MS + place as u64 * STEP_MS;
        *child = system::fork();
        if *child < 0 {
            return 1;
        }
        if *child == 0 {
            let due_ns = start_ns + duration_ms * 1_000_000;
            system::sleep_ns(due_ns.saturating_sub(system::time_ns()));
            println!("sleep: woke after {duration_ms} ms");
            return 0;
        }
    }
    let in_order =
        children.iter().all(|&child| system::wait(0).is_some_and(|ended| ended.number == child));
    i32::from(!in_order)
}

/// Sleeps once and checks that it was long enough.
pub fn sleep_simple(arguments: &str) -> i32 {
    let duration_ms = number(arguments, 50);
    let start_ns = system::time_ns();
    system::sleep_ms(duration_ms);
    let is_short = system::time_ns() - start_ns < duration_ms * 1_000_000;
    println!("sleep_simple: {duration_ms} ms{}", if is_short { ", but woke early" } else { "" });
    i32::from(is_short)
}
