//! Which vCPU runs next, and for how long. Pure: no clock, no allocation after `new`, no locks.
//!
//! VMs with a weight are served by deficit round robin (Shreedhar and Varghese, 1995): a cycle
//! lasts as many slices as there are such vCPUs, divided among them by weight. A vCPU that overruns
//! pays from its next quantum, and one that is left with a remainder too short for a turn adds it
//! there, so shares are exact over time; one that halts or yields forfeits the rest of its
//! quantum. Every runnable vCPU therefore waits at most for the quanta of the
//! others.
//!
//! VMs with a budget run before them, the earliest end of a period first (EDF), until the
//! budget of the period is used up. [`crate::plan::check`] admits budgets up to 100 % in sum.

use crate::Instant;
use crate::index::VcpuIndex;
use crate::plan::Share;
use alloc::vec::Vec;

/// What the core does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run this vCPU until the moment named, unless it halts or yields before.
    Run {
        /// Index of the vCPU.
        vcpu: VcpuIndex,
        /// When its turn ends.
        until: Instant,
    },
    /// No vCPU can run before this moment, unless woken.
    Idle {
        /// When the first of them wakes by itself.
        until: Instant,
    },
    /// All have finished.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runnable,
    /// Until its next timer, or woken.
    Halted(Instant),
    Finished,
}

