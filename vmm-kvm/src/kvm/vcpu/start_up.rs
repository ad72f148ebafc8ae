//! What a start-up IPI does to a vCPU.

use super::KvmVcpu;
use super::exits::Pending;
use crate::kvm::registers;
use vmm_common::registers::CpuState;
use vmm_common::seam::Reply;

impl KvmVcpu {
    /// As [`vmm_common::seam::VcpuBackend::start_up`].
    pub(super) fn begin_anew(&mut self, registers: &CpuState) {
        self.finish_instruction();
        if let Err(error) = registers::start_up(&self.fd, registers) {
            let error = error.downcast_ref::<kvm_ioctls::Error>();
            self.refused = Some(error.map_or(libc::EIO, |error| error.errno()));
        }
    }

    /// Lets KVM complete the instruction of the last exit, whose effects INIT then replaces; else
    /// it would complete it on the new registers.
    fn finish_instruction(&mut self) {
        self.pending = Pending::Nothing;
        self.answer(Reply::None);
        self.fd.set_kvm_immediate_exit(1);
        let _ = self.fd.run();
    }
}
