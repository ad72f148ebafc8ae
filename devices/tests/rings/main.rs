//! Rings of any contents, and stores of any value, keep the promises of [`promises`].

mod peer;
mod promises;
mod seeds;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[test]
fn whatever_a_driver_writes_the_promises_hold() {
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    // A chain that is right, changed in a few places.
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let input = (prop::sample::select(seeds::all()), prop::collection::vec(change, 0..12));
    let result = TestRunner::new(config).run(&input, |(seed, changes)| {
        let mut input = seed;
        for (index, byte) in changes {
            let at = index.index(input.len());
            input[at] = byte;
        }
        promises::hold(&input);
        Ok(())
    });
    result.expect("the promises hold");
}

#[test]
fn any_bytes_keep_the_promises() {
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let result =
        TestRunner::new(config).run(&prop::collection::vec(any::<u8>(), 0..700), |input| {
            promises::hold(&input);
            Ok(())
        });
    result.expect("the promises hold");
}
