//! Where every nanosecond of the core went.
//!
//! The core is always in exactly one [`Activity`]; [`Ledger::core_turns_to`] closes the one before
//! and opens the next, so the core's accounts add up to the time that passed by construction. A VM
//! is also always in exactly one [`Standing`], by the same rule. [`Ledger::check`] holds both
//! sums against the clock. So is each vCPU of a VM that has several ([`VcpuAccount`]).
//!
//! Time in which the host ran something else has its own account: it is taken out of the
//! activity in which it fell, and charged to no VM.

use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::plan::Share;
use alloc::vec::Vec;

mod account;
mod budget;
mod taken;
#[cfg(test)]
mod tests;
mod vcpus;

pub use account::VmAccount;
pub use budget::BudgetAccount;
pub use vcpus::VcpuAccount;

use taken::LastTaken;

/// What the core does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Running this VM's guest.
    Guest(VmIndex),
    /// Working on this VM's behalf: its exits, its devices.
    Vmm(VmIndex),
    /// Choosing and handing over.
    Switching,
    /// Reading keys and signals and writing output, between turns.
    Console,
    /// No VM can run.
    Idle,
}

/// What a VM does, from its owner's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has the core, or its exits are worked on.
    Running,
    /// It could run, but another has the core.
    Waiting,
    /// It has nothing to do.
    Halted,
    /// The operator or a debugger keeps it from running.
    Held,
    /// It does not run again, unless it is restarted.
    Ended,
}

impl Standing {
    const fn has_work(self) -> bool {
        matches!(self, Self::Running | Self::Waiting)
    }
}

/// The accounts of one core.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Each VM's, by index.
    pub vms: Vec<VmAccount>,
    /// Choosing and handing over, ns.
    pub switching_ns: u64,
    /// The part of it already checked for the host's, ns.
    switching_seen_ns: u64,
    /// Reading keys and signals and writing output between turns, ns.
    pub console_ns: u64,
    /// The part of it already checked for the host's, ns.
    console_seen_ns: u64,
    /// No VM could run, ns.
    pub idle_ns: u64,
    /// The host ran something else though a VM could run, ns.
    pub taken_ns: u64,
    /// Handovers from one VM to another.
    pub switches: u64,
    /// Handovers from one vCPU to another of the same VM.
    pub sibling_switches: u64,
    /// The vCPU that had the last turn in a VM with several, and `switches` at its end.
    last_vcpu: Option<(VcpuIndex, u64)>,
    /// Core time in stretches in which every VM had work, ns: what shares are measured on.
    pub contended_ns: u64,
    /// The turns of the stretch that is not over yet.
    stretch_turns: u64,
    /// VMs that run or wait, and the sum of their weights.
    with_work: usize,
    weight_with_work: u64,
    /// Core time of weighted VMs for a weight of 1, ns, times 2^32.
    due_per_weight: u128,
    /// When the host took the last of it.
    last_taken: LastTaken,
    /// A stretch of fewer turns says nothing about shares.
    min_stretch_turns: u64,
    activity: Activity,
    since: Instant,
    started: Instant,
}

impl Ledger {
    /// Accounts for a VM for each share and its vCPUs, all waiting, and a core that is choosing.
    /// Shares are measured on stretches of at least `min_stretch_turns` turns in which every VM had
    /// work without a pause.
    #[must_use]
    pub fn new(vms: &[(Share, u32)], min_stretch_turns: u64, now: Instant) -> Self {
        Self {
            vms: vms.iter().map(|(share, vcpus)| VmAccount::new(share, *vcpus, now)).collect(),
            with_work: vms.len(),
            weight_with_work: vms.iter().map(|(share, _)| account::weight(share)).sum(),
            due_per_weight: 0,
            last_taken: LastTaken::none(now),
            taken_ns: 0,
            switching_ns: 0,
            switching_seen_ns: 0,
            console_ns: 0,
            console_seen_ns: 0,
            idle_ns: 0,
            switches: 0,
            sibling_switches: 0,
            last_vcpu: None,
            contended_ns: 0,
            stretch_turns: 0,
            min_stretch_turns,
            activity: Activity::Switching,
            since: now,
            started: now,
        }
    }

