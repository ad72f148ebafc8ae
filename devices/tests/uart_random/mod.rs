//! Seeded randomness for the tests that need it: every failure names its seed, and
//! `TANDEM_SEED=<seed>` runs that seed alone.

/// SplitMix64: small, and the same numbers everywhere and for ever.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit` - 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// True once in `every` times.
    pub fn once_in(&mut self, every: usize) -> bool {
        self.below(every) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Names the seed if the test it guards fails.
struct Guard(u64);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {0}; replay it alone with TANDEM_SEED={0}", self.0);
        }
    }
}

/// Runs `test` with the seeds from 0 to `count` - 1, or with the one in `TANDEM_SEED`.
pub fn for_each_seed(count: u64, mut test: impl FnMut(&mut Random)) {
    let replay = std::env::var("TANDEM_SEED").ok();
    let seeds = match replay.map(|seed| seed.parse().expect("TANDEM_SEED is a number")) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    for seed in seeds {
        let _guard = Guard(seed);
        test(&mut Random::new(seed));
    }
}
