//! The vCPUs of several VMs under any sequence of events: each that is runnable gets the core
//! within its VM's vCPUs times a sub-slice of its VM's core time, and the VM's share is what it
//! would be with one vCPU.

use crate::runner::check;
use proptest::collection::vec;
use proptest::prelude::*;
use vmm_common::Instant;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::plan::Share;
use vmm_common::scheduler::{Next, Scheduler};

const MS: u64 = 1_000_000;
const SLICE_NS: u64 = 5 * MS;
const MAX_OVERRUN_NS: u64 = 50_000;

/// How a turn goes, and what happens at its end.
#[derive(Clone, Copy, Debug)]
enum Step {
    SliceOver {
        overrun_ns: u64,
    },
    Halts {
        percent: u64,
        for_ns: u64,
    },
    Dormant {
        percent: u64,
    },
    Yields {
        percent: u64,
    },
    Spins {
        percent: u64,
    },
    /// It calls a sibling, and its turn ends if it must.
    Calls {
        percent: u64,
        sibling: u32,
    },
    /// A vCPU is woken, whatever its VM.
    Woken {
        vm: usize,
        id: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let percent = 0_u64..100;
    prop_oneof![
        6 => (0..MAX_OVERRUN_NS).prop_map(|overrun_ns| Step::SliceOver { overrun_ns }),
        4 => (percent.clone(), prop_oneof![0..10 * MS, Just(u64::MAX)])
            .prop_map(|(percent, for_ns)| Step::Halts { percent, for_ns }),
        1 => percent.clone().prop_map(|percent| Step::Dormant { percent }),
        2 => percent.clone().prop_map(|percent| Step::Yields { percent }),
        2 => percent.clone().prop_map(|percent| Step::Spins { percent }),
        6 => (percent, 0_u32..8).prop_map(|(percent, sibling)| Step::Calls { percent, sibling }),
        4 => (0_usize..4, 0_u32..8).prop_map(|(vm, id)| Step::Woken { vm, id }),
    ]
}

struct Model {
    scheduler: Scheduler,
    counts: Vec<u32>,
    firsts: Vec<VcpuIndex>,
    now: Instant,
    /// What siblings ran since it became runnable or ran last, ns; None while it is not runnable.
    waited: Vec<Vec<Option<u64>>>,
}

impl Model {
    fn new(counts: Vec<u32>) -> Self {
        let vms: Vec<_> = counts.iter().map(|count| (Share::Weight(1), *count)).collect();
        Self {
            scheduler: Scheduler::new(&vms, SLICE_NS),
            firsts: VcpuIndex::firsts(counts.iter().copied()).collect(),
            now: Instant::ZERO,
            waited: counts.iter().map(|count| vec![Some(0); *count as usize]).collect(),
            counts,
        }
    }

    fn play(&mut self, step: Step) {
        if let Step::Woken { vm, id } = step {
            let vm = vm % self.counts.len();
            let vcpu = self.firsts[vm].sibling(id % self.counts[vm]);
            let _ = self.scheduler.woken(vcpu);
            self.is_runnable_now(vcpu);
            return;
        }
        let next = self.scheduler.next(self.now);
        self.note_due();
        match next {
            Next::Run { vcpu, until } => self.run(vcpu, until, step),
            Next::Idle { until } => {
                let nothing = self.waited.iter().flatten().all(Option::is_none);
                assert!(nothing && until > self.now, "idle with work");
                self.now = until.min(self.now.after_ns(20 * MS));
            }
            Next::Done => panic!("no VM has finished"),
        }
    }

    fn run(&mut self, vcpu: VcpuIndex, until: Instant, step: Step) {
        let (vm, id) = (vcpu.vm().0, vcpu.id() as usize);
        assert!(self.waited[vm][id].is_some(), "{vcpu:?} cannot run");
        assert!(until > self.now, "a turn of no length");
        let whole_ns = until.ns_since(self.now);
        let ran_ns = match step {
            Step::SliceOver { overrun_ns } => whole_ns + overrun_ns,
            Step::Halts { percent, .. }
            | Step::Dormant { percent }
            | Step::Yields { percent }
            | Step::Spins { percent }
            | Step::Calls { percent, .. } => whole_ns * percent / 100,
            Step::Woken { .. } => 0,
        };
        self.now = self.now.after_ns(ran_ns);
        for waited in self.waited[vm].iter_mut().flatten() {
            *waited += ran_ns;
        }
        self.waited[vm][id] = Some(0);
        if let Step::Calls { sibling, .. } = step {
            let sibling = vcpu.sibling(sibling % self.counts[vm]);
            let preemption = self.scheduler.called(sibling);
            let ends = preemption.shorten(Instant::FAR_FUTURE, self.now) == self.now;
            assert!(!(ends && sibling == vcpu), "a call to itself");
            self.is_runnable_now(sibling);
        }
        self.scheduler.ran(vcpu, ran_ns);
        match step {
            Step::Halts { for_ns, .. } => {
                self.scheduler.halted(vcpu, self.now.after_ns(for_ns));
                self.waited[vm][id] = None;
            }
            Step::Dormant { .. } => {
                self.scheduler.dormant(vcpu);
                self.waited[vm][id] = None;
            }
            Step::Yields { .. } => self.scheduler.yielded(vcpu),
            Step::Spins { .. } => self.scheduler.spun(vcpu),
            Step::SliceOver { .. } | Step::Calls { .. } | Step::Woken { .. } => {}
        }
    }

