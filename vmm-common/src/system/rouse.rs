//! Several vCPUs of one VM: how they start, and how one that runs gets another one the core.

use super::{Step, System};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::ledger::Standing;
use crate::machine::StartEvent;
use crate::memory::GuestMemory;
use crate::registers::CpuState;
use crate::seam::VcpuBackend;
use crate::vm::Ending;

impl<M: GuestMemory> System<M> {
    /// The vCPU of `vm` with this number.
    #[must_use]
    pub fn vcpu(&self, vm: VmIndex, id: u32) -> VcpuIndex {
        self.firsts[vm].sibling(id)
    }

    /// All vCPUs of `vm`.
    pub fn vcpus_of(&self, vm: VmIndex) -> impl Iterator<Item = VcpuIndex> + use<M> {
        let first = self.firsts[vm];
        (0..self.vms[vm].vcpus().len() as u32).map(move |id| first.sibling(id))
    }

    /// The host is to show the registers of `vm`, which runs on.
    pub(crate) fn show(&mut self, vm: VmIndex) {
        (self.shown, self.to_show) = (None, Some(self.vcpu(vm, 0)));
    }

    /// A vCPU whose registers the host is to show ([`crate::seam::Host::sibling_ended`]) before
    /// it asks for the next turn: a dump is of all vCPUs of its VM that have begun, and each one's
    /// backend alone can read its registers.
    pub fn next_to_show(&mut self) -> Option<VcpuIndex> {
        let vcpu = self.to_show?;
        let count = self.vms[vcpu.vm()].vcpus().len() as u32;
        let next = Some(vcpu.sibling(vcpu.id() + 1)).filter(|next| next.id() < count);
        self.to_show = next;
        let is_waiting = self.vms[vcpu.vm()].machine.is_waiting_for_startup(vcpu.id());
        if is_waiting || Some(vcpu) == self.shown { self.next_to_show() } else { Some(vcpu) }
    }

    /// Before each entry of a vCPU that has siblings: what has changed for it, or by it for them.
    /// What this makes of its turn, if that does not go on.
    #[inline(never)]
    pub(super) fn attend<B: VcpuBackend>(
        &mut self,
        index: VcpuIndex,
        now: Instant,
        backend: &mut B,
    ) -> Option<Step> {
        let (machine, vcpu) = self.vms[index.vm()].parts(index);
        machine.advance(now);
        if !vcpu.is_changed(machine) {
            return None;
        }
        let event = machine.take_start_event();
        let is_waiting = machine.is_waiting_for_startup(index.id());
        match event {
            // It would fetch from the firmware's reset vector (SDM vol. 3, 9.4.1).
            Some(StartEvent::Init) if !is_waiting => return Some(Step::End(Ending::Reset)),
            Some(StartEvent::Init) | None => {}
            Some(StartEvent::StartUp { vector }) => {
                vcpu.reset();
                backend.start_up(&CpuState::started_up(vector));
            }
        }
        if is_waiting {
            vcpu.reset();
            return Some(self.stopped(index, now));
        }
        let until = self.until;
        self.rouse_siblings(index, now);
        if self.until < until { self.slice_over(index) } else { None }
    }

    /// `vcpu`, which has the core, waits for a start-up IPI from now on. A halted sibling may wait
    /// for a timer that `vcpu` has set since: it looks at the deadlines again.
    fn stopped(&mut self, vcpu: VcpuIndex, now: Instant) -> Step {
        if self.vms[vcpu.vm()].is_dead() {
            return Step::End(Ending::HaltedForGood);
        }
        for sibling in self.vcpus_of(vcpu.vm()).filter(|sibling| *sibling != vcpu) {
            let is_waiting = self.vms[vcpu.vm()].machine.is_waiting_for_startup(sibling.id());
            if !is_waiting && !self.scheduler.is_runnable(sibling) {
                self.wake(sibling, now);
            }
        }
        Step::Halt(Instant::FAR_FUTURE)
    }

    /// Makes those siblings of `vcpu`, which has the core, runnable for which something has come.
    /// Its turn ends if one of them is to run at once.
    pub(super) fn rouse_siblings(&mut self, vcpu: VcpuIndex, now: Instant) {
        let called = self.vms[vcpu.vm()].machine.take_called();
        for sibling in self.vcpus_of(vcpu.vm()).filter(|sibling| *sibling != vcpu) {
            let is_called = called.contains(sibling.id() as usize);
            if !is_called && self.scheduler.is_runnable(sibling) {
                continue;
            }
            let machine = &self.vms[vcpu.vm()].machine;
            if machine.is_waiting_for_startup(sibling.id()) {
                if is_called {
                    self.sleeps(sibling, Instant::FAR_FUTURE, now);
                }
            } else if is_called || self.is_roused(sibling) {
                self.until = self.scheduler.called(sibling).shorten(self.until, now);
                self.has_woken(sibling, now);
            }
        }
    }

    /// A byte, or room for one, has come to `vm`: wakes the vCPUs that poll or halt for it.
    pub(super) fn rouse(&mut self, vm: VmIndex, now: Instant) {
        for vcpu in self.vcpus_of(vm) {
            let is_found = self.vms[vm].parts(vcpu).1.polling.found();
            if is_found || self.is_roused(vcpu) {
                self.wake(vcpu, now);
            }
        }
    }

    /// Before they are started, all vCPUs but each VM's first have nothing to do.
    pub(super) fn siblings_sleep(&mut self, now: Instant) {
        for vm in VmIndex::first(self.vms.len()) {
            for sibling in self.vcpus_of(vm).skip(1) {
                self.sleeps(sibling, Instant::FAR_FUTURE, now);
            }
        }
    }

    /// `vcpu` has nothing to do until `until`, unless it is woken.
    pub(super) fn sleeps(&mut self, vcpu: VcpuIndex, until: Instant, now: Instant) {
        self.scheduler.halted(vcpu, until);
        self.ledger.vcpu_turns_to(vcpu, Standing::Halted, now);
    }

    /// `vcpu` may have something to do now.
    pub(crate) fn wake(&mut self, vcpu: VcpuIndex, now: Instant) {
        self.until = self.scheduler.woken(vcpu).shorten(self.until, now);
        self.has_woken(vcpu, now);
    }

    pub(super) fn has_woken(&mut self, vcpu: VcpuIndex, now: Instant) {
        if self.ledger.standing(vcpu) == Standing::Halted {
            self.ledger.vcpu_turns_to(vcpu, Standing::Waiting, now);
        }
    }

    fn is_roused(&self, vcpu: VcpuIndex) -> bool {
        let vm = &self.vms[vcpu.vm()];
        vm.vcpu(vcpu.id()).is_some_and(|vcpu| vcpu.is_roused(&vm.machine))
            && !vm.machine.is_waiting_for_startup(vcpu.id())
    }
}
