//! CR0 and CR4 of a guest: what it sees of them, and what the processor gets. While they differ,
//! the guest's accesses are intercepted.
//!
//! Caches are on, whatever the guest asks for, as nested paging takes CR0.CD from the VMCB (APM
//! vol. 2, 15.25.8): a guest that never switches them on would run uncached. Machine checks are on,
//! as without CR4.MCE one shuts the processor down (APM vol. 2, 9.2).

use super::vmcb::{
    INTERCEPT_READ_CR0, INTERCEPT_READ_CR4, INTERCEPT_WRITE_CR0, INTERCEPT_WRITE_CR4, Vmcb,
};
use crate::architecture::{cr0, cr4};

const CACHES_OFF: u64 = cr0::CD | cr0::NW;

impl Vmcb {
    /// CR0 as the guest sees it.
    pub(super) const fn cr0(&self) -> u64 {
        self.state.cr0 | self.control.seen_cr0
    }

    /// Sets it.
    pub(super) const fn set_cr0(&mut self, seen: u64) {
        self.state.cr0 = seen & !CACHES_OFF;
        self.control.seen_cr0 = seen & CACHES_OFF;
        // A selective intercept compares with the processor's CR0.
        let intercepts = INTERCEPT_READ_CR0 | INTERCEPT_WRITE_CR0;
        self.intercept_access(intercepts, seen & CACHES_OFF != 0);
    }

    /// CR4 as the guest sees it.
    pub(super) const fn cr4(&self) -> u64 {
        let is_seen = self.control.sees_mce & 1 != 0;
        (self.state.cr4 & !cr4::MCE) | if is_seen { cr4::MCE } else { 0 }
    }

    /// Sets it.
    pub(super) const fn set_cr4(&mut self, seen: u64) {
        self.state.cr4 = seen | cr4::MCE;
        self.control.sees_mce = (seen & cr4::MCE != 0) as u64;
        self.intercept_access(INTERCEPT_WRITE_CR4, true);
        self.intercept_access(INTERCEPT_READ_CR4, seen & cr4::MCE == 0);
    }

    const fn intercept_access(&mut self, intercepts: u32, is_wanted: bool) {
        let word = &mut self.control.intercept_control_registers;
        *word = if is_wanted { *word | intercepts } else { *word & !intercepts };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::frames;

    #[test]
    fn caches_and_machine_checks_are_on_whatever_the_guest_sees() {
        let mut frames = frames(1);
        let mut frame = frames.take().expect("there is one");
        let vmcb = Vmcb::of_mut(&mut frame);
        vmcb.set_cr0(0x6000_0010);
        vmcb.set_cr4(0x20);
        assert_eq!((vmcb.state.cr0, vmcb.cr0()), (0x10, 0x6000_0010));
        assert_eq!((vmcb.state.cr4, vmcb.cr4()), (0x60, 0x20));
        // CR0 and CR4, read and written.
        assert_eq!(vmcb.control.intercept_control_registers, 0x11_0011);
        vmcb.set_cr0(0x8000_0011);
        vmcb.set_cr4(0x660);
        assert_eq!((vmcb.state.cr0, vmcb.cr0()), (0x8000_0011, 0x8000_0011));
        assert_eq!((vmcb.state.cr4, vmcb.cr4()), (0x660, 0x660));
        assert_eq!(vmcb.control.intercept_control_registers, 0x10_0000, "writes of CR4");
    }
}
