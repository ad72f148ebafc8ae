//! Runs a property on inputs from a seed: `TANDEM_SEED`, or else always the same.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Holds `test` for `cases` inputs; panics with the smallest for which it fails.
pub fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value))
where
    S::Value: std::fmt::Debug,
{
    let seed = std::env::var("TANDEM_SEED").ok();
    let seed: u64 = seed.map_or(0, |seed| seed.parse().expect("TANDEM_SEED is a decimal number"));
    let cases = match std::env::var("TANDEM_SEEDS") {
        Ok(count) => count.parse().expect("TANDEM_SEEDS is a decimal number"),
        Err(_) => cases,
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    hush();
    IS_SEARCHING.set(true);
    let result = TestRunner::new_with_rng(config, random).run(&strategy, |input| {
        test(input);
        Ok(())
    });
    IS_SEARCHING.set(false);
    if let Err(error) = result {
        panic!("TANDEM_SEED={seed} replays this: {error}");
    }
}

thread_local! {
    static IS_SEARCHING: Cell<bool> = const { Cell::new(false) };
}

/// While the smallest failing input is searched for, a thousand panics are not worth a word each.
fn hush() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_SEARCHING.get() {
                hook(panic);
            }
        }));
    });
}
