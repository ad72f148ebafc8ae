//! The lower level: which vCPU of a VM runs while the VM has the core.
//!
//! The vCPUs of a VM form a ring. The one at the cursor has a tenure of one sub-slice, which ends
//! when its time is used up, when it halts, and when it gives up; then the cursor moves on to the
//! next that is runnable. A vCPU that is called (a sibling sent it an interprocessor interrupt, or
//! its timer is due) jumps in, the last one called first, and the cursor stays. Jumps last
//! one `n`-th of a sub-slice a tenure in total, where the VM has `n` vCPUs. Before a runnable vCPU
//! has its place, each of its `n - 1` siblings has at most one tenure with jumps, and jumps of its
//! own tenure may precede it: it waits for at most
//! `(n - 1) * (1 + 1 / n) + 1 / n = n` sub-slices of its VM's core time.

use super::share::State;
use crate::Instant;
use alloc::vec;
use alloc::vec::Vec;

/// Less of a tenure, or of a jump, is no turn: the switch to it would take as long.
const LEAST_TURN_NS: i64 = 10_000;
/// One jump may last so long, if the allowance of the tenure does: an interrupt handler with
/// some exits.
const LEAST_JUMP_NS: i64 = 50_000;

/// The vCPUs of a VM that has several.
#[derive(Clone, Debug)]
pub(super) struct Siblings {
    vcpus: Vec<Vcpu>,
    sub_slice_ns: i64,
    /// What all jumps of one tenure may take, and one of them.
    jumps_ns: i64,
    jump_ns: i64,
    /// Whose tenure it is, or was last.
    cursor: usize,
    is_tenure_open: bool,
    /// What is left of the tenure, and of its allowance for jumps; negative after an overrun.
    left_ns: i64,
    jumps_left_ns: i64,
    /// The one chosen last.
    running: usize,
    /// Calls until now.
    calls: u64,
}

#[derive(Clone, Copy, Debug)]
struct Vcpu {
    state: State,
    call: Option<Call>,
    /// Why it gave up its last turn, if no sibling has done any work since.
    waits_for: Option<WaitsFor>,
}

/// A vCPU is to run before its place in the ring.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// The highest goes first.
    number: u64,
    left_ns: i64,
}

/// What a vCPU polls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// What another VM brings.
    AnotherVm,
    /// What a sibling does.
    Sibling,
}

impl Siblings {
    /// `count` runnable vCPUs, the first one first.
    pub fn new(count: u32, sub_slice_ns: u64) -> Self {
        let vcpu = Vcpu { state: State::Runnable, call: None, waits_for: None };
        let sub_slice_ns = i64::try_from(sub_slice_ns).unwrap_or(i64::MAX);
        let jumps_ns = sub_slice_ns / i64::from(count.max(2));
        Self {
            vcpus: vec![vcpu; count as usize],
            sub_slice_ns,
            jumps_ns,
            jump_ns: (jumps_ns / i64::from(count.max(2) - 1)).max(LEAST_JUMP_NS),
            cursor: count as usize - 1,
            is_tenure_open: false,
            left_ns: 0,
            jumps_left_ns: 0,
            running: 0,
            calls: 0,
        }
    }

    /// Which of them runs while the VM has the core until `until`, and until when; None if none
    /// is runnable.
    pub fn next(&mut self, until: Instant, now: Instant) -> Option<(u32, Instant)> {
        if !self.is_tenure_open {
            self.begin_tenure()?;
        }
        self.running = self.called().unwrap_or(self.cursor);
        let left_ns = match &mut self.vcpus[self.running].call {
            call if self.running == self.cursor => {
                *call = None;
                self.left_ns
            }
            Some(call) => call.left_ns.min(self.jumps_left_ns),
            None => 0,
        };
        let end = now.after_ns(u64::try_from(left_ns).unwrap_or(0));
        Some((self.running as u32, until.min(end).min(self.next_jump())))
    }

    fn begin_tenure(&mut self) -> Option<()> {
        let count = self.vcpus.len();
        let mut ring = (1..=count).map(|step| (self.cursor + step) % count);
        self.cursor = ring.find(|id| self.vcpus[*id].state == State::Runnable)?;
        self.is_tenure_open = true;
        self.left_ns = self.sub_slice_ns;
        self.jumps_left_ns = self.jumps_ns;
        Some(())
    }

    /// The one called last, if it may run now.
    fn called(&self) -> Option<usize> {
        let called = self.vcpus.iter().enumerate().filter_map(|(id, vcpu)| {
            let call = vcpu.call.filter(|_| vcpu.state == State::Runnable)?;
            Some((call.number, id))
        });
        called.max().filter(|_| self.may_jump()).map(|(_, id)| id)
    }

    const fn may_jump(&self) -> bool {
        self.jumps_left_ns >= LEAST_TURN_NS
    }

    /// When a timer calls one of them that may jump then.
    fn next_jump(&self) -> Instant {
        if self.may_jump() { self.next_timer() } else { Instant::FAR_FUTURE }
    }

