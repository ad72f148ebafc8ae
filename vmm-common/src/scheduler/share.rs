//! What a VM has of its share: its state among the VMs of the core, and what it may still run.

use crate::Instant;
use crate::plan::Share;

/// The most that a VM owes, in its quanta: what an overrun took beyond that is written off.
pub(crate) const MAX_DEBT_QUANTA: u64 = 4;
/// A remainder of a quantum that is shorter, or shorter than a quarter of it, gets no turn, which
/// would cost more than it is worth. It is added to the next quantum.
const MAX_REMAINDER_NS: i64 = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Runnable,
    /// Until its next timer, or woken.
    Halted(Instant),
    /// By the operator or a debugger, until released.
    Held,
    Finished,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Account {
    Weight {
        /// What one cycle grants, ns.
        quantum_ns: u64,
        /// What is left of this turn's grant; negative after an overrun.
        credit_ns: i64,
        /// The most negative it gets: see [`MAX_DEBT_QUANTA`].
        least_credit_ns: i64,
        /// Less is no turn of its own: see [`MAX_REMAINDER_NS`].
        least_turn_ns: i64,
    },
    Budget {
        run_ns: u64,
        period_ns: u64,
        /// What is left in this period, ns; negative after an overrun, which the next one pays.
        left_ns: i64,
        /// When the period ends and the budget is replenished.
        period_end: Instant,
    },
}

/// One VM of the core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entity {
    pub state: State,
    pub account: Account,
    /// It yielded while it polls; every other runnable one goes first.
    pub has_yielded: bool,
    /// It has woken and not run since: the number of this wake-up, to jump in their order.
    pub woke: Option<u64>,
}

impl Entity {
    /// A runnable VM with this share, where a weight of 1 is granted `cycle_ns / weights` in each
    /// cycle.
    pub fn new(share: &Share, cycle_ns: u128, weights: u64) -> Self {
        let account = match *share {
            Share::Weight(weight) => {
                let quantum = cycle_ns * u128::from(weight) / u128::from(weights.max(1));
                let quantum_ns =
                    u64::try_from(quantum).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 4);
                let quantum = quantum_ns as i64;
                Account::Weight {
                    quantum_ns,
                    credit_ns: 0,
                    least_credit_ns: quantum.saturating_mul(-(MAX_DEBT_QUANTA as i64)),
                    least_turn_ns: MAX_REMAINDER_NS.min(quantum / 4),
                }
            }
            Share::Budget { run_ns, period_ns } => Account::Budget {
                run_ns: run_ns.clamp(1, i64::MAX as u64 / 4),
                period_ns: period_ns.max(1),
                left_ns: 0,
                period_end: Instant::ZERO,
            },
        };
        Self { state: State::Runnable, account, has_yielded: false, woke: None }
    }

    pub fn is_ready(&self) -> bool {
        self.state == State::Runnable && !self.has_yielded
    }

    /// How much of its next quantum a VM with a weight may run in advance now, ns.
    pub fn advance_ns(&self) -> u64 {
        match self.account {
            Account::Weight { quantum_ns, credit_ns, .. } => {
                let advance_ns = super::jumps::advance_ns(quantum_ns);
                u64::try_from(credit_ns.saturating_add_unsigned(advance_ns)).unwrap_or(0)
            }
            Account::Budget { .. } => 0,
        }
    }

    pub fn may_run(&self, now: Instant) -> bool {
        match self.account {
            Account::Weight { .. } => true,
            Account::Budget { left_ns, period_end, .. } => left_ns > 0 || period_end <= now,
        }
    }

    pub fn replenish(&mut self, now: Instant) {
        if let Account::Budget { run_ns, period_ns, left_ns, period_end } = &mut self.account
            && *period_end <= now
        {
            let late_ns = now.ns_since(*period_end);
            let periods = late_ns / *period_ns + 1;
            *period_end = period_end.after_ns(periods.saturating_mul(*period_ns));
            // An overrun is paid back; an unused rest is forfeited.
            let debt_ns = (*left_ns).min(0);
            *left_ns = (*run_ns as i64).saturating_add(debt_ns).max(-(*run_ns as i64));
        }
    }
}
