//! VMs that begin anew by themselves, as their plans say.

use super::System;
use crate::Instant;
use crate::control::Change;
use crate::ending::Ending;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::plan::{Outcomes, Restarts, VmPlan};
use crate::seam::{Fault, Host};
use alloc::collections::VecDeque;

/// Whether a VM begins anew after its end.
#[derive(Debug)]
pub(super) struct Restarter {
    policy: Restarts,
    /// What its endings without a status count as.
    pub(super) outcomes: Outcomes,
    /// When it did, the last times.
    recent: VecDeque<Instant>,
    /// It is to, before the next turn.
    is_due: bool,
}

/// What comes of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ends,
    Restarts,
    /// It would, but has done so too often.
    GivesUp,
}

impl Restarter {
    pub fn new(plan: &VmPlan) -> Self {
        let (policy, outcomes) = (plan.restarts, plan.outcomes);
        Self { policy, outcomes, recent: VecDeque::new(), is_due: false }
    }

    fn verdict(&mut self, ending: &Ending, now: Instant) -> Verdict {
        let is_wanted = match ending {
            Ending::Reset => self.policy.on_reset,
            // The host would refuse it again.
            Ending::Stopped { .. } | Ending::Fault(Fault::Host { .. }) => false,
            Ending::PowerOff { .. }
            | Ending::Panicked
            | Ending::TripleFault
            | Ending::HaltedForGood
            | Ending::Fault(_) => self.policy.on_failure && !ending.is_success(self.outcomes),
        };
        if !is_wanted {
            return Verdict::Ends;
        }
        let is_old = |at: &Instant| now.ns_since(*at) >= self.policy.within_ns;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.policy.times as usize {
            return Verdict::GivesUp;
        }
        self.recent.push_back(now);
        Verdict::Restarts
    }
}

impl<M: GuestMemory> System<M> {
    /// `vm` has ended. Whether it begins anew is decided now, and done before the next turn.
    pub(super) fn decide_restart<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        let Some(ending) = &self.vms[vm].ending else { return };
        match self.restarters[vm].verdict(ending, now) {
            Verdict::Ends => {}
            Verdict::Restarts => self.restarters[vm].is_due = true,
            Verdict::GivesUp => {
                let Restarts { times, within_ns, .. } = self.restarters[vm].policy;
                host.vm_changed(vm, Change::GivenUp { times, within_ns });
            }
        }
    }

    /// Begins those anew that are to.
    #[inline(never)]
    pub(super) fn restart_due<H: Host<M>>(&mut self, host: &mut H) {
        for vm in VmIndex::first(self.vms.len()) {
            if core::mem::take(&mut self.restarters[vm].is_due) {
                self.restart(vm, host);
            }
        }
    }

    /// Whether one is to.
    #[inline]
    pub(super) fn has_restarts_due(&self) -> bool {
        // A VM that is to begin anew has ended.
        self.scheduler.has_finished() && self.restarters.iter().any(|it| it.is_due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ImageSource, Outcome};
    use alloc::string::String;

    const S: u64 = 1_000_000_000;

    fn restarter(policy: Restarts, outcomes: Outcomes) -> Restarter {
        let plan = VmPlan::plain(0, ImageSource::Builtin(String::from("os")));
        Restarter::new(&VmPlan { restarts: policy, outcomes, ..plan })
    }

    fn at(s: u64) -> Instant {
        Instant::from_ns(s * S)
    }

    #[test]
    fn a_storm_of_resets_ends_and_a_slow_one_goes_on() {
        let policy = Restarts { on_reset: true, ..Restarts::default() };
        let mut fast = restarter(policy, Outcomes::default());
        for s in 0..3 {
            assert_eq!(fast.verdict(&Ending::Reset, at(s)), Verdict::Restarts);
        }
        assert_eq!(fast.verdict(&Ending::Reset, at(9)), Verdict::GivesUp);
        assert_eq!(fast.verdict(&Ending::Reset, at(10)), Verdict::Restarts, "the first is old");
        let mut slow = restarter(policy, Outcomes::default());
        for s in 0..100 {
            assert_eq!(slow.verdict(&Ending::Reset, at(4 * s)), Verdict::Restarts);
        }
    }

    #[test]
    fn each_ending_follows_its_own_key() {
        let success = Outcomes { on_halt: Outcome::Success, on_reset: Outcome::Failure };
        let failed = Ending::PowerOff { status: 7 };
        let well = Ending::PowerOff { status: 0 };
        let stopped = Ending::Stopped { why: "the run is over" };
        let refused = Ending::Fault(Fault::Host { errno: 12 });
        for (on_reset, on_failure) in [(false, false), (true, false), (false, true), (true, true)] {
            let policy = Restarts { on_reset, on_failure, ..Restarts::default() };
            let check = |ending: &Ending, outcomes: Outcomes, expected: bool| {
                let verdict = restarter(policy, outcomes).verdict(ending, at(1));
                let expected = if expected { Verdict::Restarts } else { Verdict::Ends };
                assert_eq!(verdict, expected, "{ending:?} {policy:?}");
            };
            check(&Ending::Reset, success, on_reset);
            check(&Ending::TripleFault, success, on_failure);
            check(&failed, success, on_failure);
            check(&Ending::HaltedForGood, Outcomes::default(), on_failure);
            check(&Ending::HaltedForGood, success, false);
            check(&well, success, false);
            check(&stopped, success, false);
            check(&refused, success, false);
        }
    }
}
