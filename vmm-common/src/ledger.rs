//! Where every nanosecond of the core went.
//!
//! The core is always in exactly one [`Activity`]; [`Ledger::core_turns_to`] closes the one before
//! and opens the next, so the core's accounts add up to the time that passed by construction. A VM
//! is besides always in exactly one [`Standing`], by the same rule. [`Ledger::check`] holds both
//! sums against the clock.

use crate::Instant;
use crate::seam::ExitReason;
use alloc::vec::Vec;

/// What the core does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Running this VM's guest.
    Guest(usize),
    /// Working on this VM's behalf: its exits, its devices.
    Vmm(usize),
    /// Choosing and handing over.
    Switching,
    /// Nobody can run.
    Idle,
}

/// What a VM does, seen from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has the core, or its exits are worked on.
    Running,
    /// It could run, but another has the core.
    Waiting,
    /// It has nothing to do.
    Halted,
    /// It will not run again.
    Ended,
}

impl Standing {
    const fn has_work(self) -> bool {
        matches!(self, Self::Running | Self::Waiting)
    }
}

/// One VM's accounts.
#[derive(Clone, Debug)]
pub struct VmAccount {
    /// Guest instructions ran, ns.
    pub guest_ns: u64,
    /// The VMM worked for it, ns.
    pub vmm_ns: u64,
    /// It could have run but had to wait, ns.
    pub waiting_ns: u64,
    /// It had nothing to do, ns.
    pub halted_ns: u64,
    /// From the first turn of the run to its end, ns.
    pub lifetime_ns: u64,
    /// The longest time it could have run but had to wait, ns.
    pub longest_blackout_ns: u64,
    /// Core time it got in stretches in which every VM had work, ns: what its share is measured on.
    pub contended_ns: u64,
    /// The same, in the stretch that is not over yet.
    stretch_ns: u64,
    /// Turns it had.
    pub turns: u64,
    /// Times the guest was left, by [`ExitReason::kind`].
    pub exits: [u64; ExitReason::KINDS.len()],
    /// Accesses served without leaving the guest once more (string I/O, batched writes).
    pub batched: u64,
    /// Interrupts injected.
    pub interrupts: u64,
    standing: Standing,
    since: Instant,
}

/// The accounts of one core.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Each VM's, by index.
    pub vms: Vec<VmAccount>,
    /// Choosing and handing over, ns.
    pub switching_ns: u64,
    /// Nobody could run, ns.
    pub idle_ns: u64,
    /// Handovers from one VM to another.
    pub switches: u64,
    /// Core time in stretches in which every VM had work, ns: what shares are measured on.
    pub contended_ns: u64,
    /// The turns of the stretch that is not over yet.
    stretch_turns: u64,
    /// VMs that run or wait.
    with_work: usize,
    /// A stretch of fewer turns says nothing about shares.
    min_stretch_turns: u64,
    activity: Activity,
    since: Instant,
    started: Instant,
}

impl Ledger {
    /// Accounts for `vms` VMs, all waiting, and a core that is choosing. Shares are measured on
    /// stretches of at least `min_stretch_turns` turns in which every VM had work without a pause.
    #[must_use]
    pub fn new(vms: usize, min_stretch_turns: u64, now: Instant) -> Self {
        let account = VmAccount {
            guest_ns: 0,
            vmm_ns: 0,
            waiting_ns: 0,
            halted_ns: 0,
            lifetime_ns: 0,
            longest_blackout_ns: 0,
            contended_ns: 0,
            stretch_ns: 0,
            turns: 0,
            exits: [0; ExitReason::KINDS.len()],
            batched: 0,
            interrupts: 0,
            standing: Standing::Waiting,
            since: now,
        };
        Self {
            vms: alloc::vec![account; vms],
            with_work: vms,
            switching_ns: 0,
            idle_ns: 0,
            switches: 0,
            contended_ns: 0,
            stretch_turns: 0,
            min_stretch_turns,
            activity: Activity::Switching,
            since: now,
            started: now,
        }
    }

    /// From `now` on the core does `next`.
    pub fn core_turns_to(&mut self, next: Activity, now: Instant) {
        let spent_ns = now.ns_since(self.since);
        self.since = now;
        match core::mem::replace(&mut self.activity, next) {
            Activity::Guest(vm) => self.vms[vm].guest_ns += spent_ns,
            Activity::Vmm(vm) => self.vms[vm].vmm_ns += spent_ns,
            Activity::Switching => self.switching_ns += spent_ns,
            Activity::Idle => self.idle_ns += spent_ns,
        }
    }

    /// What the core does now.
    #[must_use]
    pub const fn activity(&self) -> Activity {
        self.activity
    }

    /// From `now` on this VM is in `standing`.
    pub fn vm_turns_to(&mut self, vm: usize, standing: Standing, now: Instant) {
        let account = &mut self.vms[vm];
        if account.standing == standing {
            return;
        }
        // A halt whose timer was due before the turn was over ends the moment it begins.
        let now = now.max(account.since);
        let spent_ns = now.ns_since(account.since);
        account.since = now;
        self.with_work += usize::from(standing.has_work());
        self.with_work -= usize::from(account.standing.has_work());
        match core::mem::replace(&mut account.standing, standing) {
            Standing::Running | Standing::Ended => {}
            Standing::Waiting => {
                account.waiting_ns += spent_ns;
                account.longest_blackout_ns = account.longest_blackout_ns.max(spent_ns);
            }
            Standing::Halted => account.halted_ns += spent_ns,
        }
        if standing == Standing::Ended {
            account.lifetime_ns = now.ns_since(self.started);
        }
    }

    /// `vm` had the core for `ran_ns` while every VM could have run, and would have had it longer.
    pub fn contended(&mut self, vm: usize, ran_ns: u64) {
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
        self.core_turns_to(Activity::Idle, now);
        for vm in 0..self.vms.len() {
            self.vm_turns_to(vm, Standing::Ended, now);
        }
    }

    /// Nanoseconds on all of the core's accounts.
    #[must_use]
    pub fn core_sum_ns(&self) -> u64 {
        let vms: u64 = self.vms.iter().map(VmAccount::core_ns).sum();
        vms + self.switching_ns + self.idle_ns
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
        // A VM's own accounts miss only what its turns spend between two others' decisions.
        for vm in &self.vms {
            let sum_ns = vm.core_ns() + vm.waiting_ns + vm.halted_ns;
            if sum_ns > vm.lifetime_ns + allowed_ns {
                return Err(sum_ns);
            }
        }
        Ok(())
    }
}

impl VmAccount {
    /// Core time this VM received: in the guest and in the VMM on its behalf, ns.
    #[must_use]
    pub const fn core_ns(&self) -> u64 {
        self.guest_ns + self.vmm_ns
    }

    /// Times the guest was left.
    #[must_use]
    pub fn exit_count(&self) -> u64 {
        self.exits.iter().sum()
    }

    /// What the VM does now.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }
}
