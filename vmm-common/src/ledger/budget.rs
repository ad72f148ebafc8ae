//! How a VM with a budget fared, period by period. Periods begin at multiples of their length, as
//! the scheduler's do.
//!
//! In a period in which it had work at all the VM wanted its run. It got it if it used the budget
//! up, or had no work left; it missed it if it had to wait meanwhile and some of the budget was
//! left over.

use crate::Instant;
use crate::plan::Share;

/// A shortfall of less is the cost of a turn's end, and not a missed period, ns.
const TOLERANCE_NS: u64 = crate::plan::TURN_OVERHEAD_NS;

/// What became of a VM's budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetAccount {
    /// The run in each period, ns.
    pub run_ns: u64,
    /// The period, ns.
    pub period_ns: u64,
    /// Periods in which it wanted its run and got it.
    pub met: u64,
    /// Periods in which it wanted its run and did not get it all.
    pub missed: u64,
    /// The most that was missing at the end of a period, ns.
    pub worst_shortfall_ns: u64,
    /// The longest time from when it could have run on its budget to when it did, ns.
    pub worst_response_ns: u64,
    /// The end of the period that is not over yet.
    period_end: Instant,
    /// What it had used and waited when this period began, ns.
    used_before_ns: u64,
    waited_before_ns: u64,
    /// Core time that it has used in all, ns.
    used_ns: u64,
    /// Since when it has waited with budget left, if it has.
    ready_since: Option<Instant>,
}

impl BudgetAccount {
    /// An account for `share`, if that is a budget, of a VM that waits at `now`.
    pub(super) fn new(share: &Share, now: Instant) -> Option<Self> {
        let Share::Budget { run_ns, period_ns } = *share else { return None };
        let period_ns = period_ns.max(1);
        Some(Self {
            run_ns,
            period_ns,
            met: 0,
            missed: 0,
            worst_shortfall_ns: 0,
            worst_response_ns: 0,
            period_end: Instant::from_ns((now.as_ns() / period_ns + 1).saturating_mul(period_ns)),
            used_before_ns: 0,
            waited_before_ns: 0,
            used_ns: 0,
            ready_since: Some(now),
        })
    }

    /// It had the core for so long.
    pub(super) const fn ran(&mut self, ns: u64) {
        self.used_ns += ns;
    }

    /// It begins to wait for the core; without budget left, only from the next period on.
    pub(super) fn waits(&mut self, now: Instant) {
        let is_used_up = self.used_ns - self.used_before_ns >= self.run_ns;
        self.ready_since = Some(if is_used_up { now.max(self.period_end) } else { now });
    }

    /// It waits no more: it has the core, or nothing to do.
    pub(super) fn waits_no_more(&mut self, now: Instant, has_core: bool) {
        if let Some(since) = self.ready_since.take()
            && has_core
        {
            self.worst_response_ns = self.worst_response_ns.max(now.ns_since(since));
        }
    }

    /// Closes the periods that have ended by `now`. The VM has waited for `waited_ns` in all, since
    /// `waits_since` without a pause if it waits.
    pub(super) fn close(&mut self, now: Instant, waited_ns: u64, waits_since: Option<Instant>) {
        if now < self.period_end {
            return;
        }
        let end = self.period_end;
        let waited_ns = waited_ns + waits_since.map_or(0, |since| end.ns_since(since));
        let used_ns = self.used_ns.saturating_sub(self.used_before_ns);
        // A turn that the period's end cuts ends a little later, and the VM waits from then on.
        let has_work = waits_since.is_some_and(|since| since <= end.after_ns(TOLERANCE_NS));
        let left_ns = if has_work { self.run_ns.saturating_sub(used_ns) } else { 0 };
        let waited_in_it_ns = waited_ns.saturating_sub(self.waited_before_ns);
        self.close_some(used_ns, waited_in_it_ns, left_ns, 1);
        // No turn was in the periods that follow: the VM waited all the time, or had nothing to do.
        let more = now.ns_since(end) / self.period_ns;
        let skipped_ns = more * self.period_ns;
        let is_waiting = waits_since.is_some_and(|since| since <= end);
        if is_waiting && more > 0 {
            self.close_some(0, self.period_ns, self.run_ns, more);
        }
        self.used_before_ns = self.used_ns;
        self.waited_before_ns = waited_ns + if is_waiting { skipped_ns } else { 0 };
        self.period_end = end.after_ns(skipped_ns + self.period_ns);
    }