#[derive(Clone, Copy, Debug)]
enum Account {
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

#[derive(Clone, Copy, Debug)]
struct Entity {
    state: State,
    account: Account,
    /// It yielded while it polls; every other runnable one goes first.
    has_yielded: bool,
}

/// The scheduler of one core.
#[derive(Clone, Debug)]
pub struct Scheduler {
    entities: Vec<Entity>,
    /// The round robin's position: the entity with the turn, or the last one.
    turn: usize,
    /// The entity at `turn` still has this turn's grant.
    is_turn_open: bool,
    /// How many have halted, and how many have a budget: a switch skips the search at 0.
    halted: usize,
    budgeted: usize,
    /// Some vCPU has yielded.
    has_yields: bool,
}

impl Scheduler {
    /// A scheduler for one vCPU per share, all runnable, the first one first.
    ///
    /// `slice_ns` is what a vCPU of average weight runs at a time, and at least 1.
    #[must_use]
    pub fn new(shares: &[Share], slice_ns: u64) -> Self {
        let weight = |share: &Share| match share {
            Share::Weight(weight) => Some(u64::from(*weight)),
            Share::Budget { .. } => None,
        };
        let weights: u64 = shares.iter().filter_map(weight).sum();
        let weighted = shares.iter().filter_map(weight).count() as u64;
        let account = |share: &Share| match *share {
            Share::Weight(weight) => {
                let cycle_ns = u128::from(slice_ns) * u128::from(weighted);
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
        let entity =
            |share| Entity { state: State::Runnable, account: account(share), has_yielded: false };
        let entities: Vec<Entity> = shares.iter().map(entity).collect();
        Self {
            turn: entities.len().saturating_sub(1),
            budgeted: entities.len() - weighted as usize,
            entities,
            is_turn_open: false,
            halted: 0,
            has_yields: false,
        }
    }

    /// Which vCPU runs now, and until when.
    #[inline]
    pub fn next(&mut self, now: Instant) -> Next {
        if self.halted == 0
            && self.budgeted == 0
            && let Some(next) = self.next_in_turn(now)
        {
            return next;
        }
        self.search(now)
    }

    /// The next of the round, if it is ready and has credit: almost every switch. All have a
    /// weight, and no VM can wake by itself.
    #[inline]
    fn next_in_turn(&mut self, now: Instant) -> Option<Next> {
        if self.is_turn_open {
            return None;
        }
        let turn = if self.turn + 1 < self.entities.len() { self.turn + 1 } else { 0 };
        let entity = self.entities.get_mut(turn).filter(|entity| entity.is_ready())?;
        let Account::Weight { quantum_ns, credit_ns, .. } = &mut entity.account else {
            return None;
        };
        let credit = credit_ns.saturating_add(*quantum_ns as i64);
        let left_ns = u64::try_from(credit).ok().filter(|left_ns| *left_ns > 0)?;
        *credit_ns = credit;
        self.turn = turn;
        self.is_turn_open = true;
        Some(Next::Run { vcpu: VcpuIndex(turn), until: now.after_ns(left_ns) })
    }

    /// The same, among all.
    fn search(&mut self, now: Instant) -> Next {
        self.wake_due(now);
        if let Some(next) = self.pick(now) {
            return next;
        }
        if self.entities.iter().all(|e| e.state == State::Finished) {
            return Next::Done;
        }
        // Only those that yielded are left: they may poll again.
        if self.entities.iter().any(|e| e.state == State::Runnable && e.has_yielded) {
            self.forgive_yields();
            if let Some(next) = self.pick(now) {
                return next;
            }
        }
        Next::Idle { until: self.next_event(now) }
    }

    /// `vcpu` had the core for `ran_ns`.
    pub fn ran(&mut self, vcpu: VcpuIndex, ran_ns: u64) {
        let ran = i64::try_from(ran_ns).unwrap_or(i64::MAX);
        match &mut self.entities[vcpu].account {
            Account::Weight { credit_ns, least_credit_ns, least_turn_ns, .. } => {
                *credit_ns = credit_ns.saturating_sub(ran).max(*least_credit_ns);
                if *credit_ns < *least_turn_ns && self.turn == vcpu.0 {
                    self.is_turn_open = false;
                }
            }
            Account::Budget { left_ns, .. } => *left_ns = left_ns.saturating_sub(ran),
        }
        // `vcpu` ran, so the yields of all others are done.
        if core::mem::take(&mut self.has_yields) {
            for (index, entity) in self.entities.iter_mut().enumerate() {
                entity.has_yielded &= index == vcpu.0;
                self.has_yields |= entity.has_yielded;
            }
        }
    }

    /// `vcpu` has nothing to do until `until` or until it is woken. It gives up its turn.
    pub fn halted(&mut self, vcpu: VcpuIndex, until: Instant) {
        self.enter(vcpu, State::Halted(until));
        self.close_turn(vcpu);
    }

    /// `vcpu` polls for something another vCPU must bring; all others go first.
    pub fn yielded(&mut self, vcpu: VcpuIndex) {
        self.entities[vcpu].has_yielded = true;
        self.has_yields = true;
        self.close_turn(vcpu);
    }

    /// `vcpu` has something to do. Does nothing to one that is runnable or finished.
    pub fn woken(&mut self, vcpu: VcpuIndex) {
        self.entities[vcpu].has_yielded = false;
        if let State::Halted(_) = self.entities[vcpu].state {
            self.enter(vcpu, State::Runnable);
        }
    }

    /// `vcpu` will never run again.
    pub fn finished(&mut self, vcpu: VcpuIndex) {
        self.enter(vcpu, State::Finished);
        self.close_turn(vcpu);
    }

    /// Whether `vcpu` could run now.
    #[must_use]
    pub fn is_runnable(&self, vcpu: VcpuIndex) -> bool {
        self.entities[vcpu].state == State::Runnable
    }

    /// When `vcpu` wakes by itself, if it has halted.
    #[must_use]
    pub fn halted_until(&self, vcpu: VcpuIndex) -> Option<Instant> {
        match self.entities[vcpu].state {
            State::Halted(until) => Some(until),
            State::Runnable | State::Finished => None,
        }
    }

    /// Whether any vCPU has halted.
    #[must_use]
    pub fn has_halted(&self) -> bool {
        self.halted > 0
    }

    fn enter(&mut self, vcpu: VcpuIndex, state: State) {
        let is_halted = |state| matches!(state, State::Halted(_));
        self.halted += usize::from(is_halted(state));
        self.halted -= usize::from(is_halted(self.entities[vcpu].state));
        self.entities[vcpu].state = state;
    }

    /// Whether a vCPU other than `vcpu` could use the core at `now`.
    #[must_use]
    pub fn is_wanted_by_others(&self, vcpu: VcpuIndex, now: Instant) -> bool {
        self.entities.iter().enumerate().any(|(index, entity)| {
            index != vcpu.0
                && match entity.state {
                    State::Runnable => entity.may_run(now),
                    State::Halted(until) => until <= now,
                    State::Finished => false,
                }
        })
    }

    fn close_turn(&mut self, vcpu: VcpuIndex) {
        if self.turn == vcpu.0 {
            self.is_turn_open = false;
        }
        if let Account::Weight { credit_ns, .. } = &mut self.entities[vcpu].account {
            *credit_ns = (*credit_ns).min(0);
        }
    }

    fn wake_due(&mut self, now: Instant) {
        if self.halted == 0 && self.budgeted == 0 {
            return;
        }
        for entity in &mut self.entities {
            if matches!(entity.state, State::Halted(until) if until <= now) {
                entity.state = State::Runnable;
                entity.has_yielded = false;
                self.halted -= 1;
            }
            entity.replenish(now);
        }
    }

    fn forgive_yields(&mut self) {
        for entity in &mut self.entities {
            entity.has_yielded = false;
        }
    }

    fn pick(&mut self, now: Instant) -> Option<Next> {
        self.pick_budgeted(now).or_else(|| self.pick_weighted(now))
    }

    /// Earliest deadline first among those with budget left.
    fn pick_budgeted(&self, now: Instant) -> Option<Next> {
        if self.budgeted == 0 {
            return None;
        }
        let candidates = self.entities.iter().enumerate().filter_map(|(vcpu, entity)| {
            let Account::Budget { left_ns, period_end, .. } = entity.account else { return None };
            let left_ns = u64::try_from(left_ns).unwrap_or(0);
            (entity.is_ready() && left_ns > 0).then_some((period_end, vcpu, left_ns))
        });
        let (_, vcpu, left_ns) = candidates.min()?;
        let until = now.after_ns(left_ns).min(self.next_replenishment());
        Some(Next::Run { vcpu: VcpuIndex(vcpu), until })
    }

    /// Deficit round robin among the weighted; not None if one of them is ready.
    fn pick_weighted(&mut self, now: Instant) -> Option<Next> {
        let is_weighted = |entity: &Entity| matches!(entity.account, Account::Weight { .. });
        if !self.entities.iter().any(|entity| is_weighted(entity) && entity.is_ready()) {
            return None;
        }
        self.go_round(now).or_else(|| {
            self.pay_debts();
            self.go_round(now)
        })
    }

    /// The next of the weighted that is ready and has credit after this lap's grants.
    fn go_round(&mut self, now: Instant) -> Option<Next> {
        let count = self.entities.len();
        // One more than there are: the first may be the rest of an open turn.
        for _ in 0..=count {
            if !self.is_turn_open {
                self.turn = (self.turn + 1) % count;
            }
            let entity = &mut self.entities[self.turn];
            let is_new_turn = !core::mem::replace(&mut self.is_turn_open, false);
            let is_ready = entity.is_ready();
            let Account::Weight { quantum_ns, credit_ns, .. } = &mut entity.account else {
                continue;
            };
            if !is_ready {
                continue;
            }
            if is_new_turn {
                *credit_ns = credit_ns.saturating_add(*quantum_ns as i64);
            }
            if *credit_ns > 0 {
                let left_ns = u64::try_from(*credit_ns).unwrap_or(0);
                self.is_turn_open = true;
                let until = now.after_ns(left_ns).min(self.next_replenishment());
                return Some(Next::Run { vcpu: VcpuIndex(self.turn), until });
            }
        }
        None
    }

    /// All that are ready are in debt: grants them the laps in which they all would still be, at
    /// once.
    fn pay_debts(&mut self) {
        let ready = |entity: &&mut Entity| entity.is_ready();
        let laps = self.entities.iter_mut().filter(ready).filter_map(|entity| {
            let Account::Weight { quantum_ns, credit_ns, .. } = &entity.account else {
                return None;
            };
            Some(credit_ns.min(&0).unsigned_abs() / (*quantum_ns).max(1))
        });
        let laps = laps.min().unwrap_or(0);
        for entity in self.entities.iter_mut().filter(ready) {
            if let Account::Weight { quantum_ns, credit_ns, .. } = &mut entity.account {
                let paid_ns = laps.saturating_mul(*quantum_ns);
                *credit_ns = credit_ns.saturating_add_unsigned(paid_ns);
            }
        }
    }

    /// When the first vCPU with a budget and work is replenished: it may preempt.
    pub(crate) fn next_replenishment(&self) -> Instant {
        if self.budgeted == 0 {
            return Instant::FAR_FUTURE;
        }
        let ends = self.entities.iter().filter_map(|entity| {
            let Account::Budget { period_end, left_ns, .. } = entity.account else { return None };
            match entity.state {
                State::Runnable => Some(period_end),
                State::Halted(until) if left_ns > 0 => Some(until),
                State::Halted(until) => Some(until.max(period_end)),
                State::Finished => None,
            }
        });
        ends.min().unwrap_or(Instant::FAR_FUTURE)
    }

    fn next_event(&self, now: Instant) -> Instant {
        let events = self.entities.iter().filter_map(|entity| match entity.state {
            State::Halted(until) => Some(until),
            State::Runnable => match entity.account {
                Account::Budget { period_end, .. } => Some(period_end),
                Account::Weight { .. } => Some(now),
            },
            State::Finished => None,
        });
        events.min().unwrap_or(Instant::FAR_FUTURE)
    }
}

/// The most that a vCPU owes, in its quanta: what an overrun took beyond that is written off.
pub(crate) const MAX_DEBT_QUANTA: u64 = 4;
/// A remainder of a quantum that is shorter, or shorter than a quarter of it, gets no turn, which
/// would cost more than it is worth. It is added to the next quantum.
const MAX_REMAINDER_NS: i64 = 100_000;

impl Entity {
    fn is_ready(&self) -> bool {
        self.state == State::Runnable && !self.has_yielded
    }

    fn may_run(&self, now: Instant) -> bool {
        match self.account {
            Account::Weight { .. } => true,
            Account::Budget { left_ns, period_end, .. } => left_ns > 0 || period_end <= now,
        }
    }

    fn replenish(&mut self, now: Instant) {
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

#[cfg(test)]
mod tests;
