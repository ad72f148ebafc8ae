//! The upper level: which VM has the core. Deficit round robin among those with a weight, earliest
//! deadline first among those with a budget; see the module above. Jumps are in [`super::jumps`].

use super::jumps::{Jumps, LEAST_JUMP_NS};
use super::share::{Account, Entity, State};
use crate::Instant;
use crate::index::VmIndex;
use crate::plan::Share;
use alloc::vec::Vec;

/// What the core does next, by VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Run { vm: VmIndex, until: Instant },
    Idle { until: Instant },
    Done,
}

/// The VMs of one core.
#[derive(Clone, Debug)]
pub(super) struct Vms {
    entities: Vec<Entity>,
    /// The round robin's position: the entity with the turn, or the last one.
    turn: usize,
    /// The entity at `turn` still has this turn's grant.
    is_turn_open: bool,
    /// How many have halted, and how many have a budget.
    halted: usize,
    budgeted: usize,
    /// How many have finished.
    finished: usize,
    /// How many have halted, have woken and not run since, or have a budget: a switch skips the
    /// search at 0.
    irregular: usize,
    /// Some VM has yielded.
    has_yields: bool,
    jumps: Jumps,
}

impl Vms {
    /// One runnable VM per share, the first one first. A VM of average weight runs `slice_ns` at a
    /// time.
    pub fn new(shares: impl Iterator<Item = Share> + Clone, slice_ns: u64) -> Self {
        let weight = |share: Share| match share {
            Share::Weight(weight) => Some(u64::from(weight)),
            Share::Budget { .. } => None,
        };
        let weights: u64 = shares.clone().filter_map(weight).sum();
        let weighted = shares.clone().filter_map(weight).count();
        let cycle_ns = u128::from(slice_ns) * weighted as u128;
        let entities: Vec<Entity> =
            shares.map(|share| Entity::new(&share, cycle_ns, weights)).collect();
        let budgeted = entities.len() - weighted;
        Self {
            turn: entities.len().saturating_sub(1),
            budgeted,
            entities,
            is_turn_open: false,
            halted: 0,
            finished: 0,
            irregular: budgeted,
            has_yields: false,
            jumps: Jumps::new(),
        }
    }

