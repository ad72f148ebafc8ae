//! Explanations of a VM that has ended, or that nothing can wake.

use super::System;
use super::lifecycle::SleepLook;
use crate::Instant;
use crate::diagnosis::{Dump, Found, last_events, last_injected};
use crate::index::{VcpuIndex, VmIndex};
use crate::memory::GuestMemory;
use crate::registers::CpuState;
use crate::seam::Host;
use crate::stop::Detail;
use crate::vm::Ending;
use alloc::format;
use alloc::string::String;

impl<M: GuestMemory> System<M> {
    /// What is shown of the vCPU with these registers, when its VM ends so.
    pub(super) fn dump(
        &self,
        vcpu: VcpuIndex,
        ending: &Ending,
        registers: CpuState,
        detail: Detail,
        now: Instant,
    ) -> Dump {
        let found = self.found(vcpu);
        let dump = self.first_lines(vcpu, ending, &found, registers);
        if detail == Detail::Line {
            return dump.without_registers();
        }
        let vm = &self.vms[vcpu.vm()];
        let dump = dump.with_stack(&found, &vm.memory);
        let has_failed = ending.is_fault();
        let dump = if has_failed { dump } else { dump.with_lines(&vm.machine.facts(now)) };
        let dump = dump.with_lines(&last_events(&self.trace, vcpu.vm()));
        if found == Found::Running { dump } else { dump.without_registers() }
    }

    /// The same of another vCPU of a VM that has ended, or of any of one that runs on: the first
    /// shows the devices.
    #[must_use]
    pub fn sibling_dump(&self, vcpu: VcpuIndex, registers: CpuState, now: Instant) -> Dump {
        const NO_FAULT: Ending = Ending::Stopped { why: "" };
        let vm = &self.vms[vcpu.vm()];
        if vm.ending.is_none() && vcpu.id() == 0 {
            return self.dump(vcpu, &NO_FAULT, registers, Detail::All, now);
        }
        let found = self.found(vcpu);
        let dump = self.first_lines(vcpu, &NO_FAULT, &found, registers);
        let dump = dump.with_stack(&found, &vm.memory);
        if found == Found::Running { dump } else { dump.without_registers() }
    }

    fn found(&self, vcpu: VcpuIndex) -> Found {
        let vm = &self.vms[vcpu.vm()];
        let is_halted = vm.vcpu(vcpu.id()).is_some_and(|vcpu| vcpu.is_halted);
        if is_halted { Found::Halted(self.why_halted(vcpu)) } else { Found::Running }
    }

    fn first_lines(
        &self,
        vcpu: VcpuIndex,
        ending: &Ending,
        found: &Found,
        registers: CpuState,
    ) -> Dump {
        let injected = last_injected(&self.trace, vcpu);
        Dump::new(ending, found, (registers, injected), &self.vms[vcpu.vm()].memory)
    }

    /// The vCPU of `vm` whose registers are to be read first when the run ends: one that runs.
    #[must_use]
    pub fn vcpu_to_show(&self, vm: VmIndex) -> VcpuIndex {
        let of = &self.vms[vm];
        let runs = |vcpu: &VcpuIndex| {
            of.vcpu(vcpu.id()).is_some_and(|vcpu| !vcpu.is_halted)
                && !of.machine.is_waiting_for_startup(vcpu.id())
        };
        self.vcpus_of(vm).find(runs).unwrap_or_else(|| self.vcpu(vm, 0))
    }

    /// Of a vCPU that halts.
    fn why_halted(&self, vcpu: VcpuIndex) -> String {
        let vm = &self.vms[vcpu.vm()];
        let is_deaf = vm.vcpu(vcpu.id()).is_some_and(|vcpu| vcpu.is_deaf);
        if is_deaf && !vm.machine.can_raise_nmi() {
            return "nothing can wake it: interrupts are off".into();
        }
        match vm.machine.can_wake() {
            true => match vm.machine.awaited() {
                awaited if awaited.is_empty() => "it is about to wake".into(),
                awaited => format!("it waits for {awaited}"),
            },
            false => format!("nothing can wake it: {}", vm.machine.why_asleep()),
        }
    }

    /// `vcpu` halts until `until`, or until an event: says so, once, if no vCPU of its VM can ever
    /// run again by itself. The VM goes on, as its neighbours may not see a difference, and what
    /// looks asleep costs nothing.
    ///
    /// To find that out costs as much as some exits, and guests halt often: it is looked at where a
    /// VM halts without a timer for the first time after halts with one, and else once a second.
    pub(super) fn tell_sleep<H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        (until, now): (Instant, Instant),
        host: &mut H,
    ) {
        const LOOK_EVERY_NS: u64 = 1_000_000_000;
        let vm = &mut self.vms[vcpu.vm()];
        let (has_timer, look) = (until != Instant::FAR_FUTURE, &mut vm.life.sleep_look);
        let is_news = !has_timer && look.has_timer;
        let is_due = now >= look.due && !(has_timer && look.due == Instant::ZERO);
        if is_news || is_due || look.due == Instant::ZERO {
            *look = SleepLook { due: now.after_ns(LOOK_EVERY_NS), has_timer };
        }
        if vm.life.has_told_sleep || !(is_news || is_due) {
            return;
        }
        let is_still =
            |it: &crate::vm::Vcpu| it.is_halted || vm.machine.is_waiting_for_startup(it.id());
        if !vm.vcpus().iter().all(is_still) || vm.machine.can_wake() {
            return;
        }
        vm.life.has_told_sleep = true;
        let why = vm.machine.why_asleep();
        host.vm_sleeps(vcpu.vm(), &why);
    }
}
