//! Random numbers from a seed. A failing test prints the command that replays its seed alone.
//!
//! `TANDEM_SEED=17` runs seed 17 and no other; `TANDEM_SEEDS=100000` runs that many of each test.

use std::cell::Cell;

/// A stream of random numbers (SplitMix64): the same everywhere and for ever.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A stream of its own, so that what one part draws does not shift what another gets.
    pub fn fork(&self) -> Self {
        Self::new(self.next())
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `every` times.
    pub fn once_in(&self, every: u64) -> bool {
        self.below(every) == 0
    }

    pub fn flip(&self) -> bool {
        self.once_in(2)
    }

    pub fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number of random size: small ones, single bits, all ones and their neighbours come often.
    pub fn any(&self) -> u64 {
        let value = self.next() >> self.below(64);
        self.pick(&[value, value, !value, 1 << self.below(64), u64::MAX, 0])
    }
}

/// Says which seed failed, and how to see it again.
struct Witness(u64);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("");
            eprintln!(
                "replay: TANDEM_SEED={} cargo test -p vmm-common --test {} {test} -- --exact",
                self.0,
                env!("CARGO_CRATE_NAME")
            );
        }
    }
}

/// Runs `test` with the seeds from 0 to `count` - 1, or as the variables say.
pub fn for_each_seed(count: u64, test: impl Fn(&Random)) {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a decimal number")))
    };
    let seeds = match (number("TANDEM_SEED"), number("TANDEM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..count,
    };
    for seed in seeds {
        let _witness = Witness(seed);
        test(&Random::new(seed));
    }
}