    /// The next of the round, if it is ready and has credit: almost every switch. All have a
    /// weight, and no VM can wake by itself.
    #[inline]
    pub fn next_in_turn(&mut self, now: Instant) -> Option<(VmIndex, Instant)> {
        if self.irregular > 0 || self.is_turn_open {
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
        Some((VmIndex(turn), now.after_ns(left_ns)))
    }

    /// Which VM runs now, and until when, where it is not the next of the round or may not be.
    pub fn search(&mut self, now: Instant) -> Turn {
        self.wake_due(now);
        if let Some(next) = self.pick(now) {
            return next;
        }
        if self.entities.iter().all(|e| e.state == State::Finished) {
            return Turn::Done;
        }
        // Only those that yielded are left: they may poll again.
        if self.entities.iter().any(|e| e.state == State::Runnable && e.has_yielded) {
            self.forgive_yields();
            if let Some(next) = self.pick(now) {
                return next;
            }
        }
        Turn::Idle { until: self.next_event(now) }
    }

    /// `vm` had the core for `ran_ns`.
    pub fn ran(&mut self, vm: VmIndex, ran_ns: u64) {
        let ran = i64::try_from(ran_ns).unwrap_or(i64::MAX);
        match &mut self.entities[vm].account {
            Account::Weight { credit_ns, least_credit_ns, least_turn_ns, .. } => {
                *credit_ns = credit_ns.saturating_sub(ran).max(*least_credit_ns);
                if *credit_ns < *least_turn_ns && self.turn == vm.0 {
                    self.is_turn_open = false;
                }
            }
            Account::Budget { left_ns, .. } => *left_ns = left_ns.saturating_sub(ran),
        }
        if self.irregular > 0 {
            self.jumps.ran(vm, ran_ns);
        }
        // `vm` ran, so the yields of all others are done.
        if core::mem::take(&mut self.has_yields) {
            for (index, entity) in self.entities.iter_mut().enumerate() {
                entity.has_yielded &= index == vm.0;
                self.has_yields |= entity.has_yielded;
            }
        }
    }

    /// `vm` has nothing to do until `until` or until it is woken. It gives up its turn.
    pub fn halted(&mut self, vm: VmIndex, until: Instant) {
        if self.entities[vm].state == State::Held {
            return;
        }
        self.enter(vm, State::Halted(until));
        self.close_turn(vm);
    }

    /// `vm` polls for something another VM must bring; all others go first.
    pub fn yielded(&mut self, vm: VmIndex) {
        self.entities[vm].has_yielded = true;
        self.has_yields = true;
        self.jumps.end(vm);
        self.close_turn(vm);
    }

    /// `vm` has something to do. Does nothing to one that is runnable or finished. How much longer
    /// the turn that runs may last, if `vm` goes before the VM that has it.
    pub fn woken(&mut self, vm: VmIndex) -> Option<u64> {
        self.entities[vm].has_yielded = false;
        let State::Halted(_) = self.entities[vm].state else { return None };
        self.enter(vm, State::Runnable);
        let goes_first = match self.entities[vm].account {
            Account::Weight { .. } => self.entities[vm].advance_ns() >= LEAST_JUMP_NS,
            Account::Budget { left_ns, .. } => left_ns > 0,
        };
        (goes_first && self.jumps.may_interrupt).then(|| self.jumps.grace_ns())
    }

    /// `vm` does not run until it is released. It gives up its turn.
    pub fn held(&mut self, vm: VmIndex) {
        self.enter(vm, State::Held);
        self.close_turn(vm);
    }

    /// `vm`, which was held or has finished, may run: as one that sleeps until it is woken.
    pub fn released(&mut self, vm: VmIndex) {
        self.enter(vm, State::Halted(Instant::FAR_FUTURE));
    }

    /// `vm` will not run again, unless it is restarted.
    pub fn finished(&mut self, vm: VmIndex) {
        self.enter(vm, State::Finished);
        self.close_turn(vm);
    }

    pub fn state(&self, vm: VmIndex) -> State {
        self.entities[vm].state
    }

    /// How often a VM has run before its place in the ring.
    pub const fn jumps(&self) -> u64 {
        self.jumps.count()
    }

    /// Whether any VM has finished.
    pub const fn has_finished(&self) -> bool {
        self.finished > 0
    }

    /// Whether any VM has halted.
    pub const fn has_halted(&self) -> bool {
        self.halted > 0
    }

    fn enter(&mut self, vm: VmIndex, state: State) {
        let is_halted = |state| matches!(state, State::Halted(_));
        let entity = &mut self.entities[vm];
        let before = core::mem::replace(&mut entity.state, state);
        let was_halted = is_halted(before);
        self.finished += usize::from(state == State::Finished);
        self.finished -= usize::from(before == State::Finished);
        let wakes = was_halted && state == State::Runnable;
        let may_jump = wakes && matches!(entity.account, Account::Weight { .. });
        self.halted += usize::from(is_halted(state));
        self.halted -= usize::from(was_halted);
        self.irregular += usize::from(is_halted(state)) + usize::from(may_jump);
        self.irregular -= usize::from(was_halted) + usize::from(entity.woke.is_some());
        entity.woke = may_jump.then(|| self.jumps.next_wake());
        if !wakes {
            self.jumps.end(vm);
        }
    }

    /// `vm` runs: its wake-up is over.
    fn takes_core(&mut self, vm: usize) {
        self.irregular -= usize::from(self.entities[vm].woke.take().is_some());
    }

    /// Whether a VM other than `vm` could use the core at `now`.
    pub fn is_wanted_by_others(&self, vm: VmIndex, now: Instant) -> bool {
        self.entities.iter().enumerate().any(|(index, entity)| {
            index != vm.0
                && match entity.state {
                    State::Runnable => entity.may_run(now),
                    State::Halted(until) => until <= now,
                    State::Held | State::Finished => false,
                }
        })
    }

    fn close_turn(&mut self, vm: VmIndex) {
        if self.turn == vm.0 {
            self.is_turn_open = false;
        }
        if let Account::Weight { credit_ns, .. } = &mut self.entities[vm].account {
            *credit_ns = (*credit_ns).min(0);
        }
    }

    fn wake_due(&mut self, now: Instant) {
        if self.halted == 0 && self.budgeted == 0 {
            return;
        }
        for vm in VmIndex::first(self.entities.len()) {
            if matches!(self.entities[vm].state, State::Halted(until) if until <= now) {
                self.enter(vm, State::Runnable);
                self.entities[vm].has_yielded = false;
            }
            self.entities[vm].replenish(now);
        }
    }

    fn forgive_yields(&mut self) {
        for entity in &mut self.entities {
            entity.has_yielded = false;
        }
    }

    fn pick(&mut self, now: Instant) -> Option<Turn> {
        self.jumps.may_interrupt = false;
        self.pick_budgeted(now).or_else(|| self.pick_weighted(now))
    }

    /// Earliest deadline first among those with budget left.
    fn pick_budgeted(&self, now: Instant) -> Option<Turn> {
        if self.budgeted == 0 {
            return None;
        }
        let candidates = self.entities.iter().enumerate().filter_map(|(vm, entity)| {
            let Account::Budget { left_ns, period_end, .. } = entity.account else { return None };
            let left_ns = u64::try_from(left_ns).unwrap_or(0);
            (entity.is_ready() && left_ns > 0).then_some((period_end, vm, left_ns))
        });
        let (_, vm, left_ns) = candidates.min()?;
        let until = now.after_ns(left_ns).min(self.next_replenishment());
        Some(Turn::Run { vm: VmIndex(vm), until })
    }

    /// Deficit round robin among the weighted; not None if one of them is ready.
    fn pick_weighted(&mut self, now: Instant) -> Option<Turn> {
        let is_weighted = |entity: &Entity| matches!(entity.account, Account::Weight { .. });
        if !self.entities.iter().any(|entity| is_weighted(entity) && entity.is_ready()) {
            return None;
        }
        if !self.go_round(now) {
            self.pay_debts();
            if !self.go_round(now) {
                return None;
            }
        }
        Some(self.jump(now).unwrap_or_else(|| self.go_on(now)))
    }

    /// The jump that goes on or begins now, if there is one.
    fn jump(&mut self, now: Instant) -> Option<Turn> {
        let (vm, until) = match self.jumps.running(now) {
            Some((vm, until)) if self.entities[vm].is_ready() => (vm, until),
            Some(_) | None => {
                let vm = self.next_to_jump(now)?;
                self.takes_core(vm.0);
                (vm, self.jumps.begin(vm, self.entities[vm].advance_ns(), now))
            }
        };
        Some(Turn::Run { vm, until: until.min(self.next_replenishment()) })
    }

    /// Of those that have woken and may jump now, the first.
    fn next_to_jump(&self, now: Instant) -> Option<VmIndex> {
        if !self.jumps.is_open(self.turn, now) {
            return None;
        }
        let woken = self.entities.iter().enumerate().filter_map(|(vm, entity)| {
            let may_jump = entity.is_ready() && entity.advance_ns() >= LEAST_JUMP_NS;
            Some((entity.woke.filter(|_| may_jump)?, vm))
        });
        woken.min().map(|(_, vm)| VmIndex(vm))
    }

    /// The VM with the turn has the core, until its credit is used up or another VM preempts it.
    fn go_on(&mut self, now: Instant) -> Turn {
        self.jumps.may_interrupt = self.jumps.is_open(self.turn, now);
        let left_ns = match self.entities[self.turn].account {
            Account::Weight { credit_ns, .. } => u64::try_from(credit_ns).unwrap_or(0),
            Account::Budget { .. } => 0,
        };
        let until = now.after_ns(left_ns).min(self.next_preemption());
        Turn::Run { vm: VmIndex(self.turn), until }
    }

    /// Gives the turn to the next of the weighted that is ready and has credit after this lap's
    /// grants. True if there is one.
    fn go_round(&mut self, now: Instant) -> bool {
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
                // It has no use for this lap's grant but to pay what it owes.
                *credit_ns = credit_ns.saturating_add(*quantum_ns as i64).min(0);
                continue;
            }
            let quantum_ns = *quantum_ns;
            if is_new_turn {
                *credit_ns = credit_ns.saturating_add(quantum_ns as i64);
            }
            if *credit_ns > 0 {
                self.is_turn_open = true;
                if is_new_turn {
                    self.jumps.begin_turn(self.turn, quantum_ns, now);
                    self.takes_core(self.turn);
                }
                return true;
            }
        }
        false
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

