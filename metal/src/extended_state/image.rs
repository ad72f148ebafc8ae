//! The same state as a debugger reads and changes it.

use super::{FxArea, SwitchedState, set_debug_registers};
use crate::cpu;

/// Bytes of the area.
const BYTES: usize = 512;
/// DR0 to DR3 and DR6.
pub type DebugRegisters = [u64; 5];

impl FxArea {
    /// As FXSAVE64 stores it.
    #[must_use]
    pub fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Sets it; bits of MXCSR that are reserved, which FXRSTOR refuses, stay 0.
    pub fn set_bytes(&mut self, bytes: &[u8; BYTES]) {
        const MXCSR_BITS: u64 = 0xffff;
        const MXCSR_WORD: usize = 3;
        for (word, from) in self.0.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(from.try_into().expect("chunks of 8 bytes"));
        }
        self.0[MXCSR_WORD] &= MXCSR_BITS;
    }
}

impl SwitchedState {
    /// The debug registers of the guest that has the processor.
    #[must_use]
    pub fn debug(&self) -> DebugRegisters {
        [cpu::dr0(), cpu::dr1(), cpu::dr2(), cpu::dr3(), cpu::dr6()]
    }

    /// Sets them.
    pub fn set_debug(&mut self, values: DebugRegisters) {
        self.debug = values;
        set_debug_registers(&values);
    }
}
