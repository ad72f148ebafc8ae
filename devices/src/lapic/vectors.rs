//! A set of interrupt vectors: IRR, ISR and TMR as the guest reads them, 8 registers of 32 bits.

/// A set of the 256 vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vectors([u32; 8]);

impl Vectors {
    pub(super) const NONE: Self = Self([0; 8]);

    /// Adds `vector`; true if it was not there.
    pub(super) fn insert(&mut self, vector: u8) -> bool {
        let is_new = !self.contains(vector);
        self.0[word(vector)] |= bit(vector);
        is_new
    }

    pub(super) fn remove(&mut self, vector: u8) {
        self.0[word(vector)] &= !bit(vector);
    }

    pub(super) fn assign(&mut self, vector: u8, is_member: bool) {
        self.remove(vector);
        if is_member {
            self.insert(vector);
        }
    }

    pub(super) const fn contains(&self, vector: u8) -> bool {
        self.0[word(vector)] & bit(vector) != 0
    }

    /// The member with the highest priority, which is the highest number.
    pub(super) fn highest(&self) -> Option<u8> {
        let index = self.0.iter().rposition(|&word| word != 0)?;
        Some((index as u32 * 32 + 31 - self.0[index].leading_zeros()) as u8)
    }

    /// Vectors `32 * index` to `32 * index + 31` as a register; only bits 2-0 of `index` count.
    pub(super) const fn register(&self, index: u32) -> u32 {
        self.0[(index & 7) as usize]
    }
}

const fn word(vector: u8) -> usize {
    (vector >> 5) as usize
}

const fn bit(vector: u8) -> u32 {
    1 << (vector & 31)
}
