//! How a VM halts, wakes and ends.

use super::{Step, System};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::ledger::Standing;
use crate::memory::GuestMemory;
use crate::registers::CpuState;
use crate::seam::Host;
use crate::stop::Detail;
use crate::trace::What;
use crate::vm::Ending;

impl<M: GuestMemory> System<M> {
    /// Ends every VM that still runs, when the host stops the run.
    pub fn stop<H: Host<M>>(&mut self, why: &'static str, host: &mut H) {
        for vm in VmIndex::first(self.vms.len()) {
            self.stop_vm(self.vcpu(vm, 0), why, None, host);
        }
    }

    /// Ends the VM of `vcpu`, if it still runs; what is shown of it comes from the registers of this
    /// vCPU, if there are any.
    pub fn stop_vm<H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        why: &'static str,
        shown: Option<(CpuState, Detail)>,
        host: &mut H,
    ) {
        if self.vms[vcpu.vm()].ending.is_none() {
            let now = self.settle_taken(host);
            self.end_vm(vcpu, Ending::Stopped { why }, shown, now, host);
        }
    }

    /// Whether all VMs have ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.vms.iter().all(|vm| vm.ending.is_some())
    }

    #[inline(never)]
    pub(super) fn halt(
        &mut self,
        index: VcpuIndex,
        is_interrupt_flag_set: bool,
        now: Instant,
    ) -> Step {
        let vm = &mut self.vms[index.vm()];
        let (machine, vcpu) = vm.parts(index);
        machine.advance(now);
        // It may wait for THRE, which the drain of its last output raises.
        machine.sample_serial_pins();
        vcpu.is_halted = true;
        vcpu.is_deaf = !is_interrupt_flag_set;
        if !vcpu.stays_halted(machine) || machine.has_device_work() {
            return Step::Continue;
        }
        let until = machine.own_deadline();
        if vm.is_dead() {
            return Step::End(Ending::HaltedForGood);
        }
        Step::Halt(until)
    }

    pub(super) fn end_vm<H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        ending: Ending,
        shown: Option<(CpuState, Detail)>,
        now: Instant,
        host: &mut H,
    ) {
        let vm = vcpu.vm();
        let dump = shown.map(|(state, detail)| self.dump(vcpu, &ending, state, detail, now));
        self.trace.record(now, vcpu, What::Ended);
        self.scheduler.finished(vm);
        self.ledger.vm_turns_to(vm, Standing::Ended, now);
        self.unplug(vm, now, host);
        self.finish_screen(vm, host);
        self.leave_networks(vm, now, host);
        host.vm_ended(vcpu, &ending, dump.as_ref());
        let shows_all = shown.is_some_and(|(_, detail)| detail == Detail::All);
        if shows_all && ending != Ending::HaltedForGood {
            (self.shown, self.to_show) = (Some(vcpu), Some(self.vcpu(vm, 0)));
        }
        self.vms[vm].ending = Some(ending);
        self.decide_restart(vm, now, host);
    }
}
