//! The control registers, and the interrupt flag's instructions.

use core::arch::asm;

macro_rules! readers {
    ($($name:ident)*) => {
        $(
            /// Reads the register of this name.
            pub fn $name() -> u64 {
                let value: u64;
                // SAFETY: only reads.
                unsafe {
                    asm!(concat!("mov {}, ", stringify!($name)), out(reg) value,
                        options(nomem, nostack));
                }
                value
            }
        )*
    };
}
readers!(cr0 cr2 cr3 cr4);

/// Changes the address space to one that has the image where it is.
pub fn set_cr3(root: u64) {
    // SAFETY: the caller's tables map all that is in use as it was.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack)) }
}

/// Lets through what is pending: STI takes effect behind the instruction that follows it.
pub fn open_window() {
    // SAFETY: the handlers preserve all registers; images are built without a red zone.
    unsafe { asm!("sti", "nop", "cli") }
}

/// Lets nothing through, though the flag is set for a moment: CLI is in the shadow of STI.
pub fn open_no_window() {
    // SAFETY: as above.
    unsafe { asm!("sti", "cli") }
}