    /// The run begins now, not when the accounts were opened: the time to start it is no
    /// VM's wait. For accounts on which nothing is booked yet.
    pub fn restart(&mut self, now: Instant) {
        (self.since, self.started, self.last_taken) = (now, now, LastTaken::none(now));
        for account in &mut self.vms {
            account.since = now;
            account.vcpus.iter_mut().for_each(|vcpu| vcpu.restart(now));
        }
    }

    /// When the run began.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// From `now` on the core does `next`.
    #[inline]
    pub fn core_turns_to(&mut self, next: Activity, now: Instant) {
        let spent_ns = now.ns_since(self.since);
        self.since = now;
        match core::mem::replace(&mut self.activity, next) {
            Activity::Guest(vm) => self.vms[vm].guest_ns += spent_ns,
            Activity::Vmm(vm) => self.vms[vm].vmm_ns += spent_ns,
            Activity::Switching => self.switching_ns += spent_ns,
            Activity::Console => self.console_ns += spent_ns,
            Activity::Idle => self.idle_ns += spent_ns,
        }
    }

    /// The VMM worked for `vm` until `entered`, and the guest ran for `guest_ns` from then: one
    /// update for an exit. The core goes on working for `vm`.
    #[inline]
    pub fn guest_ran(&mut self, vm: VmIndex, entered: Instant, guest_ns: u64) -> &mut VmAccount {
        debug_assert_eq!(self.activity, Activity::Vmm(vm));
        let account = &mut self.vms[vm];
        account.vmm_ns += entered.ns_since(self.since);
        account.guest_ns += guest_ns;
        self.since = entered.after_ns(guest_ns);
        account
    }

    /// The host took `ns` between turns since the last call. Takes them off the switching since
    /// then, then off the console's time, then off the idle time, which ended late.
    pub fn taken_from_no_vm(&mut self, ns: u64, now: Instant) {
        let switching_ns = ns.min(self.switching_ns - self.switching_seen_ns);
        let console_ns = (ns - switching_ns).min(self.console_ns - self.console_seen_ns);
        let idle_ns = (ns - switching_ns - console_ns).min(self.idle_ns);
        self.switching_ns -= switching_ns;
        self.console_ns -= console_ns;
        self.idle_ns -= idle_ns;
        self.switching_seen_ns = self.switching_ns;
        self.console_seen_ns = self.console_ns;
        self.note_taken(switching_ns + console_ns + idle_ns, now);
    }

    /// The host has taken `ns` of what was charged to `vm`.
    pub fn taken_from_vm(&mut self, vm: VmIndex, ns: u64, now: Instant) {
        let account = &mut self.vms[vm];
        let of_guest_ns = ns.min(account.guest_ns);
        let of_vmm_ns = (ns - of_guest_ns).min(account.vmm_ns);
        account.guest_ns -= of_guest_ns;
        account.vmm_ns -= of_vmm_ns;
        account.taken_ns += of_guest_ns + of_vmm_ns;
        self.note_taken(of_guest_ns + of_vmm_ns, now);
    }

    fn note_taken(&mut self, ns: u64, now: Instant) {
        self.taken_ns += ns;
        self.last_taken.add(ns, now);
    }

    /// What the host had taken by `at`, which may be before that was noticed, ns.
    fn taken_by(&self, at: Instant) -> u64 {
        self.taken_ns - self.last_taken.after(at)
    }

    /// What the core does now.
    #[must_use]
    pub const fn activity(&self) -> Activity {
        self.activity
    }

