//! Random numbers from a seed that a failing test prints and takes back.

use std::cell::Cell;

use devices::time::MachineTime;

/// A stream of random numbers (splitmix64).
pub struct Random(Cell<u64>);

impl Random {
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn flip(&self) -> bool {
        self.below(2) == 0
    }

    pub fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number of random size: small ones, single bits, all ones and their neighbours come often.
    pub fn any(&self) -> u64 {
        let value = self.next() >> self.below(64);
        self.pick(&[value, value, !value, 1 << self.below(64), u64::MAX, 0])
    }

    /// A later moment: anything from at once to the end of time.
    pub fn later(&self, now: MachineTime) -> MachineTime {
        let size = self.pick(&[0, 10, 20, 30, 40, 64]);
        let step = if size == 0 { 0 } else { self.next() >> (64 - size) };
        now.after_ns(step)
    }
}

/// Says which seed failed.
struct Witness(u64);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with TANDEM_SEED={}", self.0);
        }
    }
}

/// Runs `test` for seeds 0 to `cases`, or for the one in the variable `TANDEM_SEED`.
pub fn for_each_seed(cases: u64, test: impl Fn(&Random)) {
    let seeds = match std::env::var("TANDEM_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("TANDEM_SEED is a decimal number");
            seed..seed + 1
        }
        Err(_) => 0..cases,
    };
    for seed in seeds {
        let _witness = Witness(seed);
        test(&Random(Cell::new(seed)));
    }
}
