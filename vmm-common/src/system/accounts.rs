//! What the loop books: turns, what comes of them, and the host's part of them.

use super::{Step, System};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::ledger::Activity;
use crate::memory::GuestMemory;
use crate::seam::{Host, VcpuBackend};
use crate::stop::Detail;
use crate::trace::What;

/// What the host takes is in the trace from here on: below, clocks are read at different moments.
const TRACED_NS: u64 = 20_000;

impl<M: GuestMemory> System<M> {
    /// The run begins at the first call.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant) {
        if !self.has_begun {
            self.has_begun = true;
            self.ledger.restart(now);
        }
    }

    /// The end of a turn whose time is used up. None if parts of the last exit remain: they come
    /// first, or a stop could lose them.
    #[inline]
    pub(super) fn slice_over(&mut self, vcpu: VcpuIndex) -> Option<Step> {
        let (_, vcpu) = self.vms[vcpu.vm()].parts(vcpu);
        let in_guest = vcpu.was_preempted;
        (!vcpu.has_more).then_some(Step::SliceOver { in_guest })
    }

    /// Closes the accounts of a turn, and says what comes of its `end`.
    #[inline(always)]
    pub(super) fn after_turn<B: VcpuBackend, H: Host<M>>(
        &mut self,
        vcpu: VcpuIndex,
        end: Step,
        (begin, stopped, mut now): (Instant, Instant, Instant),
        is_contended: bool,
        backend: &mut B,
        host: &mut H,
    ) {
        let vm = vcpu.vm();
        match end {
            // Time after the exit that ended it is charged to the switch.
            Step::Continue | Step::SliceOver { .. } | Step::Spin => {}
            Step::Yield | Step::Halt(_) | Step::End(_) => now = host.now(),
        }
        // Entering and leaving a guest that the slice's end stopped is charged to the switch.
        let over = if end == (Step::SliceOver { in_guest: true }) { stopped } else { now };
        let ran_ns = self.close_turn(vm, begin, over, now, host);
        self.scheduler.ran(vcpu, ran_ns);
        self.screens.has_run(vm);
        match end {
            Step::Continue | Step::SliceOver { .. } if is_contended => {
                self.ledger.contended(vm, ran_ns);
            }
            _ => self.ledger.end_stretch(),
        }
        self.trace.record(now, vcpu, What::TurnEnds);
        match end {
            Step::Continue | Step::SliceOver { .. } => self.ledger.waits(vcpu, over),
            Step::Spin => {
                self.scheduler.spun(vcpu);
                self.ledger.waits(vcpu, over);
            }
            Step::Yield => {
                self.scheduler.yielded(vcpu);
                self.ledger.waits(vcpu, now);
            }
            Step::Halt(until) => {
                self.sleeps(vcpu, until, now);
                self.tell_sleep(vcpu, (until, now), host);
            }
            Step::End(ending) => {
                let deserves = ending.deserves_dump(self.restarters[vm].outcomes);
                let shown = deserves.then(|| (backend.registers(), Detail::All));
                self.end_vm(vcpu, ending, shown, now, host);
            }
        }
    }

    /// What `vm` ran in its turn from `begin` to `over`, less what the host took; the rest up to
    /// `now` is the switch's. The host's part is assumed to come last: usually it is why the turn
    /// ended late.
    #[inline]
    pub(super) fn close_turn<H: Host<M>>(
        &mut self,
        vm: VmIndex,
        begin: Instant,
        over: Instant,
        now: Instant,
        host: &mut H,
    ) -> u64 {
        self.ledger.end_turn(vm, over, now);
        let taken_ns = self.taken_since(now, host);
        let of_switch_ns = taken_ns.min(now.ns_since(over));
        let of_turn_ns = (taken_ns - of_switch_ns).min(over.ns_since(begin));
        self.ledger.taken_from_no_vm(of_switch_ns, now);
        if of_turn_ns > 0 {
            self.ledger.taken_from_vm(vm, of_turn_ns, now);
        }
        let ran_ns = over.ns_since(begin) - of_turn_ns + self.switch_ns;
        self.ledger.ran(vm, ran_ns);
        ran_ns
    }

    /// The host read keys and wrote output from `begin` to `end`, between turns.
    pub fn console_had(&mut self, begin: Instant, end: Instant) {
        if self.has_begun {
            let before = self.ledger.activity();
            self.ledger.core_turns_to(Activity::Console, begin);
            self.ledger.core_turns_to(before, end);
        }
    }

    /// Books what the host has taken up to now, between turns: a VM that is stopped there has no
    /// turn that would.
    pub(super) fn settle_taken<H: Host<M>>(&mut self, host: &mut H) -> Instant {
        let now = host.now();
        let taken_ns = self.taken_since(now, host);
        self.ledger.core_turns_to(self.ledger.activity(), now);
        self.ledger.taken_from_no_vm(taken_ns, now);
        now
    }

    /// What the host has taken since the last look, ns.
    pub(super) fn taken_since<H: Host<M>>(&mut self, now: Instant, host: &mut H) -> u64 {
        let before_ns = self.taken_ns;
        self.taken_ns = host.taken_ns(now).max(before_ns);
        let ns = self.taken_ns - before_ns;
        if ns >= TRACED_NS {
            self.trace.record(now, VcpuIndex::only_of(VmIndex(0)), What::HostTook { ns });
        }
        ns
    }
}
