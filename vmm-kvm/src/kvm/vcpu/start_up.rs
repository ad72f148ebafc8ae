//! What a start-up IPI does to a vCPU, and what a VM's new beginning does.

use super::KvmVcpu;
use super::exits::Pending;
use crate::kvm::registers;
use anyhow::Result;
use kvm_bindings::kvm_regs;
use vmm_common::registers::CpuState;
use vmm_common::seam::Reply;

impl KvmVcpu {
    /// As [`vmm_common::seam::VcpuBackend::start_up`].
    pub(super) fn begin_anew(&mut self, registers: &CpuState) {
        self.finish_instruction();
        self.note(registers::start_up(&self.fd, registers));
    }

    /// As [`vmm_common::seam::VcpuBackend::power_on`].
    pub(super) fn switch_on(&mut self, registers: &CpuState) {
        self.finish_instruction();
        self.tsc_held_ns = 0;
        self.note(registers::power_on(&self.fd, registers));
    }

    /// The next entry says what the host has refused.
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            let error = error.downcast_ref::<kvm_ioctls::Error>();
            self.refused = Some(error.map_or(libc::EIO, |error| error.errno()));
        }
    }

    /// Lets KVM complete the instruction of the last exit, whose effects INIT then replaces; else
    /// it would complete it on the new registers, and go on behind it at its old address. That may
    /// take more accesses; a string takes no further element if RCX is 1.
    fn finish_instruction(&mut self) {
        /// CMPS of 8 bytes, each operand across two pages, and more.
        const MOST_ACCESSES: usize = 8;
        self.pending = Pending::Nothing;
        self.answer(Reply::None);
        if let Ok(general) = self.fd.get_regs() {
            // If it fails, so does what follows, which reports it.
            let _ = self.fd.set_regs(&kvm_regs { rcx: 1, ..general });
        }
        self.fd.set_kvm_immediate_exit(1);
        for _ in 0..MOST_ACCESSES {
            if self.fd.run().is_err() {
                break;
            }
        }
    }
}
