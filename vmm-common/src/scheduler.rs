//! Which vCPU runs next, and for how long. Pure: no clock, no allocation after `new`, no locks.
//!
//! There are two levels. A share belongs to a VM, and [`vms`] gives the VMs their turns:
//!
//! VMs with a weight are served by deficit round robin (Shreedhar and Varghese, 1995): a cycle
//! lasts as many slices as there are such VMs, divided among them by weight. A VM that overruns
//! pays from its next quantum, and one that is left with a remainder too short for a turn adds it
//! there, so shares are exact over time; one that halts or yields forfeits the rest of its
//! quantum. Every runnable VM therefore waits at most for the quanta of the others, and for
//! jumps: a VM that wakes may run some of its next quantum at once (see [`jumps`]).
//!
//! VMs with a budget run before them, the earliest end of a period first (EDF), until the
//! budget of the period is used up. [`crate::plan::check`] admits budgets up to 100 % in sum.
//!
//! The vCPUs of a VM divide its turns among themselves, in sub-slices: see [`siblings`].

use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::plan::Share;
use alloc::vec::Vec;
use share::State;
use siblings::{Siblings, WaitsFor};
use vms::{Turn, Vms};

mod jumps;
mod share;
mod siblings;
#[cfg(test)]
mod tests;
mod vms;

pub(crate) use jumps::{advance_ns, allowance_ns};
pub(crate) use share::MAX_DEBT_QUANTA;

/// Sub-slices in a slice. More of them cost a guest more than the switches: at its turn a processor
/// takes the tick of its timer that came due while it waited, and shorter waits merge fewer ticks.
const SUB_SLICES: u64 = 2;
/// No sub-slice is shorter. It costs a switch, as a slice does: see [`crate::plan::MIN_SLICE_NS`].
const MIN_SUB_SLICE_NS: u64 = crate::plan::MIN_SLICE_NS;

/// What the core does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run this vCPU until the moment named, unless it halts or yields before.
    Run {
        /// Index of the vCPU.
        vcpu: VcpuIndex,
        /// When its turn ends.
        until: Instant,
    },
    /// No vCPU can run before this moment, unless woken.
    Idle {
        /// When the first of them wakes by itself.
        until: Instant,
    },
    /// All have finished.
    Done,
}

/// How much longer the turn that runs may last, because a vCPU that was woken or called goes first.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    within_ns: Option<u64>,
}

impl Preemption {
    /// When the turn ends that would have ended at `until`.
    pub fn shorten(self, until: Instant, now: Instant) -> Instant {
        self.within_ns.map_or(until, |ns| until.min(now.after_ns(ns)))
    }
}

/// The scheduler of one core.
#[derive(Clone, Debug)]
pub struct Scheduler {
    vms: Vms,
    /// The vCPUs of each VM, if any VM has several: otherwise a VM's state is its vCPU's.
    groups: Vec<Group>,
    /// The VM chosen last, if it was searched for.
    running: Option<VmIndex>,
}

/// The vCPUs of one VM.
#[derive(Clone, Debug)]
struct Group {
    first: VcpuIndex,
    /// None if it is the only one.
    siblings: Option<Siblings>,
}

impl Scheduler {
    /// A scheduler for VMs with these shares and numbers of vCPUs, at least 1. All are runnable,
    /// and the first one runs first.
    ///
    /// `slice_ns` is what a VM of average weight runs at a time, and at least 1.
    #[must_use]
    pub fn new(vms: &[(Share, u32)], slice_ns: u64) -> Self {
        let shares = vms.iter().map(|(share, _)| *share);
        let counts = || vms.iter().map(|(_, vcpus)| *vcpus);
        let group = |(first, count): (VcpuIndex, u32)| {
            let siblings = (count > 1).then(|| Siblings::new(count, Self::sub_slice_ns(slice_ns)));
            Group { first, siblings }
        };
        let groups = match counts().any(|count| count > 1) {
            true => VcpuIndex::firsts(counts()).zip(counts()).map(group).collect(),
            false => Vec::new(),
        };
        Self { vms: Vms::new(shares, slice_ns), groups, running: None }
    }

