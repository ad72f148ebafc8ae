//! How a VM halts, wakes and ends.

use super::{Step, System};
use crate::Instant;
use crate::index::VmIndex;
use crate::ledger::Standing;
use crate::memory::GuestMemory;
use crate::registers::CpuState;
use crate::seam::Host;
use crate::trace::What;
use crate::vm::Ending;

impl<M: GuestMemory> System<M> {
    /// Ends every VM that still runs, when the host stops the run.
    pub fn stop<H: Host>(&mut self, why: &'static str, host: &mut H) {
        for vm in VmIndex::first(self.vms.len()) {
            self.stop_vm(vm, why, None, host);
        }
    }

    /// Ends one VM, if it still runs, with the registers that its console shows.
    pub fn stop_vm<H: Host>(
        &mut self,
        vm: VmIndex,
        why: &'static str,
        registers: Option<CpuState>,
        host: &mut H,
    ) {
        if self.vms[vm].ending.is_none() {
            self.end_vm(vm, Ending::Stopped { why }, registers, host.now(), host);
        }
    }

    /// Whether all VMs have ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.vms.iter().all(|vm| vm.ending.is_some())
    }

    #[inline(never)]
    pub(super) fn halt(&mut self, vm: VmIndex, is_interrupt_flag_set: bool, now: Instant) -> Step {
        let (machine, vcpu) = self.vms[vm].parts(0).expect("every VM was made with a vCPU");
        machine.advance(now);
        // It may wait for THRE, which the drain of its last output raises.
        machine.sample_serial_pins();
        vcpu.is_halted = true;
        vcpu.is_deaf = !is_interrupt_flag_set;
        let stays_halted = vcpu.stays_halted(machine);
        if stays_halted && vcpu.is_deaf && !machine.can_raise_nmi() {
            Step::End(Ending::HaltedForGood)
        } else if stays_halted {
            Step::Halt(machine.deadline())
        } else {
            Step::Continue
        }
    }

    pub(super) fn end_vm<H: Host>(
        &mut self,
        vm: VmIndex,
        ending: Ending,
        dump: Option<CpuState>,
        now: Instant,
        host: &mut H,
    ) {
        self.trace.record(now, vm, What::Ended);
        self.scheduler.finished(vm.vcpu());
        self.ledger.vm_turns_to(vm, Standing::Ended, now);
        self.unplug(vm, now, host);
        host.vm_ended(vm, &ending, dump.as_ref());
        self.vms[vm].ending = Some(ending);
    }

    /// `vm` may have something to do now.
    pub(super) fn wake(&mut self, vm: VmIndex, now: Instant) {
        self.scheduler.woken(vm.vcpu());
        if self.ledger.vms[vm].standing() == Standing::Halted {
            self.ledger.vm_turns_to(vm, Standing::Waiting, now);
        }
    }
}
