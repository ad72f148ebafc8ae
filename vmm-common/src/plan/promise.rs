//! How long a runnable VM waits for the core at most: `check` promises it, and the receipt
//! compares it with the measured wait. The host's time is not in it; the receipt separates that.

use super::{Plan, Share, VmPlan};
use crate::scheduler;

/// What a turn may take besides its quantum: the switch, the exit that its end waits for, the
/// console's output between two turns, and a remainder carried over. Measured: 0.1 ms over a KVM
/// that interprets, 0.27 ms of counted time in emulators (32 ns an instruction and more).
pub const TURN_OVERHEAD_NS: u64 = 300_000;

/// Budgets that sum to nearly the whole core may keep it for so long that no useful bound exists.
const MAX_WINDOW_NS: u128 = 100 * super::MAX_BUDGET_PERIOD_NS as u128;

impl Plan {
    /// How long VM `own` may have to wait for the core while it could run, ns.
    ///
    /// A VM with a weight waits at most for one turn of every other VM with a weight, for the jumps
    /// of VMs that wake into each of these turns and into its own, and for what the budgets may
    /// take meanwhile; for some rounds of these where its own quantum is so small that one turn's
    /// overrun, beside what it ran in advance, costs it the next. One with a budget may get it at
    /// the start of one period and at the end of the next.
    #[must_use]
    pub fn worst_blackout_ns(&self, own: usize) -> u64 {
        let others = (self.vms.len() as u64).saturating_sub(1);
        let weight = match self.vms[own].share {
            Share::Budget { run_ns, period_ns } => {
                let between_ns = period_ns.saturating_sub(run_ns);
                let times = if others == 0 { 1 } else { 2 };
                let overhead_ns = (others + 1) * TURN_OVERHEAD_NS;
                return between_ns.saturating_mul(times).saturating_add(overhead_ns);
            }
            Share::Weight(weight) => u128::from(weight),
        };
        let weights: u128 = self.vms.iter().filter_map(weight_of).sum();
        let weighted = self.vms.iter().filter_map(weight_of).count() as u128;
        let cycle_ns = u128::from(self.slice_ns) * weighted;
        let others_ns = cycle_ns * (weights - weight) / weights.max(1);
        let quantum_ns = |weight: u128| {
            u64::try_from((cycle_ns * weight / weights.max(1)).max(1)).unwrap_or(u64::MAX)
        };
        let own_ns = quantum_ns(weight);
        let owed_ns = TURN_OVERHEAD_NS.saturating_add(scheduler::advance_ns(own_ns));
        let paid_off = u128::from(owed_ns / own_ns);
        let rounds = 1 + paid_off.min(u128::from(scheduler::MAX_DEBT_QUANTA));
        // What a jump takes beyond its end is the overhead of a turn, once for each VM.
        let jumps_ns = |weight: u128| match scheduler::allowance_ns(quantum_ns(weight)) {
            0 => 0,
            allowance_ns => u128::from(allowance_ns) + u128::from(TURN_OVERHEAD_NS),
        };
        let jumps_ns = match weighted {
            1 => 0,
            // Into the other's turn only this VM itself jumps.
            2 => jumps_ns(weight),
            _ => self.vms.iter().filter_map(weight_of).map(jumps_ns).sum(),
        };
        // A VM alone on the core, too, waits between its turns.
        let overhead_ns = (weighted - 1).max(1) * u128::from(TURN_OVERHEAD_NS);
        let others_ns = others_ns + overhead_ns + jumps_ns;
        with_budgets(rounds * others_ns, self.vms.iter().filter_map(budget_of))
    }
}

fn weight_of(vm: &VmPlan) -> Option<u128> {
    match vm.share {
        Share::Weight(weight) => Some(weight.into()),
        Share::Budget { .. } => None,
    }
}

/// Run and period.
fn budget_of(vm: &VmPlan) -> Option<(u128, u128)> {
    match vm.share {
        Share::Budget { run_ns, period_ns } => Some((run_ns.into(), u128::from(period_ns.max(1)))),
        Share::Weight(_) => None,
    }
}

/// The time in which `turns_ns` of work complete beside budgets of higher priority.
///
/// Each may take the end of one period and the beginning of the next in one piece, as a deferrable
/// server does (Strosnider, Lehoczky and Sha, 1995).
fn with_budgets(turns_ns: u128, budgets: impl Iterator<Item = (u128, u128)> + Clone) -> u64 {
    let mut window_ns = turns_ns;
    loop {
        let taken_ns = |(run_ns, period_ns): (u128, u128)| {
            let jobs = (window_ns + period_ns.saturating_sub(run_ns)).div_ceil(period_ns);
            jobs * (run_ns + u128::from(TURN_OVERHEAD_NS))
        };
        let longer_ns = turns_ns + budgets.clone().map(taken_ns).sum::<u128>();
        if longer_ns == window_ns || longer_ns > MAX_WINDOW_NS {
            return u64::try_from(longer_ns).unwrap_or(u64::MAX);
        }
        window_ns = longer_ns;
    }
}