    /// `vcpu` gets the core at `now`: what passed since the core's last activity went into choosing
    /// it, less `taken_ns` that the host has taken of it, and the VMM works for it from now on.
    ///
    /// A switch from a sibling is no switch between VMs, but work for the VM; its time is returned,
    /// ns.
    #[inline(always)]
    pub fn begin_turn(&mut self, vcpu: VcpuIndex, taken_ns: u64, now: Instant) -> u64 {
        let vm = vcpu.vm();
        debug_assert_eq!(self.activity, Activity::Switching);
        let choosing_ns = now.ns_since(self.since);
        self.switching_ns += choosing_ns;
        self.since = now;
        self.activity = Activity::Vmm(vm);
        self.taken_from_no_vm(taken_ns, now);
        let is_plain = self.taken_ns == 0;
        let account = &mut self.vms[vm];
        account.turns += 1;
        if is_plain && account.standing == Standing::Waiting && account.is_plain {
            account.standing = Standing::Running;
            let now = now.max(account.since);
            let waited_ns = now.ns_since(account.since);
            account.since = now;
            account.waiting_ns += waited_ns;
            account.waited(waited_ns, 0);
            return 0;
        }
        let switch_ns = match account.vcpus.get_mut(vcpu.id() as usize) {
            Some(account) => {
                account.turns += 1;
                self.charge_switch(vcpu, choosing_ns.saturating_sub(taken_ns), now)
            }
            None => 0,
        };
        self.vcpu_turns_to(vcpu, Standing::Running, now);
        switch_ns
    }

    /// `vm`'s guest stopped at `over`; the switch to another is under way at
    /// `now`.
    #[inline]
    pub fn end_turn(&mut self, vm: VmIndex, over: Instant, now: Instant) {
        debug_assert_eq!(self.activity, Activity::Vmm(vm));
        let account = &mut self.vms[vm];
        account.vmm_ns += over.ns_since(self.since);
        account.leaving_ns += now.ns_since(over);
        self.switching_ns += now.ns_since(over.max(self.since));
        self.since = now;
        self.activity = Activity::Switching;
    }

    /// `vcpu` could run on, but another gets the core.
    #[inline]
    pub fn waits(&mut self, vcpu: VcpuIndex, now: Instant) {
        let account = &mut self.vms[vcpu.vm()];
        let is_plain = self.taken_ns == 0 && account.is_plain;
        if is_plain && account.standing == Standing::Running {
            account.standing = Standing::Waiting;
            account.since = now.max(account.since);
            account.taken_before_ns = 0;
            return;
        }
        self.vcpu_turns_to(vcpu, Standing::Waiting, now);
    }

    /// From `now` on this VM is in `standing`; with several vCPUs, [`Ledger::vcpu_turns_to`] says
    /// so but for the VM's end.
    pub fn vm_turns_to(&mut self, vm: VmIndex, standing: Standing, now: Instant) {
        if self.vms[vm].standing == standing {
            return;
        }
        // A halt whose timer was due before the turn was over ends the moment it begins.
        let now = now.max(self.vms[vm].since);
        let taken_ns = self.taken_by(now);
        let account = &mut self.vms[vm];
        let spent_ns = now.ns_since(account.since);
        account.since = now;
        self.with_work += usize::from(standing.has_work());
        self.with_work -= usize::from(account.standing.has_work());
        if standing.has_work() != account.standing.has_work() {
            account.settle_due(self.due_per_weight);
            if standing.has_work() {
                self.weight_with_work += account.weight;
            } else {
                self.weight_with_work -= account.weight;
            }
        }
        match core::mem::replace(&mut account.standing, standing) {
            Standing::Running => {}
            Standing::Waiting => {
                account.waiting_ns += spent_ns;
                if let Some(budget) = &mut account.budget {
                    budget.waits_no_more(now, standing == Standing::Running);
                }
                let taken_ns = (taken_ns - account.taken_before_ns).min(spent_ns);
                account.waited(spent_ns, taken_ns);
            }
            Standing::Halted => account.halted_ns += spent_ns,
            // Between its end and its restart.
            Standing::Held | Standing::Ended => account.held_ns += spent_ns,
        }
        if standing == Standing::Waiting {
            account.taken_before_ns = taken_ns;
            if let Some(budget) = &mut account.budget {
                budget.waits(now);
            }
        }
        if standing == Standing::Ended {
            account.lifetime_ns = now.ns_since(self.started);
            self.vcpus_turn_to(vm, standing, now);
        }
    }

