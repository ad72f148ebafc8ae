//! VMs that wake beside VMs that spin: slices of 5 ms, so that jumps have 625 us a turn, one of
//! them half of that, and a VM may run 1.25 ms in advance.

use super::{MS, only, runs, scheduler_of, turn};
use crate::Instant;
use crate::plan::Share;
use crate::scheduler::Scheduler;

const JUMP_NS: u64 = 312_500;

struct Core {
    scheduler: Scheduler,
    now: Instant,
}

impl Core {
    /// The last VM has the turn, after all others halted.
    fn new(shares: &[Share]) -> Self {
        let mut core = Self { scheduler: scheduler_of(shares, 5 * MS), now: Instant::ZERO };
        for vm in 0..shares.len() - 1 {
            core.scheduler.halted(only(vm), Instant::FAR_FUTURE);
        }
        assert_eq!(core.next().0, shares.len() - 1);
        core
    }

    /// The next VM, and how long its turn may last.
    fn next(&mut self) -> (usize, u64) {
        let (vm, until) = turn(self.scheduler.next(self.now)).expect("one can run");
        (vm, until.ns_since(self.now))
    }

    fn ran(&mut self, vm: usize, ns: u64) {
        self.now = self.now.after_ns(ns);
        self.scheduler.ran(only(vm), ns);
    }

    /// How long the turn may last on.
    fn wake(&mut self, vm: usize) -> u64 {
        let preemption = self.scheduler.woken(only(vm));
        preemption.shorten(Instant::FAR_FUTURE, self.now).ns_since(self.now)
    }

    fn halt(&mut self, vm: usize) {
        self.scheduler.halted(only(vm), Instant::FAR_FUTURE);
    }
}

#[test]
fn a_vm_that_wakes_jumps_in_and_the_turn_goes_on() {
    let mut core = Core::new(&[Share::Weight(1); 2]);
    core.ran(1, MS);
    assert_eq!(core.wake(0), JUMP_NS, "for so long the VM that woke it runs on");
    assert_eq!(core.next(), (0, JUMP_NS));
    core.ran(0, 1_000);
    core.halt(0);
    assert_eq!(core.next(), (1, 4 * MS));
    core.ran(1, 4 * MS);
    assert_eq!(core.next().0, 1, "its next turn");
}

#[test]
fn a_jump_is_charged_to_the_next_quantum() {
    let mut core = Core::new(&[Share::Weight(1); 2]);
    core.ran(1, MS);
    assert_eq!(core.wake(0), JUMP_NS);
    assert_eq!(core.next(), (0, JUMP_NS));
    core.ran(0, JUMP_NS);
    assert_eq!(core.next(), (1, 4 * MS), "its jump is over");
    core.ran(1, 4 * MS);
    assert_eq!(core.next(), (0, 5 * MS - JUMP_NS));
}

#[test]
fn jumps_are_so_long_in_one_turn_and_so_many() {
    let mut core = Core::new(&[Share::Weight(1); 2]);
    let mut jumps = 0;
    while core.wake(0) == JUMP_NS && core.next().0 == 0 {
        core.ran(0, 1_000);
        core.halt(0);
        jumps += 1;
        assert_eq!(core.next().0, 1);
        core.ran(1, 10_000);
        core.next();
    }
    assert_eq!(jumps, 32);
    let mut core = Core::new(&[Share::Weight(1); 2]);
    let mut jumped_ns = 0;
    while core.wake(0) == JUMP_NS && core.next().0 == 0 {
        core.ran(0, 200_000);
        core.halt(0);
        jumped_ns += 200_000;
        assert_eq!(core.next().0, 1);
        core.ran(1, 10_000);
        core.next();
    }
    // The fourth is cut to the rest of 25 us.
    assert_eq!(jumped_ns, 800_000);
}

#[test]
fn what_a_switch_takes_is_taken_from_the_jumps() {
    let mut core = Core::new(&[Share::Weight(1); 2]);
    assert_eq!(core.wake(0), JUMP_NS);
    assert_eq!(core.next().0, 0);
    core.now = core.now.after_ns(600_000);
    core.ran(0, 1_000);
    core.halt(0);
    assert_eq!(core.wake(0), u64::MAX - core.now.as_ns(), "the turn is not cut");
    core.now = core.now.after_ns(20_000);
    assert_eq!(core.next(), (1, 5 * MS), "24 us are left, and another switch");
}

#[test]
fn a_timer_that_may_jump_cuts_the_turn() {
    let mut core = Core::new(&[Share::Weight(1); 2]);
    core.scheduler.halted(only(0), Instant::from_ns(2 * MS));
    assert_eq!(core.next(), (1, 2 * MS));
    core.ran(1, 2 * MS);
    assert_eq!(core.next(), (0, JUMP_NS));
}

#[test]
fn those_that_wake_jump_in_the_order_of_their_wake_ups() {
    let mut core = Core::new(&[Share::Weight(1); 4]);
    for vm in [1, 0, 2] {
        assert_ne!(core.wake(vm), u64::MAX);
    }
    for vm in [1, 0, 2, 3] {
        assert_eq!(core.next().0, vm);
        core.ran(vm, 1_000);
        core.halt(vm);
    }
}

#[test]
fn a_vm_that_sleeps_pays_what_it_ran_in_advance_with_the_laps_that_pass() {
    let mut core = Core::new(&[Share::Weight(1); 2]);
    for _ in 0..50 {
        core.ran(1, 4 * MS);
        assert_eq!(core.wake(0), JUMP_NS);
        assert_eq!(core.next(), (0, JUMP_NS));
        core.ran(0, JUMP_NS - 1_000);
        core.halt(0);
        assert_eq!(core.next(), (1, MS));
        core.ran(1, MS);
        assert_eq!(core.next(), (1, 5 * MS));
    }
}

#[test]
fn a_budget_that_is_left_preempts_a_vm_with_a_weight() {
    let budget = Share::Budget { run_ns: 2 * MS, period_ns: 10 * MS };
    let mut core = Core::new(&[budget, Share::Weight(1)]);
    core.ran(1, MS);
    assert_eq!(core.wake(0), JUMP_NS);
    assert_eq!(core.next(), (0, 2 * MS));
}

#[test]
fn turns_too_short_for_jumps_have_none() {
    // A quantum of 60 us in a cycle of 400.
    let mut scheduler = scheduler_of(&[15, 85].map(Share::Weight), 200_000);
    scheduler.halted(only(1), Instant::FAR_FUTURE);
    assert!(runs(scheduler.next(Instant::ZERO), 0));
    let preemption = scheduler.woken(only(1));
    assert_eq!(preemption.shorten(Instant::FAR_FUTURE, Instant::ZERO), Instant::FAR_FUTURE);
    assert!(runs(scheduler.next(Instant::ZERO), 0));
}
