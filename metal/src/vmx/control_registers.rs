//! CR0 and CR4 of a guest: which bits VMX operation fixes, and what the
//! guest sees of them (SDM vol. 3, 25.6.6).

use super::capabilities::Capabilities;
use crate::architecture::{cr0, cr4};
use vmm_common::grant::Reach;

/// How CR0 and CR4 are split between guest and host. A bit in a mask reads from the shadow, and
/// exits when written with a value other than the shadow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Of CR0.
    pub cr0_mask: u64,
    /// Of CR4. The shadow of these bits is 0 but for MCE.
    pub cr4_mask: u64,
    cr0_forced: u64,
    cr4_forced: u64,
}

impl Split {
    /// For a processor with these capabilities, with unrestricted guests that reach this.
    #[must_use]
    pub const fn new(capabilities: &Capabilities, reach: &Reach) -> Self {
        let cr0_forced = capabilities.cr0_fixed0 & !(cr0::PE | cr0::PG);
        Self {
            cr0_mask: !(reach.cr0 & capabilities.cr0_fixed1) | cr0_forced,
            cr4_mask: !(reach.cr4 & capabilities.cr4_fixed1),
            cr0_forced,
            cr4_forced: capabilities.cr4_fixed0 | cr4::MCE,
        }
    }

    /// The real CR0 when the guest sees this. Caches stay on.
    #[must_use]
    pub const fn real_cr0(&self, seen: u64) -> u64 {
        (seen & !self.cr0_mask) | self.cr0_forced
    }

    /// The processor's CR4 when the guest's is `seen`. Machine checks are on: without MCE one shuts
    /// the processor down (SDM vol. 3, 16.7).
    #[must_use]
    pub const fn real_cr4(&self, seen: u64) -> u64 {
        (seen & !self.cr4_mask) | self.cr4_forced
    }
}

/// What the guest sees of a register.
#[must_use]
pub const fn seen(real: u64, shadow: u64, mask: u64) -> u64 {
    (real & !mask) | (shadow & mask)
}

#[cfg(test)]
mod tests {
    use super::super::capabilities::tests::skylake;
    use super::*;
    use crate::tests::grant;
    use vmm_common::grant::Vendor;

    #[test]
    fn a_guest_boots_with_numeric_errors_on_and_caches_off_as_far_as_it_sees() {
        let split =
            Split::new(&Capabilities::read(skylake), grant(Vendor::Vmx, Vec::new()).reach());
        assert_eq!(split.real_cr0(0x6000_0010), 0x30);
        let shown = seen(split.real_cr0(0x6000_0010), 0x6000_0010, split.cr0_mask);
        assert_eq!(shown, 0x6000_0010);
        assert_eq!(split.real_cr4(0x20), 0x2060);
        assert_eq!(seen(0x2060, 0, split.cr4_mask), 0x20);
        assert_eq!(seen(split.real_cr4(0x60), 0x40, split.cr4_mask), 0x60);
        assert_eq!(split.cr4_mask & 0xffff_ffff, 0xffca_f040);
    }
}
