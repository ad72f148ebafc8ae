//! How a VM halts, wakes and ends.

use super::{Step, System};
use crate::Instant;
use crate::diagnosis::Dump;
use crate::index::{VcpuIndex, VmIndex};
use crate::ledger::Standing;
use crate::memory::GuestMemory;
use crate::registers::CpuState;
use crate::seam::Host;
use crate::trace::What;
use crate::vm::Ending;

impl<M: GuestMemory> System<M> {
    /// Ends every VM that still runs, when the host stops the run.
    pub fn stop<H: Host<M>>(&mut self, why: &'static str, host: &mut H) {
        for vm in VmIndex::first(self.vms.len()) {
            self.stop_vm(self.vcpu(vm, 0), why, None, host);
        }
    }

    /// Ends the VM of `vcpu`, if it still runs, with the registers of this vCPU that its console
    /// shows.
    pub fn stop_vm<H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        why: &'static str,
        registers: Option<CpuState>,
        host: &mut H,
    ) {
        if self.vms[vcpu.vm()].ending.is_none() {
            let now = self.settle_taken(host);
            self.end_vm(vcpu, Ending::Stopped { why }, registers, now, host);
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
        dump: Option<CpuState>,
        now: Instant,
        host: &mut H,
    ) {
        let vm = vcpu.vm();
        self.trace.record(now, vcpu, What::Ended);
        self.scheduler.finished(vm);
        self.ledger.vm_turns_to(vm, Standing::Ended, now);
        self.unplug(vm, now, host);
        self.finish_screen(vm, host);
        self.leave_networks(vm, now, host);
        let dump = dump.map(|registers| Dump::new(&ending, registers, &self.vms[vm].memory));
        host.vm_ended(vcpu, &ending, dump.as_ref());
        if dump.is_some() {
            (self.shown, self.to_show) = (Some(vcpu), Some(self.vcpu(vm, 0)));
        }
        self.vms[vm].ending = Some(ending);
    }
}