    fn next_timer(&self) -> Instant {
        let timers = self.vcpus.iter().filter_map(|vcpu| match vcpu.state {
            State::Halted(until) => Some(until),
            State::Runnable | State::Held | State::Finished => None,
        });
        timers.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// `id` had the core for `ran_ns`.
    pub fn ran(&mut self, id: u32, ran_ns: u64) {
        let ran_ns = i64::try_from(ran_ns).unwrap_or(i64::MAX);
        if self.is_tenure_open && self.cursor == id as usize {
            self.left_ns = self.left_ns.saturating_sub(ran_ns);
            if self.left_ns < LEAST_TURN_NS {
                self.end_tenure();
            }
            return;
        }
        self.jumps_left_ns = self.jumps_left_ns.saturating_sub(ran_ns);
        let call = &mut self.vcpus[id as usize].call;
        if let Some(Call { left_ns, .. }) = call {
            *left_ns = left_ns.saturating_sub(ran_ns);
            if *left_ns < LEAST_TURN_NS {
                *call = None;
            }
        }
    }

    /// The holder of the tenure has done some work: what the others poll for may be there.
    fn end_tenure(&mut self) {
        self.is_tenure_open = false;
        self.vcpus.iter_mut().for_each(|vcpu| vcpu.waits_for = None);
    }

    /// `id` is in `state` now, and not runnable. The time at which the first of them wakes by
    /// itself, if none is runnable.
    pub fn rests(&mut self, id: u32, state: State) -> Option<Instant> {
        self.vcpus[id as usize] = Vcpu { state, call: None, waits_for: None };
        if self.cursor == id as usize {
            self.end_tenure();
        }
        let is_runnable = |vcpu: &Vcpu| vcpu.state == State::Runnable;
        (!self.vcpus.iter().any(is_runnable)).then(|| self.next_timer())
    }

    /// `id` polls, and the siblings go first. True if none of those that are runnable has
    /// anything better to do than to wait for another VM.
    pub fn gives_up(&mut self, id: u32, waits_for: WaitsFor) -> bool {
        let vcpu = &mut self.vcpus[id as usize];
        vcpu.waits_for = Some(waits_for);
        vcpu.call = None;
        if self.cursor == id as usize {
            self.is_tenure_open = false;
        }
        let runnable = || self.vcpus.iter().filter(|vcpu| vcpu.state == State::Runnable);
        let all_wait = runnable().all(|vcpu| vcpu.waits_for.is_some());
        let one_waits = runnable().any(|vcpu| vcpu.waits_for == Some(WaitsFor::AnotherVm));
        if all_wait {
            self.vcpus.iter_mut().for_each(|vcpu| vcpu.waits_for = None);
        }
        all_wait && one_waits
    }

    /// `id` has something to do. Does nothing to one that is runnable.
    pub fn woken(&mut self, id: u32) {
        let vcpu = &mut self.vcpus[id as usize];
        vcpu.waits_for = None;
        if let State::Halted(_) = vcpu.state {
            vcpu.state = State::Runnable;
            self.called_now(id);
        }
    }

    /// `id` is to run next, and is made runnable.
    pub fn called_now(&mut self, id: u32) {
        let vcpu = &mut self.vcpus[id as usize];
        if vcpu.state == State::Finished {
            return;
        }
        self.calls += 1;
        let call = Call { number: self.calls, left_ns: self.jump_ns };
        *vcpu = Vcpu { state: State::Runnable, call: Some(call), waits_for: None };
    }

    /// Wakes those whose timers are due. Whether there are any.
    pub fn wake_due(&mut self, now: Instant) -> bool {
        let mut is_any_due = false;
        for id in 0..self.vcpus.len() {
            if matches!(self.vcpus[id].state, State::Halted(until) if until <= now) {
                self.woken(id as u32);
                is_any_due = true;
            }
        }
        is_any_due
    }

    /// Whether another than the one that runs is to run now.
    pub fn is_running_one_preempted(&self) -> bool {
        self.called().is_some_and(|id| id != self.running)
    }

    /// None of them will run again, unless they are restarted.
    pub fn finished(&mut self) {
        self.vcpus.iter_mut().for_each(|vcpu| vcpu.state = State::Finished);
    }

    /// They are restarted: they sleep until they are woken.
    pub fn revived(&mut self) {
        let state = State::Halted(Instant::FAR_FUTURE);
        self.vcpus.fill(Vcpu { state, call: None, waits_for: None });
        self.end_tenure();
    }

    pub fn state(&self, id: u32) -> State {
        self.vcpus[id as usize].state
    }

    pub fn has_halted(&self) -> bool {
        self.vcpus.iter().any(|vcpu| matches!(vcpu.state, State::Halted(_)))
    }

    /// Whether a vCPU other than `own` could run at `now`.
    pub fn is_wanted_by_others(&self, own: u32, now: Instant) -> bool {
        self.vcpus.iter().enumerate().any(|(id, vcpu)| {
            id != own as usize
                && match vcpu.state {
                    State::Runnable => true,
                    State::Halted(until) => until <= now,
                    State::Held | State::Finished => false,
                }
        })
    }
}
