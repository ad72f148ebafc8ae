//! Random bytes for VMs: the processor's, or, where it has none, those of a generator that starts
//! from the time. The second are no secret.

use metal::random;

/// A source of random bytes.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    has_rdrand: bool,
    /// Of the generator.
    state: u64,
}

impl Random {
    /// The processor's, or the generator's from `seed` on.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { has_rdrand: random::is_there(), state: seed }
    }

    /// Fills `to`.
    pub fn fill(&mut self, to: &mut [u8]) {
        for piece in to.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }

    fn word(&mut self) -> u64 {
        if self.has_rdrand
            && let Some(word) = random::word()
        {
            return word;
        }
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
