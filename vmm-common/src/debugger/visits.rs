//! What a VM's debugger does with its vCPUs between turns, each by its own backend: gathers their
//! registers, writes them back, or lets one of them execute one instruction.

use super::full_state::{DR6_SINGLE_STEP, DebugEvent, Debuggable, OwnException, Watched};
use super::monitor::standing;
use super::stub::Reason;
use super::subject::{Action, thread};
use super::{Cause, Debugger, Phase};
use crate::Instant;
use crate::index::VcpuIndex;
use crate::memory::GuestMemory;
use crate::seam::{Host, VcpuBackend};
use crate::system::{Holder, System};
use gdbstub::common::Signal;
use gdbstub::target::ext::breakpoints::WatchKind;

/// How long one instruction may take before others have the core again, ns.
const STEP_NS: u64 = 5_000_000;
/// Turns of no length in which the instruction of a vCPU's last exit is completed: more than the
/// accesses of any instruction but a string, which goes on when the VM does.
const SETTLING_TURNS: u32 = 16;

impl<M: GuestMemory + Clone> Debugger<M> {
    /// The vCPU that is to be visited before the next turn.
    pub fn next_visit(&mut self) -> Option<VcpuIndex> {
        let id = match self.phase {
            Phase::Free | Phase::Running | Phase::Stopped => return None,
            Phase::Stopping { cause, visited } => self.at(cause, visited),
            Phase::Resuming { visited, .. } => visited,
            Phase::Stepping { .. } if core::mem::take(&mut self.yields) => return None,
            Phase::Stepping { id, .. } => id,
        };
        Some(self.first.sibling(id))
    }

    /// The vCPU whose turn it is to be gathered: that of the event first.
    const fn at(&self, cause: Cause, visited: u32) -> u32 {
        match cause {
            Cause::Attach | Cause::Interrupt => visited,
            Cause::Event { id, .. } | Cause::StepOver { id } => (id + visited) % self.vcpus,
        }
    }

