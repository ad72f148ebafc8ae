//! What one VM had, waited for and was due.

use super::{BudgetAccount, Standing, VcpuAccount};
use crate::Instant;
use crate::plan::Share;
use crate::seam::ExitReason;
use alloc::vec;
use alloc::vec::Vec;

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
    /// The operator or a debugger kept it from running, or it had ended and was restarted, ns.
    pub held_ns: u64,
    /// How often it was restarted.
    pub restarts: u64,
    /// From the first turn of the run to its end, ns.
    pub lifetime_ns: u64,
    /// Of its wait, leaving its guest at the ends of slices: the guest's exact stop is unknown,
    /// ns.
    pub leaving_ns: u64,
    /// [`VmAccount::leaving_ns`] as of the last switch between its vCPUs.
    pub(super) leaving_seen_ns: u64,
    /// The host took the core while this VM had it, ns.
    pub taken_ns: u64,
    /// The longest time it could have run but had to wait, and the host's part of it, ns.
    pub longest_blackout_ns: u64,
    /// See [`VmAccount::longest_blackout_ns`].
    pub longest_blackout_taken_ns: u64,
    /// The longest such time less the host's part of it, ns: what the plan promises a bound of.
    pub longest_own_blackout_ns: u64,
    /// What it was due, ns: of the core time of all VMs with a weight, by weight among those that
    /// had work.
    pub due_ns: u64,
    /// How its budget fared, if it has one.
    pub budget: Option<BudgetAccount>,
    /// Core time it got in stretches in which every VM had work, ns: what its share is measured on.
    pub contended_ns: u64,
    /// The same, in the stretch that is not over yet.
    pub(super) stretch_ns: u64,
    /// Turns it had.
    pub turns: u64,
    /// Exits, by [`ExitReason::kind`].
    pub exits: [u64; ExitReason::KINDS.len()],
    /// Accesses served without another VM exit (string I/O, batched writes).
    pub batched: u64,
    /// Interrupts injected.
    pub interrupts: u64,
    /// Each vCPU's, if there are several.
    pub vcpus: Vec<VcpuAccount>,
    /// It has no budget, and one vCPU.
    pub(super) is_plain: bool,
    pub(super) standing: Standing,
    pub(super) since: Instant,
    /// What the host had taken when it began to wait, ns.
    pub(super) taken_before_ns: u64,
    pub(super) weight: u64,
    /// [`Ledger::due_per_weight`] up to which `due_ns` is right.
    pub(super) due_seen: u128,
}

impl VmAccount {
    /// The account of a VM with this share and so many vCPUs that waits at `now`.
    pub(super) fn new(share: &Share, vcpus: u32, now: Instant) -> Self {
        let siblings = if vcpus > 1 { vcpus as usize } else { 0 };
        Self {
            guest_ns: 0,
            vmm_ns: 0,
            waiting_ns: 0,
            halted_ns: 0,
            held_ns: 0,
            restarts: 0,
            lifetime_ns: 0,
            leaving_ns: 0,
            leaving_seen_ns: 0,
            taken_ns: 0,
            longest_blackout_ns: 0,
            longest_blackout_taken_ns: 0,
            longest_own_blackout_ns: 0,
            due_ns: 0,
            budget: BudgetAccount::new(share, now),
            contended_ns: 0,
            stretch_ns: 0,
            turns: 0,
            exits: [0; ExitReason::KINDS.len()],
            batched: 0,
            interrupts: 0,
            vcpus: vec![VcpuAccount::new(now); siblings],
            is_plain: siblings == 0 && matches!(share, Share::Weight(_)),
            standing: Standing::Waiting,
            since: now,
            taken_before_ns: 0,
            weight: weight(share),
            due_seen: 0,
        }
    }

    /// A wait of `spent_ns` is over, of which the host took `taken_ns`.
    pub(super) fn waited(&mut self, spent_ns: u64, taken_ns: u64) {
        if spent_ns > self.longest_blackout_ns {
            self.longest_blackout_ns = spent_ns;
            self.longest_blackout_taken_ns = taken_ns;
        }
        self.longest_own_blackout_ns = self.longest_own_blackout_ns.max(spent_ns - taken_ns);
    }

    /// Brings what it was due up to date.
    pub(super) fn settle_due(&mut self, due_per_weight: u128) {
        let since = due_per_weight - core::mem::replace(&mut self.due_seen, due_per_weight);
        if self.standing.has_work() {
            self.due_ns += ((since * u128::from(self.weight)) >> 32) as u64;
        }
    }

    /// The time it was runnable: running or waiting, ns.
    #[must_use]
    pub const fn wanted_ns(&self) -> u64 {
        self.core_ns() + self.waiting_ns
    }

    /// Core time this VM received: in the guest and in the VMM on its behalf, ns.
    #[must_use]
    pub const fn core_ns(&self) -> u64 {
        self.guest_ns + self.vmm_ns
    }

    /// The number of exits.
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

/// A VM with a budget has no weight.
pub(super) fn weight(share: &Share) -> u64 {
    match share {
        Share::Weight(weight) => u64::from(*weight),
        Share::Budget { .. } => 0,
    }
}
