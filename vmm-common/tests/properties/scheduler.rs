//! The scheduler under any sequence of events, against a model of its promises alone.

use crate::runner::check;
use proptest::collection::vec;
use proptest::prelude::*;
use vmm_common::Instant;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::plan::Share;
use vmm_common::scheduler::{Next, Scheduler};

const MS: u64 = 1_000_000;
const SLICE_NS: u64 = 5 * MS;
/// Less than the smallest quantum that `share` allows.
const MAX_OVERRUN_NS: u64 = 100_000;

/// A scheduler of VMs with one vCPU each.
fn scheduler_of(shares: &[Share]) -> Scheduler {
    let vms: Vec<(Share, u32)> = shares.iter().map(|share| (*share, 1)).collect();
    Scheduler::new(&vms, SLICE_NS)
}

fn only(vm: usize) -> VcpuIndex {
    VcpuIndex::only_of(VmIndex(vm))
}

/// How a turn goes, and what happens besides.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It runs to the end and a little more.
    SliceOver {
        overrun_ns: u64,
    },
    /// It halts after a part of its time, until then.
    Halts {
        percent: u64,
        for_ns: u64,
    },
    /// It yields after a part of its time.
    Yields {
        percent: u64,
    },
    Finishes,
    /// After a part of its time it wakes another, and runs on as far as it may.
    Wakes {
        percent: u64,
        other: usize,
    },
    /// No VM has the turn: one is woken, as by a byte.
    Woken(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..MAX_OVERRUN_NS).prop_map(|overrun_ns| Step::SliceOver { overrun_ns }),
        4 => (0_u64..100, prop_oneof![0..20 * MS, Just(u64::MAX)])
            .prop_map(|(percent, for_ns)| Step::Halts { percent, for_ns }),
        3 => (0_u64..100).prop_map(|percent| Step::Yields { percent }),
        4 => (0_usize..6).prop_map(Step::Woken),
        4 => (0_u64..100, 0_usize..6).prop_map(|(percent, other)| Step::Wakes { percent, other }),
        1 => Just(Step::Finishes),
    ]
}

fn weights() -> impl Strategy<Value = Vec<Share>> {
    vec((1_u32..8).prop_map(Share::Weight), 1..6)
}

fn mixed() -> impl Strategy<Value = Vec<Share>> {
    let budget = (1_u64..5, 5_u64..20)
        .prop_map(|(run, period)| Share::Budget { run_ns: run * MS, period_ns: period * MS });
    vec(prop_oneof![(1_u32..8).prop_map(Share::Weight), budget], 1..6)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Runnable,
    Halted(Instant),
    Finished,
}

/// A core that runs whom the scheduler names, and remembers who could have run.
struct Model {
    scheduler: Scheduler,
    shares: Vec<Share>,
    states: Vec<State>,
    now: Instant,
    /// Core time that went to others while it was ready, ns.
    passed_over_ns: Vec<u64>,
    /// Number of the period a budget is in, and what is left of it, ns.
    budgets: Vec<(u64, i64)>,
}

impl Model {
    fn new(shares: Vec<Share>) -> Self {
        let count = shares.len();
        Self {
            scheduler: scheduler_of(&shares),
            states: vec![State::Runnable; count],
            now: Instant::ZERO,
            passed_over_ns: vec![0; count],
            budgets: vec![(u64::MAX, 0); count],
            shares,
        }
    }

    fn play(&mut self, steps: &[Step]) {
        for step in steps {
            if let Step::Woken(vcpu) = *step {
                self.wake(vcpu % self.states.len());
                continue;
            }
            self.wake_due();
            self.grant();
            let next = self.scheduler.next(self.now);
            match next {
                Next::Run { vcpu, until } => self.run(vcpu.vm().0, until, *step),
                Next::Idle { until } => self.idle(until),
                Next::Done => {
                    assert!(self.states.iter().all(|state| *state == State::Finished));
                    return;
                }
            }
            self.now = self.now.after_ns(50);
        }
    }

    fn wake(&mut self, vcpu: usize) {
        let _ = self.scheduler.woken(only(vcpu));
        if let State::Halted(_) = self.states[vcpu] {
            self.states[vcpu] = State::Runnable;
        }
    }

    fn wake_due(&mut self) {
        for state in &mut self.states {
            if matches!(*state, State::Halted(until) if until <= self.now) {
                *state = State::Runnable;
            }
        }
    }