    /// Does what is next for this vCPU.
    pub fn visit<B: VcpuBackend + Debuggable, H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        system: &mut System<M>,
        backend: &mut B,
        host: &mut H,
    ) {
        if system.vms[self.vm].ending.is_some() {
            return self.serve(system, host);
        }
        match self.phase {
            Phase::Free | Phase::Running | Phase::Stopped => {}
            Phase::Stopping { cause, visited } => {
                self.gather((vcpu, cause, visited), system, backend, host);
            }
            Phase::Resuming { visited, is_left } => {
                self.put_back((vcpu, visited, is_left), system, backend, host);
            }
            Phase::Stepping { has_begun, .. } => {
                self.step((vcpu, has_begun), system, backend, host);
            }
        }
    }

    fn gather<B: VcpuBackend + Debuggable, H: Host<M>>(
        &mut self,
        (vcpu, cause, visited): (VcpuIndex, Cause, u32),
        system: &mut System<M>,
        backend: &mut B,
        host: &mut H,
    ) {
        let id = vcpu.id() as usize;
        if !matches!(cause, Cause::Event { id, .. } if id == vcpu.id()) {
            settle(vcpu, system, backend, host);
            if system.vms[self.vm].ending.is_some() {
                return self.serve(system, host);
            }
        }
        self.subject.states[id] = backend.full_state();
        self.subject.is_dirty[id] = false;
        self.subject.standings[id] = standing(system, self.vm, vcpu.id());
        if visited == 0
            && let Cause::Event { event, .. } = cause
            && let Some(own) = self.guests_own(id, event)
        {
            backend.deliver(own);
            self.phase = match system.is_held(self.vm) {
                true => Phase::Stepping { id: vcpu.id(), has_begun: true },
                false => Phase::Running,
            };
            return;
        }
        if visited + 1 < self.vcpus {
            self.phase = Phase::Stopping { cause, visited: visited + 1 };
            return;
        }
        self.stands_for(cause, system, host);
    }

    /// All registers are there: the VM stands; reports the cause to gdb.
    fn stands_for<H: Host<M>>(&mut self, cause: Cause, system: &mut System<M>, host: &mut H) {
        self.phase = Phase::Stopped;
        if !system.is_held(self.vm) {
            system.hold(self.vm, Holder::Debugger, host.now());
        }
        let (id, reason) = match cause {
            Cause::Attach => (0, None),
            Cause::Interrupt => (0, Some(signal(0, Signal::SIGINT))),
            Cause::StepOver { id } => (id, Some(signal(id as usize, Signal::SIGTRAP))),
            Cause::Event { id, event } => (id, Some(self.reason(id as usize, event))),
        };
        self.subject.current = id as usize;
        if let (Some(reason), Some(stub)) = (reason, &mut self.stub) {
            stub.report(&mut self.subject, reason);
        }
    }

    /// The exception to deliver, if the event is none that the debugger waits for.
    fn guests_own(&self, id: usize, event: DebugEvent) -> Option<OwnException> {
        let points = &self.subject.breakpoints;
        match event {
            DebugEvent::Breakpoint => {
                let at = self.subject.physical_pc(id);
                let is_ours = at.is_some_and(|at| points.is_set_at(at));
                (!is_ours).then_some(OwnException::Breakpoint)
            }
            DebugEvent::Debug { dr6 } => {
                let is_hit = |at: usize| dr6 & 1 << at != 0 && points.hardware[at].is_some();
                let is_stepping = self.subject.action(id) == Action::Step;
                let is_ours = (0..4).any(is_hit) || (is_stepping && dr6 & DR6_SINGLE_STEP != 0);
                (!is_ours).then_some(OwnException::Debug { dr6 })
            }
        }
    }

    fn reason(&self, id: usize, event: DebugEvent) -> Reason {
        let DebugEvent::Debug { dr6 } = event else { return Reason::SwBreak(thread(id)) };
        let hardware = &self.subject.breakpoints.hardware;
        let hit = (0..4).filter(|at| dr6 & 1 << at != 0).find_map(|at| hardware[at]);
        let tid = thread(id);
        match hit.map(|it| (it.watched, it.address)) {
            None => signal(id, Signal::SIGTRAP),
            Some((Watched::Execute, _)) => Reason::HwBreak(tid),
            Some((Watched::Write, addr)) => Reason::Watch { tid, kind: WatchKind::Write, addr },
            Some((Watched::Access, addr)) => {
                Reason::Watch { tid, kind: WatchKind::ReadWrite, addr }
            }
        }
    }

    fn put_back<B: VcpuBackend + Debuggable, H: Host<M>>(
        &mut self,
        (vcpu, visited, is_left): (VcpuIndex, u32, bool),
        system: &mut System<M>,
        backend: &mut B,
        host: &mut H,
    ) {
        self.store(vcpu, system, backend);
        backend.control(&self.subject.controls(vcpu.id() as usize));
        if visited + 1 < self.vcpus {
            self.phase = Phase::Resuming { visited: visited + 1, is_left };
            return;
        }
        self.phase = if is_left { Phase::Free } else { Phase::Running };
        if system.is_held(self.vm) {
            system.release(self.vm, Holder::Debugger, host.now());
        }
    }

    /// Registers that were changed go to the backend.
    fn store<B: Debuggable>(&mut self, vcpu: VcpuIndex, system: &mut System<M>, backend: &mut B) {
        let id = vcpu.id() as usize;
        if !core::mem::take(&mut self.subject.is_dirty[id]) {
            return;
        }
        let before = backend.full_state();
        let state = &self.subject.states[id];
        if backend.set_full_state(state) && before.cpu.rip != state.cpu.rip {
            // It goes on elsewhere, and no HLT is there.
            system.vms[self.vm].parts(vcpu).1.is_halted = false;
        }
    }

    fn step<B: VcpuBackend + Debuggable, H: Host<M>>(
        &mut self,
        (vcpu, has_begun): (VcpuIndex, bool),
        system: &mut System<M>,
        backend: &mut B,
        host: &mut H,
    ) {
        let id = vcpu.id();
        if !has_begun {
            self.store(vcpu, system, backend);
            backend.control(&self.subject.controls(id as usize));
            self.phase = Phase::Stepping { id, has_begun: true };
        }
        let is_waiting = system.vms[self.vm].machine.is_waiting_for_startup(id);
        let is_halted = |system: &mut System<M>| system.vms[vcpu.vm()].parts(vcpu).1.is_halted;
        if is_waiting || is_halted(system) {
            // Nothing is executed there.
            self.phase = Phase::Stopping { cause: Cause::StepOver { id }, visited: 0 };
            return;
        }
        // No interrupt comes between the step and its instruction.
        system.vms[self.vm].parts(vcpu).1.is_stepped = true;
        let until = host.now().after_ns(STEP_NS);
        system.turn_of_held(vcpu, until, backend, host);
        system.vms[self.vm].parts(vcpu).1.is_stepped = false;
        if system.vms[self.vm].ending.is_some() {
            self.serve(system, host);
        } else if let Some(event) = system.take_debug_event() {
            self.phase = Phase::Stopping { cause: Cause::Event { id, event }, visited: 0 };
        } else if is_halted(system) {
            self.phase = Phase::Stopping { cause: Cause::StepOver { id }, visited: 0 };
        } else {
            self.yields = true;
        }
    }
}

fn signal(id: usize, signal: Signal) -> Reason {
    Reason::SignalWithThread { tid: thread(id), signal }
}

/// Lets the backend complete the instruction of its last exit, so that registers are those between
/// two instructions.
fn settle<M: GuestMemory, B: VcpuBackend, H: Host<M>>(
    vcpu: VcpuIndex,
    system: &mut System<M>,
    backend: &mut B,
    host: &mut H,
) {
    let vm = vcpu.vm();
    for _ in 0..SETTLING_TURNS {
        let is_waiting = system.vms[vm].machine.is_waiting_for_startup(vcpu.id());
        let it = system.vms[vm].parts(vcpu).1;
        if is_waiting || it.is_halted || it.was_preempted || system.vms[vm].ending.is_some() {
            return;
        }
        system.turn_of_held(vcpu, Instant::ZERO, backend, host);
    }
}
