//! A register of the guest that has the processor, which no VMCS holds, for its debugger.

use super::Loaded;
use crate::architecture::msr::IA32_KERNEL_GSBASE;
use crate::cpu;

impl Loaded<'_> {
    /// IA32_KERNEL_GS_BASE.
    #[must_use]
    pub fn kernel_gs_base(&self) -> u64 {
        cpu::read_msr(IA32_KERNEL_GSBASE)
    }

    /// Sets it, to a canonical address.
    pub fn set_kernel_gs_base(&mut self, value: u64) {
        let is_canonical = (value.cast_signed() << 16) >> 16 == value.cast_signed();
        if is_canonical {
            // SAFETY: SWAPGS's register, which the hypervisor does not use; the value is canonical,
            // so that the processor takes it.
            unsafe { cpu::write_msr(IA32_KERNEL_GSBASE, value) };
        }
    }
}