    /// How long a vCPU with siblings runs at a time, where a slice is `slice_ns`.
    #[must_use]
    pub fn sub_slice_ns(slice_ns: u64) -> u64 {
        (slice_ns / SUB_SLICES).max(MIN_SUB_SLICE_NS)
    }

    /// Which vCPU runs now, and until when.
    #[inline]
    pub fn next(&mut self, now: Instant) -> Next {
        if self.groups.is_empty()
            && let Some((vm, until)) = self.vms.next_in_turn(now)
        {
            return Next::Run { vcpu: VcpuIndex::only_of(vm), until };
        }
        self.search(now)
    }

    /// The same, where a VM has several vCPUs or the next VM is not the next of the round.
    #[inline(never)]
    fn search(&mut self, now: Instant) -> Next {
        self.wake_due(now);
        let in_turn = self.vms.next_in_turn(now).map(|(vm, until)| Turn::Run { vm, until });
        match in_turn.unwrap_or_else(|| self.vms.search(now)) {
            Turn::Run { vm, until } => self.next_of(vm, until, now),
            Turn::Idle { until } => Next::Idle { until },
            Turn::Done => Next::Done,
        }
    }

    fn next_of(&mut self, vm: VmIndex, until: Instant, now: Instant) -> Next {
        self.running = Some(vm);
        let Some(Group { first, siblings }) = self.groups.get_mut(vm.0) else {
            return Next::Run { vcpu: VcpuIndex::only_of(vm), until };
        };
        match siblings.as_mut().and_then(|siblings| siblings.next(until, now)) {
            Some((id, until)) => Next::Run { vcpu: first.sibling(id), until },
            None => Next::Run { vcpu: *first, until },
        }
    }

    fn wake_due(&mut self, now: Instant) {
        for (vm, group) in self.groups.iter_mut().enumerate() {
            if group.siblings.as_mut().is_some_and(|siblings| siblings.wake_due(now)) {
                let _ = self.vms.woken(VmIndex(vm));
            }
        }
    }

    /// `vcpu` had the core for `ran_ns`, with the switch to it if that was from a sibling.
    #[inline]
    pub fn ran(&mut self, vcpu: VcpuIndex, ran_ns: u64) {
        self.vms.ran(vcpu.vm(), ran_ns);
        if let Some(siblings) = self.siblings_mut(vcpu.vm()) {
            siblings.ran(vcpu.id(), ran_ns);
        }
    }

    /// `vcpu` has nothing to do until `until` or until it is woken. A VM whose vCPUs have all
    /// halted gives up its turn.
    pub fn halted(&mut self, vcpu: VcpuIndex, until: Instant) {
        let vm_until = match self.siblings_mut(vcpu.vm()) {
            Some(siblings) => siblings.rests(vcpu.id(), State::Halted(until)),
            None => Some(until),
        };
        if let Some(until) = vm_until {
            self.vms.halted(vcpu.vm(), until);
        }
    }

    /// `vcpu` waits for its start-up interprocessor interrupt.
    pub fn dormant(&mut self, vcpu: VcpuIndex) {
        self.halted(vcpu, Instant::FAR_FUTURE);
    }

    /// `vcpu` polls for something another VM must bring: its siblings and all other VMs go first.
    pub fn yielded(&mut self, vcpu: VcpuIndex) {
        let siblings = self.siblings_mut(vcpu.vm());
        if siblings.is_none_or(|siblings| siblings.gives_up(vcpu.id(), WaitsFor::AnotherVm)) {
            self.vms.yielded(vcpu.vm());
        }
    }

    /// `vcpu` polls for something a sibling must do: the siblings go first, and the VM's turn goes
    /// on. So does that of a VM in which all of them spin, because a sibling may do it between two
    /// loops; but if one of them polls for another VM, the VM yields.
    pub fn spun(&mut self, vcpu: VcpuIndex) {
        let siblings = self.siblings_mut(vcpu.vm());
        if siblings.is_some_and(|siblings| siblings.gives_up(vcpu.id(), WaitsFor::Sibling)) {
            self.vms.yielded(vcpu.vm());
        }
    }

