//! The x87 and SSE registers of a process, which the kernel itself never uses.

use core::arch::asm;

/// The registers as FXSAVE stores them.
#[repr(C, align(16))]
#[derive(Clone)]
pub struct FloatingPoint([u64; 64]);

impl FloatingPoint {
    /// The registers of no process yet.
    pub const EMPTY: Self = Self([0; 64]);

    /// The state a program starts with: all exceptions masked (FCW 0x37F, MXCSR 0x1F80).
    pub fn reset(&mut self) {
        self.0.fill(0);
        self.0[0] = 0x37F;
        self.0[3] = 0x1F80;
    }

    /// Stores the processor's registers here.
    pub fn save(&mut self) {
        // SAFETY: the area has FXSAVE's size and alignment.
        unsafe { asm!("fxsave64 [{}]", in(reg) self, options(nostack)) }
    }

    /// Loads the processor's registers from here.
    pub fn restore(&self) {
        // SAFETY: as above, and the content came from FXSAVE or `reset`.
        unsafe { asm!("fxrstor64 [{}]", in(reg) self, options(nostack)) }
    }
}
