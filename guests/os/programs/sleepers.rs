//! Tests of sleeping.

use crate::print::println;
use crate::{number, system};

const SLEEPERS: u64 = 4;
const FIRST_MS: u64 = 40;
const STEP_MS: u64 = 15;

/// Starts the longest sleeper first and sees them wake, none too early, in the order of their
/// times. A machine may stand still for longer than the steps between those, and find several due
/// at once: so the parent asks for one after the other, and the output is the same.
pub fn sleep(_arguments: &str) -> i32 {
    let start_ns = system::time_ns();
    let mut children = [0; SLEEPERS as usize];
    for (place, child) in children.iter_mut().enumerate().rev() {
        *child = system::fork();
        match *child {
            0 => return sleep_until(start_ns + duration_ms(place) * 1_000_000),
            number if number < 0 => return 1,
            _ => {}
        }
    }
    for (place, &child) in children.iter().enumerate() {
        if system::wait(child).is_none_or(|ended| ended.status != 0) {
            return 1;
        }
        println!("sleep: woke after {} ms", duration_ms(place));
    }
    0
}

fn duration_ms(place: usize) -> u64 {
    FIRST_MS + place as u64 * STEP_MS
}

fn sleep_until(due_ns: u64) -> i32 {
    system::sleep_ns(due_ns.saturating_sub(system::time_ns()));
    i32::from(system::time_ns() < due_ns)
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
