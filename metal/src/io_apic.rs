//! The host's I/O APICs (82093AA; SDM vol. 3, 11.1). All entries are masked but those that the
//! hypervisor itself uses.

use crate::cpu;
use crate::local_apic::{COM1_VECTOR, COM2_VECTOR};

/// Where the first I/O APIC is, on every PC.
pub const USUAL_ADDRESS: u64 = 0xfec0_0000;
/// Low half of an entry: masked.
const MASKED: u32 = 1 << 16;
/// Low half of an entry: delivers a non-maskable interrupt.
const DELIVER_NMI: u32 = 0b100 << 8;

const VERSION: u32 = 1;
const ENTRIES: u32 = 0x10;

/// An I/O APIC, by the page of its registers.
#[derive(Clone, Copy, Debug)]
pub struct IoApic(u64);

impl IoApic {
    /// The I/O APIC with its registers at `address`; None where none can be: outside the devices'
    /// uncached addresses, or at the local APICs'.
    #[must_use]
    pub fn at(address: u64) -> Option<Self> {
        const BEFORE_LOCAL: core::ops::Range<u64> = 0xfec0_0000..0xfee0_0000;
        (BEFORE_LOCAL.contains(&address) && address.is_multiple_of(0x100)).then_some(Self(address))
    }

    /// How many entries it has; None if nothing answers there.
    #[must_use]
    pub fn entries(self) -> Option<u32> {
        let version = self.read(VERSION);
        (version != u32::MAX && version != 0).then_some((version >> 16 & 0xff) + 1)
    }

    /// Masks all entries.
    pub fn mask_all(self) {
        for entry in 0..self.entries().unwrap_or(0) {
            self.write(ENTRIES + 2 * entry, MASKED);
        }
    }

    /// Delivers rising edges of `input` to this processor as non-maskable interrupts.
    pub(crate) fn deliver_nmi(self, input: u32) {
        self.write(ENTRIES + 2 * input + 1, u32::from(apic_id()) << 24);
        self.write(ENTRIES + 2 * input, DELIVER_NMI);
    }

    /// Delivers rising edges of COM1's and COM2's inputs to this processor as interrupts.
    pub fn deliver_serial(self) {
        for (input, vector) in [(4, COM1_VECTOR), (3, COM2_VECTOR)] {
            self.write(ENTRIES + 2 * input + 1, u32::from(apic_id()) << 24);
            self.write(ENTRIES + 2 * input, vector.into());
        }
    }

    fn write(self, index: u32, value: u32) {
        self.select(index);
        // SAFETY: the page is mapped uncached; what an entry sends is masked, or a non-maskable
        // interrupt, for which there is a handler that returns.
        unsafe { ((self.0 + 0x10) as *mut u32).write_volatile(value) };
    }

    fn read(self, index: u32) -> u32 {
        self.select(index);
        // SAFETY: as for `write`; reading a register of it changes nothing.
        unsafe { ((self.0 + 0x10) as *const u32).read_volatile() }
    }

    fn select(self, index: u32) {
        // SAFETY: as for `write`; this selects the register that the next access means.
        unsafe { (self.0 as *mut u32).write_volatile(index) };
    }
}

/// This processor's APIC ID, the physical destination of entries.
fn apic_id() -> u8 {
    (cpu::cpuid(1, 0).ebx >> 24) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_io_apics_are_taken() {
        assert!(IoApic::at(USUAL_ADDRESS).is_some());
        assert!(IoApic::at(0xfec8_0000).is_some());
        for address in [0, 0x10_0000, 0xfec0_0010, 0xfed0_0000 - 1, 0xfee0_0000, 1 << 32] {
            assert!(IoApic::at(address).is_none(), "{address:#x}");
        }
    }
}