    /// `vm` does not run until it is released.
    pub fn held(&mut self, vm: VmIndex, now: Instant) {
        self.vcpus_turn_to(vm, Standing::Held, now);
        self.vm_turns_to(vm, Standing::Held, now);
    }

    /// `vm`, which was held or had ended, goes on: with nothing to do, until its vCPUs are woken.
    pub fn released(&mut self, vm: VmIndex, now: Instant) {
        self.vcpus_turn_to(vm, Standing::Halted, now);
        self.vm_turns_to(vm, Standing::Halted, now);
    }

    /// `vm` had the core for `ran_ns`: charges its budget, or divides the time among weighted VMs
    /// with work as what each was due. Call before its standing changes.
    pub fn ran(&mut self, vm: VmIndex, ran_ns: u64) {
        match &mut self.vms[vm].budget {
            Some(budget) => budget.ran(ran_ns),
            None => {
                let weight = self.weight_with_work.max(1);
                // Of 64 bits where it can be, as this happens at every switch.
                self.due_per_weight += match u32::try_from(ran_ns) {
                    Ok(ns) => u128::from((u64::from(ns) << 32) / weight),
                    Err(_) => (u128::from(ran_ns) << 32) / u128::from(weight),
                };
            }
        }
    }

    /// Closes the budgets' periods that have ended by `now`.
    pub fn close_periods(&mut self, now: Instant) {
        for account in &mut self.vms {
            let waits_since = (account.standing == Standing::Waiting).then_some(account.since);
            if let Some(budget) = &mut account.budget
                && account.standing != Standing::Ended
            {
                budget.close(now, account.waiting_ns, waits_since);
            }
        }
    }

    /// `vm` had the core for `ran_ns` while every VM could have run, and would have had it longer.
    pub fn contended(&mut self, vm: VmIndex, ran_ns: u64) {
        self.vms[vm].stretch_ns += ran_ns;
        self.stretch_turns += 1;
    }

    /// Some VM has nothing to do: what was a stretch until now counts, if it was long enough.
    pub fn end_stretch(&mut self) {
        let counts = core::mem::take(&mut self.stretch_turns) >= self.min_stretch_turns;
        for account in &mut self.vms {
            let stretch_ns = core::mem::take(&mut account.stretch_ns);
            account.contended_ns += if counts { stretch_ns } else { 0 };
            self.contended_ns += if counts { stretch_ns } else { 0 };
        }
    }

    /// Whether every VM has something to run.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.with_work == self.vms.len()
    }

    /// Closes all accounts at `now`.
    pub fn close(&mut self, now: Instant) {
        self.end_stretch();
        self.close_periods(now);
        self.core_turns_to(Activity::Idle, now);
        for vm in VmIndex::first(self.vms.len()) {
            self.vm_turns_to(vm, Standing::Ended, now);
        }
    }

    /// Nanoseconds on all of the core's accounts.
    #[must_use]
    pub fn core_sum_ns(&self) -> u64 {
        let vms: u64 = self.vms.iter().map(VmAccount::core_ns).sum();
        vms + self.switching_ns + self.console_ns + self.idle_ns + self.taken_ns
    }

    /// Whether the accounts add up, to 1 %, to the `wall_ns` that passed by another clock.
    ///
    /// # Errors
    /// The sum that does not, ns.
    pub fn check(&self, wall_ns: u64) -> Result<(), u64> {
        let allowed_ns = wall_ns / 100 + 1;
        let core_ns = self.core_sum_ns();
        if core_ns.abs_diff(wall_ns) > allowed_ns {
            return Err(core_ns);
        }
        // A VM's own accounts miss only the gaps between the others' decisions.
        for vm in &self.vms {
            let sum_ns = vm.core_ns() + vm.taken_ns + vm.waiting_ns + vm.halted_ns + vm.held_ns;
            if sum_ns > vm.lifetime_ns + allowed_ns {
                return Err(sum_ns);
            }
        }
        self.check_vcpus(allowed_ns)
    }
}
