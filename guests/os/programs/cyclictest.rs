//! How late a sleeper wakes: a histogram in powers of two, in the manner of the real-time tests.

use crate::print::println;
use crate::{number, system};

const INTERVAL_NS: u64 = 1_000_000;
const BUCKETS: usize = 24;

/// Sleeps N times for a millisecond and reports how late it woke each time; with `quiet` it does
/// not, so that its output is always the same.
pub fn run(arguments: &str) -> i32 {
    let (arguments, is_quiet) = match arguments.strip_suffix("quiet") {
        Some(arguments) => (arguments, true),
        None => (arguments, false),
    };
    let rounds = number(arguments, 100).max(1);
    let mut buckets = [0_u32; BUCKETS];
    let (mut least, mut most, mut sum) = (u64::MAX, 0, 0);
    for _ in 0..rounds {
        let due_ns = system::time_ns() + INTERVAL_NS;
        system::sleep_ns(INTERVAL_NS);
        let late_us = system::time_ns().saturating_sub(due_ns) / 1000;
        (least, most, sum) = (least.min(late_us), most.max(late_us), sum + late_us);
        let bucket = (u64::BITS - late_us.leading_zeros()) as usize;
        buckets[bucket.min(BUCKETS - 1)] += 1;
    }
    println!("cyclictest: {rounds} sleeps of 1 ms");
    if is_quiet {
        return 0;
    }
    let average_us = sum / rounds;
    println!("cyclictest: late by min {least} us, average {average_us} us, max {most} us");
    for (bucket, &count) in buckets.iter().enumerate() {
        if count != 0 {
            println!("cyclictest: below {:>8} us: {count}", 1_u64 << bucket);
        }
    }
    0
}
