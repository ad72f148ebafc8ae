//! The scheduler and the ledger alone, with VMs of 1 to 8 vCPUs that halt, wake, call each other,
//! spin, yield and end, in any order.
//!
//! | held | by |
//! |---|---|
//! | only a runnable vCPU is chosen, and the core idles only when there is none | `turn`, `idle` |
//! | each runs within its VM's vCPUs times a sub-slice of its VM's core time | `check_waits` |
//! | no VM waits for longer than its plan promises | `finish` |
//! | the accounts of the core, of each VM and of each vCPU add up, to the nanosecond | `finish` |

use crate::seed::{Random, for_each_seed};
use vmm_common::Instant;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::ledger::{Activity, Ledger, Standing, VcpuAccount};
use vmm_common::plan::{ImageSource, OnSwitch, Plan, Share, VmPlan};
use vmm_common::scheduler::{Next, Scheduler};

const MS: u64 = 1_000_000;
const MAX_OVERRUN_NS: u64 = 20_000;
const SWITCH_NS: u64 = 2_000;
const SLICES_NS: [u64; 4] = [200_000, MS, 5 * MS, 20 * MS];

struct Core {
    plan: Plan,
    scheduler: Scheduler,
    ledger: Ledger,
    random: Random,
    now: Instant,
    last_vm: Option<VmIndex>,
    vcpus: Vec<Vec<VcpuIndex>>,
    /// What its VM ran since this vCPU became runnable or ran last, ns; None if it cannot run.
    waited: Vec<Vec<Option<u64>>>,
    has_ended: Vec<bool>,
}

impl Core {
    fn new(random: &Random) -> Self {
        let vm = |index| {
            let share = Share::Weight(random.pick(&[1, 1, 2, 5]));
            let vcpu_count = random.pick(&[1, 1, 2, 3, 4, 8]);
            let kernel = ImageSource::Builtin(String::from("simulated"));
            VmPlan { share, vcpu_count, ..VmPlan::plain(index, kernel) }
        };
        let vms: Vec<_> = (0..random.within(1, 4) as usize).map(vm).collect();
        let slice_ns = random.pick(&SLICES_NS);
        let on_switch = OnSwitch::default();
        let (links, networks) = (Vec::new(), Vec::new());
        let plan = Plan { slice_ns, on_switch, core: None, vms, links, networks };
        let shares = plan.shares();
        let firsts = VcpuIndex::firsts(shares.iter().map(|(_, count)| *count));
        let all = |(first, (_, count)): (VcpuIndex, &(Share, u32))| {
            (0..*count).map(|id| first.sibling(id)).collect::<Vec<_>>()
        };
        let vcpus: Vec<_> = firsts.zip(&shares).map(all).collect();
        Self {
            scheduler: Scheduler::new(&shares, slice_ns),
            ledger: Ledger::new(&shares, 1, Instant::ZERO),
            random: random.fork(),
            now: Instant::ZERO,
            last_vm: None,
            waited: vcpus.iter().map(|vcpus| vec![Some(0); vcpus.len()]).collect(),
            has_ended: vec![false; vcpus.len()],
            vcpus,
            plan,
        }
    }

    fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            self.note_due();
            let next = self.scheduler.next(self.now);
            match next {
                Next::Run { vcpu, until } => self.turn(vcpu, until),
                Next::Idle { until } => self.idle(until),
                Next::Done => {
                    assert!(self.has_ended.iter().all(|has_ended| *has_ended));
                    break;
                }
            }
            self.check_waits();
        }
        self.finish();
    }

    /// Those whose timers are due wait from then on.
    fn note_due(&mut self) {
        for vcpu in self.vcpus.concat() {
            if let Some(due) = self.scheduler.halted_until(vcpu)
                && due <= self.now
            {
                self.ledger.vcpu_turns_to(vcpu, Standing::Waiting, due);
                self.is_runnable(vcpu);
            }
        }
    }

    fn is_runnable(&mut self, vcpu: VcpuIndex) {
        let waited = &mut self.waited[vcpu.vm()][vcpu.id() as usize];
        *waited = waited.or(Some(0));
    }

    fn turn(&mut self, vcpu: VcpuIndex, until: Instant) {
        let (vm, id) = (vcpu.vm(), vcpu.id() as usize);
        assert!(self.waited[vm][id].is_some() && !self.has_ended[vm.0], "{vcpu:?} cannot run");
        assert!(until > self.now, "a turn of no length");
        let begin = self.now.after_ns(SWITCH_NS);
        let switch_ns = self.ledger.begin_turn(vcpu, 0, begin);
        self.ledger.switches += u64::from(self.last_vm.is_some_and(|last| last != vm));
        self.last_vm = Some(vm);
        let mut until = if switch_ns > 0 { until } else { until.after_ns(SWITCH_NS) };
        self.now = begin;
        for _ in 0..self.random.below(4) {
            let left_ns = until.ns_since(self.now);
            self.now = self.now.after_ns(self.random.below(left_ns + 1));
            until = self.wake_some(vcpu, until);
        }
        let is_whole = self.random.flip();
        if is_whole {
            self.now = until.max(self.now).after_ns(self.random.below(MAX_OVERRUN_NS));
        }
        let ran_ns = self.now.ns_since(begin);
        let over = self.now;
        self.ledger.guest_ran(vm, begin, ran_ns);
        self.ledger.end_turn(vm, over, over);
        let charged_ns = ran_ns + switch_ns;
        self.ledger.ran(vm, charged_ns);
        self.scheduler.ran(vcpu, charged_ns);
        for waited in self.waited[vm].iter_mut().flatten() {
            *waited += charged_ns;
        }
        self.waited[vm][id] = Some(0);
        if is_whole {
            self.ledger.waits(vcpu, over);
        } else {
            self.end_turn(vcpu);
        }
    }

    /// It calls a sibling, or wakes a vCPU of any VM. When its turn ends then.
    fn wake_some(&mut self, vcpu: VcpuIndex, until: Instant) -> Instant {
        let vm = match self.random.flip() {
            true => vcpu.vm(),
            false => VmIndex(self.random.below(self.vcpus.len() as u64) as usize),
        };
        let other = self.random.pick(&self.vcpus[vm]);
        if self.has_ended[vm.0] {
            assert!(!self.scheduler.is_runnable(other));
            return until;
        }
        let preemption = match vm == vcpu.vm() && self.random.flip() {
            true => self.scheduler.called(other),
            false => self.scheduler.woken(other),
        };
        if self.waited[vm][other.id() as usize].is_none() {
            self.ledger.vcpu_turns_to(other, Standing::Waiting, self.now);
            self.is_runnable(other);
        }
        preemption.shorten(until, self.now)
    }

    /// Why it gives up the core.
    fn end_turn(&mut self, vcpu: VcpuIndex) {
        match self.random.below(32) {
            0..16 => {
                let longest_ns = self.random.pick(&[10_000, MS, 30 * MS]);
                let until = self.now.after_ns(1 + self.random.below(longest_ns));
                self.rest(vcpu, until);
            }
            16..20 => self.rest(vcpu, Instant::FAR_FUTURE),
            20..25 => {
                self.ledger.waits(vcpu, self.now);
                self.scheduler.yielded(vcpu);
            }
            25..31 => {
                self.ledger.waits(vcpu, self.now);
                self.scheduler.spun(vcpu);
            }
            _ if self.random.once_in(8) => self.end(vcpu.vm()),
            _ => self.ledger.waits(vcpu, self.now),
        }
    }

    fn rest(&mut self, vcpu: VcpuIndex, until: Instant) {
        self.scheduler.halted(vcpu, until);
        self.ledger.vcpu_turns_to(vcpu, Standing::Halted, self.now);
        self.waited[vcpu.vm()][vcpu.id() as usize] = None;
    }

    fn end(&mut self, vm: VmIndex) {
        self.scheduler.finished(vm);
        self.ledger.vm_turns_to(vm, Standing::Ended, self.now);
        self.waited[vm].iter_mut().for_each(|waited| *waited = None);
        self.has_ended[vm.0] = true;
    }

    fn idle(&mut self, until: Instant) {
        assert!(until > self.now, "idle for no time");
        assert!(self.waited.iter().flatten().all(Option::is_none), "idle, and one could run");
        self.ledger.core_turns_to(Activity::Idle, self.now);
        self.now = until.min(self.now.after_ns(50 * MS));
        self.ledger.core_turns_to(Activity::Switching, self.now);
        if until > self.now {
            // As a key would.
            let vm = VmIndex(self.random.below(self.vcpus.len() as u64) as usize);
            if !self.has_ended[vm.0] {
                let vcpu = self.random.pick(&self.vcpus[vm]);
                let _ = self.scheduler.woken(vcpu);
                self.ledger.vcpu_turns_to(vcpu, Standing::Waiting, self.now);
                self.is_runnable(vcpu);
            }
        }
    }

    fn check_waits(&self) {
        let sub_slice_ns = Scheduler::sub_slice_ns(self.plan.slice_ns);
        for (vm, waited) in self.waited.iter().enumerate() {
            let count = waited.len() as u64;
            // A tenure and its jumps are each left late, and last for the switch to them longer.
            let overruns_ns = (2 * count - 1) * (MAX_OVERRUN_NS + SWITCH_NS);
            let bound_ns = count * sub_slice_ns + overruns_ns;
            for waited_ns in waited.iter().flatten().filter(|_| count > 1) {
                assert!(*waited_ns <= bound_ns, "VM {vm}: {waited:?}, allowed: {bound_ns}");
            }
        }
    }

    fn finish(&mut self) {
        self.ledger.close(self.now);
        let elapsed_ns = self.now.as_ns();
        assert_eq!(self.ledger.core_sum_ns(), elapsed_ns);
        assert_eq!(self.ledger.check(elapsed_ns), Ok(()));
        for (vm, account) in self.ledger.vms.iter().enumerate() {
            let sum_ns = account.core_ns() + account.waiting_ns + account.halted_ns;
            assert_eq!(sum_ns, account.lifetime_ns, "VM {vm}: {account:?}");
            let promised_ns = self.plan.worst_blackout_ns(vm);
            let longest_ns = account.longest_own_blackout_ns;
            assert!(longest_ns <= promised_ns, "VM {vm}: {longest_ns} of {promised_ns}");
            if account.vcpus.is_empty() {
                continue;
            }
            for vcpu in &account.vcpus {
                assert_eq!(vcpu.sum_ns(), account.lifetime_ns, "VM {vm}: {vcpu:?}");
            }
            let own = |vcpu: &VcpuAccount| vcpu.running_ns + vcpu.switches_ns;
            let running_ns: u64 = account.vcpus.iter().map(own).sum();
            let guest_ns: u64 = account.vcpus.iter().map(|vcpu| vcpu.guest_ns).sum();
            let turns: u64 = account.vcpus.iter().map(|vcpu| vcpu.turns).sum();
            assert_eq!((running_ns, guest_ns), (account.core_ns(), account.guest_ns));
            assert_eq!(turns, account.turns);
        }
    }
}

#[test]
fn vcpus_that_do_anything_run_in_time_and_their_accounts_add_up() {
    for_each_seed(4_000, |random| Core::new(random).run(300));
}
