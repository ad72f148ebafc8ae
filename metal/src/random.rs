//! The processor's random numbers (SDM vol. 1, 7.3.17).

use crate::cpu::cpuid;
use core::arch::asm;

/// CPUID.1:ECX, RDRAND.
const RDRAND: u32 = 1 << 30;
/// How often RDRAND is tried; if it fails ten times, it does not work (SDM vol. 1, 7.3.17.1).
const TRIES: usize = 10;

/// Whether there is RDRAND.
#[must_use]
pub fn is_there() -> bool {
    cpuid(1, 0).ecx & RDRAND != 0
}

/// 64 random bits; None if RDRAND does not give any. The processor must have it.
#[must_use]
pub fn word() -> Option<u64> {
    (0..TRIES).find_map(|_| {
        let (word, is_valid): (u64, u8);
        // SAFETY: the instruction changes the two registers and the flags alone; on a processor
        // without it #UD ends the run.
        unsafe { asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) is_valid) };
        (is_valid != 0).then_some(word)
    })
}