    /// When the first VM with a budget and work is replenished: it may preempt.
    fn next_replenishment(&self) -> Instant {
        if self.budgeted == 0 {
            return Instant::FAR_FUTURE;
        }
        let ends = self.entities.iter().filter_map(|entity| {
            let Account::Budget { period_end, left_ns, .. } = entity.account else { return None };
            match entity.state {
                State::Runnable => Some(period_end),
                State::Halted(until) if left_ns > 0 => Some(until),
                State::Halted(until) => Some(until.max(period_end)),
                State::Held | State::Finished => None,
            }
        });
        ends.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// When the VM that runs is preempted, if its time is not over before: by a VM whose budget is
    /// replenished, or, where a jump may interrupt it, by one whose timer is due.
    #[inline]
    pub fn next_preemption(&self) -> Instant {
        if self.irregular == 0 {
            return Instant::FAR_FUTURE;
        }
        self.next_replenishment().min(self.next_jump())
    }

    fn next_jump(&self) -> Instant {
        if !self.jumps.may_interrupt {
            return Instant::FAR_FUTURE;
        }
        let timers = self.entities.iter().filter_map(|entity| match entity.state {
            State::Halted(until) if entity.advance_ns() >= LEAST_JUMP_NS => Some(until),
            State::Halted(_) | State::Runnable | State::Held | State::Finished => None,
        });
        timers.min().unwrap_or(Instant::FAR_FUTURE)
    }

    fn next_event(&self, now: Instant) -> Instant {
        let events = self.entities.iter().filter_map(|entity| match entity.state {
            State::Halted(until) => Some(until),
            State::Runnable => match entity.account {
                Account::Budget { period_end, .. } => Some(period_end),
                Account::Weight { .. } => Some(now),
            },
            State::Held | State::Finished => None,
        });
        events.min().unwrap_or(Instant::FAR_FUTURE)
    }
}
