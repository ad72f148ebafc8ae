//! VMCALL and VMMCALL.

use super::vcpu::Loaded;
use super::vendor::{LoadedVcpu, Register, code_bits};
use vmm_common::registers::general;

impl<G: LoadedVcpu> Loaded<'_, G> {
    /// Answers as KVM, whose interface CPUID shows (Linux
    /// Documentation/virt/kvm/x86/hypercalls.rst): none of the features that come with a hypercall
    /// is offered, and VAPIC_POLL_IRQ, which does nothing, needs none.
    #[inline(never)]
    pub(super) fn hypercall(&mut self) {
        const VAPIC_POLL_IRQ: u64 = 1;
        const EPERM: i64 = 1;
        const ENOSYS: i64 = 1000;
        let width = if code_bits(&self.guest) == 64 { u64::MAX } else { 0xffff_ffff };
        let is_ring_0 = self.guest.get(Register::Cpl) == 0;
        let result = match self.common.general[general::RAX] & width {
            _ if !is_ring_0 => -EPERM,
            VAPIC_POLL_IRQ => 0,
            _ => -ENOSYS,
        };
        self.common.general[general::RAX] = result.cast_unsigned() & width;
        self.skip_instruction();
    }
}
