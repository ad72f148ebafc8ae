//! What firmware or a loader may have left: sources of the local APIC that interrupt, interrupts in
//! service that would hold back the timer's, and an 8259 pair.

use crate::local_apic::HostApic;
use crate::port::Port;

mod register {
    pub const VERSION: u32 = 0x3;
    pub const IN_SERVICE: u32 = 0x10;
    pub const LVT_CMCI: u32 = 0x2f;
    pub const LVT_THERMAL: u32 = 0x33;
    pub const LVT_PERFORMANCE: u32 = 0x34;
    pub const LVT_LINT0: u32 = 0x35;
    pub const LVT_ERROR: u32 = 0x37;
}

/// Mask bit of a source's entry in the local vector table.
const MASKED: u32 = 1 << 16;

/// All sources of interrupts but the timer, by the version register, whose bits 23:16 are the
/// number of the last one (SDM vol. 3, 11.4.8). LINT1 is NMI on PCs: it stays as firmware has it.
fn sources(version: u32) -> impl Iterator<Item = u32> {
    let last = version >> 16 & 0xff;
    let all = [
        (1, register::LVT_LINT0),
        (3, register::LVT_ERROR),
        (4, register::LVT_PERFORMANCE),
        (5, register::LVT_THERMAL),
        (6, register::LVT_CMCI),
    ];
    all.into_iter().filter(move |(number, _)| *number <= last).map(|(_, source)| source)
}

/// Initializes the 8259 pair, whose vectors would otherwise be exceptions', and masks it.
pub(crate) fn mask_8259() {
    for (port, value) in [
        (0x20, 0x11),
        (0xa0, 0x11),
        (0x21, 0x20),
        (0xa1, 0x28),
        (0x21, 4),
        (0xa1, 2),
        (0x21, 1),
        (0xa1, 1),
        (0x21, 0xff),
        (0xa1, 0xff),
    ] {
        Port::new(port).write(value);
    }
}

impl HostApic {
    /// Masks all sources but the timer, and ends what is in service: each end of interrupt ends the
    /// one of highest priority.
    pub(crate) fn silence(&self) {
        const WORDS: u32 = 8;
        const VECTORS: u32 = 256;
        for source in sources(self.read(register::VERSION)) {
            self.write(source, MASKED);
        }
        let is_clear = || (0..WORDS).all(|word| self.read(register::IN_SERVICE + word) == 0);
        for _ in 0..VECTORS {
            if is_clear() {
                break;
            }
            self.end_of_interrupt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn sources_are_those_that_the_version_counts() {
        assert_eq!(sources(0x0003_0010).collect::<Vec<_>>(), [0x35, 0x37]);
        assert_eq!(sources(0x0005_0014).collect::<Vec<_>>(), [0x35, 0x37, 0x34, 0x33]);
        assert_eq!(sources(0x0006_0015).collect::<Vec<_>>(), [0x35, 0x37, 0x34, 0x33, 0x2f]);
    }
}