    fn run(&mut self, vcpu: usize, until: Instant, step: Step) {
        assert_eq!(self.states[vcpu], State::Runnable, "{vcpu} cannot run");
        assert!(until > self.now, "a turn of no length");
        assert!(self.may_run(vcpu), "{vcpu} has used up its budget");
        let whole_ns = until.ns_since(self.now);
        let ran_ns = match step {
            Step::SliceOver { overrun_ns } => whole_ns + overrun_ns,
            Step::Halts { percent, .. } | Step::Yields { percent } => whole_ns * percent / 100,
            Step::Wakes { percent, other } => self.wakes(other, whole_ns * percent / 100, until),
            Step::Finishes | Step::Woken(_) => 0,
        };
        self.budgets[vcpu].1 -= ran_ns.cast_signed();
        self.now = self.now.after_ns(ran_ns);
        self.scheduler.ran(only(vcpu), ran_ns);
        self.passed_over_ns[vcpu] = 0;
        match step {
            Step::SliceOver { .. } | Step::Wakes { .. } | Step::Woken(_) => {}
            Step::Halts { for_ns, .. } => {
                let until = self.now.after_ns(for_ns);
                self.scheduler.halted(only(vcpu), until);
                self.states[vcpu] = State::Halted(until);
            }
            Step::Yields { .. } => self.scheduler.yielded(only(vcpu)),
            Step::Finishes => {
                self.scheduler.finished(VmIndex(vcpu));
                self.states[vcpu] = State::Finished;
            }
        }
        for (other, state) in self.states.iter().enumerate() {
            let waits = other != vcpu && *state == State::Runnable;
            let passed_over = &mut self.passed_over_ns[other];
            *passed_over = if waits { *passed_over + ran_ns } else { 0 };
        }
    }

    /// It runs for `before_ns`, wakes another, and runs on. How long it runs in all.
    fn wakes(&mut self, other: usize, before_ns: u64, until: Instant) -> u64 {
        let other = other % self.states.len();
        let preemption = self.scheduler.woken(only(other));
        if let State::Halted(_) = self.states[other] {
            self.states[other] = State::Runnable;
        }
        let end = preemption.shorten(until, self.now.after_ns(before_ns));
        end.ns_since(self.now)
    }

    fn idle(&mut self, until: Instant) {
        assert!(until > self.now, "idle for no time");
        for vcpu in 0..self.states.len() {
            let could_run = self.states[vcpu] == State::Runnable && self.may_run(vcpu);
            assert!(!could_run, "{vcpu} could run and the core idles");
        }
        // A VM that halts for good would be woken by another; else time passes.
        let wakes = until.min(self.now.after_ns(20 * MS));
        self.now = wakes;
    }

    /// Each period grants a budget anew, less what was overrun before.
    fn grant(&mut self) {
        for (share, (period, left_ns)) in self.shares.iter().zip(&mut self.budgets) {
            let Share::Budget { run_ns, period_ns } = *share else { continue };
            let run_ns = run_ns.cast_signed();
            let current = self.now.as_ns() / period_ns;
            if *period != current {
                *left_ns = (run_ns + (*left_ns).min(0)).max(-run_ns);
                *period = current;
            }
        }
    }

    fn may_run(&self, vcpu: usize) -> bool {
        match self.shares[vcpu] {
            Share::Weight(_) => true,
            Share::Budget { .. } => self.budgets[vcpu].1 > 0,
        }
    }

    /// Every other's quantum once and an eighth of each for jumps, each with an overrun.
    fn longest_wait_ns(&self, vcpu: usize) -> u64 {
        let weight = |share: &Share| match share {
            Share::Weight(weight) => u64::from(*weight),
            Share::Budget { .. } => panic!("only weights bound a wait like this"),
        };
        let sum: u64 = self.shares.iter().map(weight).sum();
        let count = self.shares.len() as u64;
        let others = sum - weight(&self.shares[vcpu]);
        let cycle_ns = SLICE_NS * count;
        cycle_ns * others / sum + cycle_ns / 8 + 2 * count * (MAX_OVERRUN_NS + 1)
    }
}

#[test]
fn only_who_can_run_is_run_and_nobody_idles_who_could() {
    check(1_000, (mixed(), vec(step(), 1..120)), |(shares, steps)| {
        Model::new(shares).play(&steps);
    });
}

#[test]
fn nobody_who_is_ready_waits_longer_than_for_the_others_quanta() {
    check(1_000, (weights(), vec(step(), 1..120)), |(shares, steps)| {
        let mut model = Model::new(shares);
        for step in steps {
            model.play(&[step]);
            for (vcpu, passed_over_ns) in model.passed_over_ns.iter().enumerate() {
                let bound_ns = model.longest_wait_ns(vcpu);
                assert!(*passed_over_ns <= bound_ns, "{vcpu}: {passed_over_ns} of {bound_ns}");
            }
        }
    });
}

#[test]
fn after_an_overrun_of_any_length_somebody_runs_at_once() {
    check(300, (weights(), any::<u64>()), |(shares, overrun_ns)| {
        let mut scheduler = scheduler_of(&shares);
        for _ in 0..3 {
            for _ in 0..shares.len() {
                let next = scheduler.next(Instant::ZERO);
                let Next::Run { vcpu, .. } = next else { panic!("{next:?}, and all could run") };
                scheduler.ran(vcpu, overrun_ns);
            }
        }
    });
}