    fn is_runnable_now(&mut self, vcpu: VcpuIndex) {
        assert!(self.scheduler.is_runnable(vcpu));
        let waited = &mut self.waited[vcpu.vm().0][vcpu.id() as usize];
        *waited = waited.or(Some(0));
    }

    /// The scheduler has woken those whose timers were due.
    fn note_due(&mut self) {
        for (vm, first) in self.firsts.clone().into_iter().enumerate() {
            for id in 0..self.counts[vm] {
                let vcpu = first.sibling(id);
                match self.scheduler.halted_until(vcpu) {
                    Some(until) => assert!(until > self.now, "{vcpu:?} sleeps too long"),
                    None => self.is_runnable_now(vcpu),
                }
            }
        }
    }

    /// Turns are left so much late at most.
    fn check(&self, overrun_ns: u64) {
        for (vm, waited) in self.waited.iter().enumerate() {
            let count = u64::from(self.counts[vm]);
            // A tenure and its jumps are each left late.
            let overruns_ns = (2 * count - 1) * overrun_ns;
            let bound_ns = count * Scheduler::sub_slice_ns(SLICE_NS) + overruns_ns;
            for (id, waited_ns) in waited.iter().enumerate() {
                let waited_ns = waited_ns.unwrap_or(0);
                assert!(waited_ns <= bound_ns || count == 1, "VM {vm}, vCPU {id}: {waited_ns}");
            }
        }
    }
}

#[test]
fn each_runnable_vcpu_runs_within_its_siblings_sub_slices() {
    check(3_000, (vec(1_u32..9, 1..4), vec(step(), 1..200)), |(counts, steps)| {
        let mut model = Model::new(counts);
        for step in steps {
            model.play(step);
            model.check(MAX_OVERRUN_NS);
        }
    });
}

#[test]
fn siblings_that_call_each_other_all_the_time_keep_no_sibling_waiting_for_longer() {
    let percent = prop_oneof![Just(1_u64), Just(50), Just(100)];
    let call = (percent, 1_u32..8).prop_map(|(percent, sibling)| Step::Calls { percent, sibling });
    check(1_000, vec(call, 200..400), |calls| {
        let mut model = Model::new(vec![8]);
        for call in calls {
            model.play(call);
            model.check(0);
        }
    });
}

#[test]
fn a_vm_gets_its_share_however_many_vcpus_it_has_and_whatever_they_send_each_other() {
    let inputs = (vec((1_u32..9, 1_u32..5), 2..4), vec((0_u32..9, 1_u64..101), 64));
    check(60, inputs, |(vms, habits)| {
        let shares: Vec<_> = vms.iter().map(|(n, weight)| (Share::Weight(*weight), *n)).collect();
        let mut scheduler = Scheduler::new(&shares, SLICE_NS);
        let mut received = vec![0_u64; vms.len()];
        let mut now = Instant::ZERO;
        for turn in 0..20_000 {
            let Next::Run { vcpu, until } = scheduler.next(now) else { panic!("all can run") };
            let (sibling, percent) = habits[turn % habits.len()];
            let VmIndex(vm) = vcpu.vm();
            let sibling = vcpu.sibling(sibling % vms[vm].0);
            let ran_ns = (until.ns_since(now) * percent / 100).max(10_000);
            let _ = scheduler.called(sibling);
            scheduler.ran(vcpu, ran_ns);
            scheduler.spun(vcpu);
            received[vm] += ran_ns;
            now = now.after_ns(ran_ns);
        }
        let weights: u64 = vms.iter().map(|(_, weight)| u64::from(*weight)).sum();
        for ((_, weight), received) in vms.iter().zip(&received) {
            let due_ns = now.as_ns() * u64::from(*weight) / weights;
            let allowed_ns = now.as_ns() / 100 + 4 * 5 * SLICE_NS;
            assert!(received.abs_diff(due_ns) <= allowed_ns, "{received} of {due_ns}");
        }
    });
}
