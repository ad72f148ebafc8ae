//! The vCPUs of one VM: sub-slices of 2.5 ms in a slice of 5 ms.

use super::{MS, Next, Scheduler};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::plan::Share;
use alloc::vec::Vec;

const SUB_SLICE_NS: u64 = MS * 5 / 2;

/// VMs with so many vCPUs, all of weight 1, and a clock.
struct Core {
    scheduler: Scheduler,
    firsts: Vec<VcpuIndex>,
    now: Instant,
}

impl Core {
    fn new(counts: &[u32]) -> Self {
        let vms: Vec<_> = counts.iter().map(|count| (Share::Weight(1), *count)).collect();
        let firsts = VcpuIndex::firsts(counts.iter().copied()).collect();
        Self { scheduler: Scheduler::new(&vms, 5 * MS), firsts, now: Instant::ZERO }
    }

    fn vcpu(&self, vm: usize, id: u32) -> VcpuIndex {
        self.firsts[vm].sibling(id)
    }

    /// VM and number of the next vCPU, and how long its turn may last.
    fn next(&mut self) -> (usize, u32, u64) {
        match self.scheduler.next(self.now) {
            Next::Run { vcpu, until } => (vcpu.vm().0, vcpu.id(), until.ns_since(self.now)),
            next => panic!("{next:?}, and one can run"),
        }
    }

    fn ran(&mut self, (vm, id, ns): (usize, u32, u64)) {
        self.now = self.now.after_ns(ns);
        self.scheduler.ran(self.vcpu(vm, id), ns);
    }

    /// Runs the next one for all its time.
    fn whole(&mut self) -> (usize, u32, u64) {
        let next = self.next();
        self.ran(next);
        next
    }

    fn halt(&mut self, vm: usize, id: u32) {
        self.scheduler.halted(self.vcpu(vm, id), Instant::FAR_FUTURE);
    }

    /// Whether the turn that runs ends.
    fn call(&mut self, vm: usize, id: u32) -> bool {
        let preemption = self.scheduler.called(self.vcpu(vm, id));
        preemption.shorten(Instant::FAR_FUTURE, self.now) == self.now
    }
}

#[test]
fn a_turn_is_divided_into_sub_slices_and_the_next_goes_on_where_it_ended() {
    let mut core = Core::new(&[3, 1]);
    let turns: Vec<_> = (0..9).map(|_| core.whole()).collect();
    let sub_slices = |ids: [u32; 2]| ids.map(|id| (0, id, SUB_SLICE_NS));
    for (turn, ids) in turns.chunks(3).zip([[0, 1], [2, 0], [1, 2]]) {
        assert_eq!(turn[..2], sub_slices(ids));
        assert_eq!(turn[2], (1, 0, 5 * MS));
    }
}

#[test]
fn a_called_one_jumps_in_for_its_part_and_the_tenure_goes_on() {
    let mut core = Core::new(&[2]);
    let _ = core.next();
    core.ran((0, 0, MS / 2));
    assert!(core.call(0, 1), "the turn ends");
    assert_eq!(core.next(), (0, 1, SUB_SLICE_NS / 2));
    core.ran((0, 1, 1000));
    core.halt(0, 1);
    assert_eq!(core.whole(), (0, 0, 2 * MS));
    assert_eq!(core.whole(), (0, 0, SUB_SLICE_NS - 1000), "the VM's turn ends before the tenure");
    assert_eq!(core.whole(), (0, 0, SUB_SLICE_NS), "the rest would be too short a turn");
}

#[test]
fn a_used_up_allowance_leaves_a_called_one_to_its_place() {
    let mut core = Core::new(&[2]);
    let _ = core.next();
    core.ran((0, 0, MS / 2));
    assert!(core.call(0, 1));
    assert_eq!(core.whole(), (0, 1, SUB_SLICE_NS / 2));
    assert!(!core.call(0, 1), "no more in this tenure");
    assert_eq!(core.whole(), (0, 0, 2 * MS));
    for half in 0..2 {
        assert_eq!(core.whole(), (0, 1, SUB_SLICE_NS / 2), "{half}: the VM's turn ends between");
    }
}

