//! The vector registers in an FXSAVE area, one by one: for instructions that software carries out.

use crate::extended_state::FxArea;

/// The first word of XMM0; each register has two (SDM vol. 1, table 10-2).
const XMM0: usize = 20;

impl FxArea {
    /// XMM0 to XMM15.
    #[must_use]
    pub fn vector(&self, index: usize) -> u128 {
        let [low, high] = [0, 1].map(|half| self.0[XMM0 + 2 * index + half]);
        u128::from(high) << 64 | u128::from(low)
    }

    /// Sets one.
    pub fn set_vector(&mut self, index: usize, value: u128) {
        self.0[XMM0 + 2 * index] = value as u64;
        self.0[XMM0 + 2 * index + 1] = (value >> 64) as u64;
    }
}
