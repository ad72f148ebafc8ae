//! What software does in a processor's place, against witnesses: the decoder against iced-x86,
//! results and flags against the processor that the test runs on, the page walk against its
//! manual's tables.

mod decoder;
mod devices;
mod guest;
mod processor;
mod promises;
mod results;
#[path = "../simulation/seed.rs"]
#[allow(dead_code)]
mod seed;
mod tasks;
mod translated;
mod walk;

/// What `fuzz/` tries with coverage.
#[test]
fn whatever_bytes_registers_and_tables_are_the_promises_hold() {
    seed::for_each_seed(2000, |random| {
        let mut input = vec![0; 4096];
        input.fill_with(|| random.next() as u8);
        for _ in 0..20 {
            input[..15].fill_with(|| random.next() as u8);
            promises::hold(&input[..random.below(4097) as usize]);
        }
    });
}