#[test]
fn the_one_called_last_goes_first_and_a_caller_gets_the_core_back() {
    let mut core = Core::new(&[3]);
    assert_eq!(core.next().1, 0);
    core.ran((0, 0, 1000));
    assert!(core.call(0, 1) && core.call(0, 2));
    assert_eq!(core.next().1, 2);
    core.ran((0, 2, 1000));
    assert!(core.call(0, 0), "an answer to the caller");
    assert_eq!(core.next().1, 0);
    core.ran((0, 0, 1000));
    assert_eq!(core.next().1, 2);
}

#[test]
fn a_spinning_one_lets_its_siblings_run_in_the_same_turn_of_the_vm() {
    let mut core = Core::new(&[2, 1]);
    for id in [0, 1, 0, 1] {
        assert_eq!((core.next().0, core.next().1), (0, id));
        core.ran((0, id, 1000));
        core.scheduler.spun(core.vcpu(0, id));
    }
    assert_eq!(core.next().0, 0);
}

#[test]
fn a_vm_yields_when_all_its_vcpus_poll_and_one_of_them_for_another_vm() {
    let mut core = Core::new(&[2, 1]);
    let _ = core.next();
    core.ran((0, 0, 1000));
    core.scheduler.yielded(core.vcpu(0, 0));
    assert_eq!((core.next().0, core.next().1), (0, 1));
    core.ran((0, 1, 1000));
    core.scheduler.spun(core.vcpu(0, 1));
    assert_eq!(core.next().0, 1);
}

#[test]
fn a_vm_halts_with_its_last_vcpu_and_wakes_with_the_first_timer() {
    let mut core = Core::new(&[3, 1]);
    core.scheduler.halted(core.vcpu(0, 0), Instant::from_ns(9 * MS));
    core.scheduler.halted(core.vcpu(0, 1), Instant::from_ns(3 * MS));
    core.scheduler.dormant(core.vcpu(0, 2));
    core.scheduler.halted(core.vcpu(1, 0), Instant::FAR_FUTURE);
    assert_eq!(core.scheduler.next(core.now), Next::Idle { until: Instant::from_ns(3 * MS) });
    core.now = Instant::from_ns(3 * MS);
    // Its sibling's timer ends its turn, if that is due before its time is over.
    assert_eq!(core.next(), (0, 1, SUB_SLICE_NS));
    assert!(core.scheduler.has_halted());
    assert!(!core.scheduler.is_runnable(core.vcpu(0, 0)));
    let due = core.scheduler.halted_until(core.vcpu(0, 0));
    assert_eq!(due, Some(Instant::from_ns(9 * MS)));
}

#[test]
fn a_timer_of_a_sibling_cuts_a_tenure_short() {
    let mut core = Core::new(&[2]);
    core.scheduler.halted(core.vcpu(0, 1), Instant::from_ns(MS));
    assert_eq!(core.whole(), (0, 0, MS));
    assert_eq!(core.next().1, 1);
}

#[test]
fn a_finished_vm_has_no_vcpu_left() {
    let mut core = Core::new(&[2, 2]);
    core.scheduler.finished(VmIndex(0));
    assert!(!core.call(0, 1) && !core.scheduler.is_runnable(core.vcpu(0, 1)));
    assert_eq!(core.next().0, 1);
    core.scheduler.finished(VmIndex(1));
    assert_eq!(core.scheduler.next(core.now), Next::Done);
}

#[test]
fn siblings_of_a_spinning_vm_have_equal_parts() {
    let mut core = Core::new(&[4, 1]);
    let mut received = [0_u64; 4];
    for _ in 0..4_000 {
        let (vm, id, ns) = core.next();
        // Each turn is left a little late.
        core.ran((vm, id, ns + 3_000));
        if vm == 0 {
            received[id as usize] += ns + 3_000;
        }
    }
    let total: u64 = received.iter().sum();
    for part in received {
        assert!((part * 4).abs_diff(total) * 100 < total, "{received:?}");
    }
}