    fn close_some(&mut self, used_ns: u64, waited_ns: u64, left_ns: u64, periods: u64) {
        let shortfall_ns = left_ns.min(waited_ns);
        if shortfall_ns > TOLERANCE_NS {
            self.missed += periods;
            self.worst_shortfall_ns = self.worst_shortfall_ns.max(shortfall_ns);
        } else if used_ns > 0 || waited_ns > 0 {
            self.met += periods;
        }
    }

    /// Its core time as a part of the periods in which it wanted it, parts of a million.
    #[must_use]
    pub fn received_ppm(&self) -> Option<u64> {
        let wanted_ns = u128::from(self.met + self.missed) * u128::from(self.period_ns);
        let ppm = u128::from(self.used_before_ns) * 1_000_000 / wanted_ns.max(1);
        (wanted_ns > 0).then(|| u64::try_from(ppm).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(ms: u64) -> Instant {
        Instant::from_ns(ms * MS)
    }

    /// 2 ms in every 10.
    fn account() -> BudgetAccount {
        let share = Share::Budget { run_ns: 2 * MS, period_ns: 10 * MS };
        BudgetAccount::new(&share, ms(0)).expect("a budget")
    }

    #[test]
    fn a_used_budget_is_met_and_the_wait_for_the_next_is_no_response() {
        let mut account = account();
        for period in 0..3 {
            let begin = period * 10;
            account.close(ms(begin), (8 * period) * MS, None);
            account.waits_no_more(ms(begin), true);
            account.ran(2 * MS);
            account.waits(ms(begin + 2));
        }
        account.close(ms(30), 16 * MS, Some(ms(22)));
        assert_eq!((account.met, account.missed, account.worst_response_ns), (3, 0, 0));
        assert_eq!(account.received_ppm(), Some(200_000));
    }

    #[test]
    fn what_others_kept_of_the_run_is_a_missed_period() {
        let mut account = account();
        account.waits_no_more(ms(9), true);
        account.ran(MS / 2);
        account.waits(ms(9));
        account.close(ms(10), 9 * MS, Some(ms(9)));
        assert_eq!((account.met, account.missed), (0, 1));
        assert_eq!((account.worst_shortfall_ns, account.worst_response_ns), (3 * MS / 2, 9 * MS));
    }

    #[test]
    fn a_vm_that_wants_less_gets_all_it_wants() {
        let mut account = account();
        account.waits_no_more(ms(1), true);
        account.ran(MS);
        account.close(ms(10), MS, None);
        assert_eq!((account.met, account.missed, account.worst_shortfall_ns), (1, 0, 0));
        // Nor does it miss a period in which it has nothing to do.
        account.close(ms(55), MS, None);
        assert_eq!((account.met, account.missed), (1, 0));
        assert_eq!(account.received_ppm(), Some(100_000));
    }

    #[test]
    fn a_vm_without_the_core_for_many_periods_misses_each() {
        let mut account = account();
        account.close(ms(3_000_000), 0, Some(ms(0)));
        assert_eq!((account.met, account.missed), (0, 300_000));
        assert_eq!(account.worst_shortfall_ns, 2 * MS);
        account.waits_no_more(ms(3_000_000), true);
        assert_eq!(account.worst_response_ns, 3_000_000 * MS);
        account.ran(2 * MS);
        account.waits(ms(3_000_002));
        account.close(ms(3_000_010), 3_000_000 * MS, Some(ms(3_000_002)));
        assert_eq!((account.met, account.missed), (1, 300_000));
    }
}