    /// `vcpu` has something to do. Does nothing to one that is runnable or finished.
    pub fn woken(&mut self, vcpu: VcpuIndex) -> Preemption {
        let vm = vcpu.vm();
        let within_ns = self.vms.woken(vm);
        let is_running = self.running == Some(vm);
        let siblings = self.siblings_mut(vm);
        let is_preempted = siblings.is_some_and(|siblings| {
            siblings.woken(vcpu.id());
            is_running && siblings.is_running_one_preempted()
        });
        Preemption { within_ns: if is_preempted { Some(0) } else { within_ns } }
    }

    /// A sibling sent `vcpu` an interrupt, and may wait until it is taken: `vcpu` is made
    /// runnable, and the next of its VM.
    pub fn called(&mut self, vcpu: VcpuIndex) -> Preemption {
        if let Some(siblings) = self.siblings_mut(vcpu.vm()) {
            siblings.called_now(vcpu.id());
        }
        self.woken(vcpu)
    }

    /// No vCPU of `vm` runs until it is released. What wakes them meanwhile is lost.
    pub fn held(&mut self, vm: VmIndex) {
        self.vms.held(vm);
    }

    /// The vCPUs of `vm`, which was held, may run once they are woken.
    pub fn released(&mut self, vm: VmIndex) {
        self.vms.released(vm);
    }

    /// `vm` is restarted, held or finished as it may be: its vCPUs may run once they are woken.
    pub fn revived(&mut self, vm: VmIndex) {
        self.vms.released(vm);
        if let Some(siblings) = self.siblings_mut(vm) {
            siblings.revived();
        }
    }

    /// No vCPU of `vm` will run again, unless it is restarted.
    pub fn finished(&mut self, vm: VmIndex) {
        self.vms.finished(vm);
        if let Some(siblings) = self.siblings_mut(vm) {
            siblings.finished();
        }
    }

    /// Whether `vcpu` could run now.
    #[must_use]
    pub fn is_runnable(&self, vcpu: VcpuIndex) -> bool {
        self.state(vcpu) == State::Runnable
    }

    /// When `vcpu` wakes by itself, if it has halted.
    #[must_use]
    pub fn halted_until(&self, vcpu: VcpuIndex) -> Option<Instant> {
        match self.state(vcpu) {
            State::Halted(until) => Some(until),
            State::Runnable | State::Held | State::Finished => None,
        }
    }

    /// Whether any VM has finished.
    #[must_use]
    pub const fn has_finished(&self) -> bool {
        self.vms.has_finished()
    }

    /// Whether any vCPU has halted.
    #[must_use]
    pub fn has_halted(&self) -> bool {
        let has_halted = |group: &Group| group.siblings.as_ref().is_some_and(Siblings::has_halted);
        self.vms.has_halted() || self.groups.iter().any(has_halted)
    }

    /// Whether a vCPU other than `vcpu` could use the core at `now`.
    #[must_use]
    pub fn is_wanted_by_others(&self, vcpu: VcpuIndex, now: Instant) -> bool {
        let siblings = self.siblings(vcpu.vm());
        siblings.is_some_and(|siblings| siblings.is_wanted_by_others(vcpu.id(), now))
            || self.vms.is_wanted_by_others(vcpu.vm(), now)
    }

    /// How often a VM that woke has run before its place among the VMs.
    #[must_use]
    pub const fn jumps(&self) -> u64 {
        self.vms.jumps()
    }

    /// When the turn that runs is preempted by a VM that goes first, if its time is not over
    /// before.
    #[inline]
    pub(crate) fn next_preemption(&self) -> Instant {
        self.vms.next_preemption()
    }

    fn state(&self, vcpu: VcpuIndex) -> State {
        match self.siblings(vcpu.vm()) {
            Some(siblings) => siblings.state(vcpu.id()),
            None => self.vms.state(vcpu.vm()),
        }
    }

    fn siblings(&self, vm: VmIndex) -> Option<&Siblings> {
        self.groups.get(vm.0)?.siblings.as_ref()
    }

    fn siblings_mut(&mut self, vm: VmIndex) -> Option<&mut Siblings> {
        self.groups.get_mut(vm.0)?.siblings.as_mut()
    }
}
