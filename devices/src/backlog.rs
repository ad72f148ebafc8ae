//! Ticks that are due and not yet delivered: one mechanism for every periodic timer.
//!
//! An interrupt controller holds one request of a line. A guest that did not have the core for some
//! periods of its timer, or keeps the line masked while it handles a tick, would lose the others.
//! So a device hands its owner [`Ticks`], the owner keeps a [`Backlog`] for each source, and makes
//! a tick whenever the line is free again. Reprogramming the timer drops its backlog.
//!
//! Three bounds keep this from doing harm:
//! - The backlog holds a second's worth. What comes due beyond that is dropped and counted.
//! - A tick that no handler takes for a second of the guest's run time is ignored by the guest: one
//!   stays pending, as in the controller, and the rest are dropped uncounted.
//! - A guest that takes ticks for a second of its own time and never catches up spends all its time
//!   on them. It gets relief for as long: the backlog is dropped and counted, and the next ticks
//!   are made at most once in two periods of the guest's run time, so that its other work goes on.
//!
//! QEMU's `-rtc driftfix=slew` and KVM's PIT (`KVM_PIT_REINJECT`) redeliver in the same way, one
//! tick as the one before is acknowledged, without the second and third bound.

use crate::time::RunTime;

/// What a timer has for its owner since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Ticks that came due.
    pub count: u64,
    /// The time between two of them, ns; 0 for a timer that is not periodic, or if there are none.
    pub period_ns: u64,
    /// The guest has reprogrammed the timer: earlier ticks are void.
    pub is_reprogrammed: bool,
}

/// The longest backlog, in time.
const MAX_BACKLOG_NS: u64 = 1_000_000_000;
/// The longest backlog, in ticks: a second at the clock's highest rate.
const MAX_BACKLOG_TICKS: u64 = 8192;
/// After so much of the guest's run time without catching up, ns, the backlog is given up.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Pending ticks of one source. Times are the guest's run time, which stops while it does not have
/// the core.
#[derive(Clone, Debug)]
pub struct Backlog {
    owed: u64,
    period_ns: u64,
    /// Beyond the cap since a tick was last made: dropped, if the guest has a handler.
    excess: u64,
    dropped: u64,
    /// When the backlog was last empty.
    behind_since: RunTime,
    /// A tick has been made since then.
    is_taken: bool,
    has_listener: bool,
    relief_ends: Option<RunTime>,
    last_made: RunTime,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new()
    }
}

impl Backlog {
    /// A source with no backlog.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            owed: 0,
            period_ns: 0,
            excess: 0,
            dropped: 0,
            behind_since: RunTime::ZERO,
            is_taken: false,
            has_listener: true,
            relief_ends: None,
            last_made: RunTime::ZERO,
        }
    }

    /// Adds a timer's new ticks.
    pub fn add(&mut self, ticks: Ticks, run_time: RunTime) {
        if ticks.is_reprogrammed {
            self.clear();
        }
        self.relief_ends = self.relief_ends.filter(|&end| end > run_time);
        if ticks.count > 0 {
            self.period_ns = ticks.period_ns;
            if self.owed == 0 {
                self.behind_since = run_time;
                self.is_taken = false;
            }
            let owed = self.owed.saturating_add(ticks.count);
            self.owed = owed.min(self.cap());
            self.excess = self.excess.saturating_add(owed - self.owed);
        }
        if self.owed > 0 && run_time.ns_since(self.behind_since) >= PATIENCE_NS {
            self.give_up(run_time);
        }
    }

    /// Whether no tick is pending.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.owed == 0
    }

    /// Whether a tick is to be made as soon as the line is free.
    #[must_use]
    pub const fn is_due(&self, run_time: RunTime) -> bool {
        let spacing_ns = self.period_ns.saturating_mul(2);
        let is_spaced = run_time.ns_since(self.last_made) >= spacing_ns;
        self.owed > 0 && (self.relief_ends.is_none() || is_spaced)
    }

    /// One tick has been made.
    pub fn made(&mut self, run_time: RunTime) {
        self.owed = self.owed.saturating_sub(1);
        self.is_taken = true;
        self.has_listener = true;
        self.last_made = run_time;
        self.dropped = self.dropped.saturating_add(core::mem::take(&mut self.excess));
    }

    /// Drops the backlog.
    pub const fn clear(&mut self) {
        self.owed = 0;
        self.excess = 0;
    }

    /// Ticks that a guest with a handler for them will never get.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn cap(&self) -> u64 {
        match (self.period_ns, self.has_listener, self.relief_ends) {
            (1.., true, None) => (MAX_BACKLOG_NS / self.period_ns).clamp(1, MAX_BACKLOG_TICKS),
            // Without a period it is one request, as in the controller.
            (0, _, _) | (_, false, _) | (_, _, Some(_)) => 1,
        }
    }

    fn give_up(&mut self, run_time: RunTime) {
        if self.is_taken {
            let lost = self.owed.saturating_add(core::mem::take(&mut self.excess));
            self.dropped = self.dropped.saturating_add(lost);
            self.owed = 0;
            self.relief_ends = Some(run_time.after_ns(run_time.ns_since(self.behind_since)));
        } else {
            self.has_listener = false;
            self.owed = 1;
            self.excess = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    /// 250 Hz.
    const PERIOD_NS: u64 = 4 * MS;

    fn ms(ms: u64) -> RunTime {
        RunTime::from_ns(ms * MS)
    }

    fn ticks(count: u64) -> Ticks {
        Ticks { count, period_ns: PERIOD_NS, is_reprogrammed: false }
    }

    /// Makes ticks until none is due.
    fn drain(backlog: &mut Backlog, run_time: RunTime) -> u64 {
        let mut made = 0;
        while backlog.is_due(run_time) {
            backlog.made(run_time);
            made += 1;
        }
        made
    }

    #[test]
    fn a_second_is_owed_and_the_rest_is_dropped_and_counted() {
        let mut backlog = Backlog::new();
        backlog.add(ticks(750), ms(1));
        assert_eq!(drain(&mut backlog, ms(1)), 250);
        assert_eq!(backlog.dropped(), 500);
        backlog.add(ticks(1), ms(2));
        assert_eq!(drain(&mut backlog, ms(2)), 1);
        assert_eq!(backlog.dropped(), 500);
    }

    #[test]
    fn a_fast_timer_is_bounded_by_the_number_of_ticks() {
        let mut backlog = Backlog::new();
        backlog.add(Ticks { count: u64::MAX, period_ns: 1, is_reprogrammed: false }, ms(1));
        assert_eq!(drain(&mut backlog, ms(1)), 8192);
        assert_eq!(backlog.dropped(), u64::MAX - 8192);
    }

    #[test]
    fn what_is_not_periodic_is_one_tick() {
        let mut backlog = Backlog::new();
        backlog.add(Ticks { count: 1, period_ns: 0, is_reprogrammed: false }, ms(1));
        backlog.add(Ticks { count: 1, period_ns: 0, is_reprogrammed: false }, ms(2));
        assert_eq!(drain(&mut backlog, ms(2)), 1);
    }

    #[test]
    fn reprogramming_drops_what_is_owed_and_counts_nothing() {
        let mut backlog = Backlog::new();
        backlog.add(ticks(300), ms(1));
        backlog.add(Ticks { count: 2, period_ns: PERIOD_NS, is_reprogrammed: true }, ms(1));
        assert_eq!((drain(&mut backlog, ms(1)), backlog.dropped()), (2, 0));
    }

    #[test]
    fn a_line_masked_for_an_hour_brings_one_tick_when_it_is_unmasked() {
        let mut backlog = Backlog::new();
        for period in 0..900_000 {
            backlog.add(ticks(1), ms(4 * period));
        }
        assert_eq!(drain(&mut backlog, ms(3_600_000)), 1);
        assert_eq!(backlog.dropped(), 0, "no guest counted them");
        backlog.add(ticks(2), ms(3_600_004));
        assert_eq!(drain(&mut backlog, ms(3_600_004)), 2, "it has a listener again");
    }

    #[test]
    fn a_guest_that_cannot_keep_up_gets_on_with_its_other_work() {
        // Half the core, and handlers of 3 ms for ticks of 4 ms: all its time and half as much
        // again.
        let (mut backlog, mut own_ns, mut due, mut made, mut progress_ns) =
            (Backlog::new(), 0, 0, 0, 0);
        while own_ns < 60_000 * MS {
            let count = 2 * own_ns / PERIOD_NS - due;
            due += count;
            backlog.add(ticks(count), RunTime::from_ns(own_ns));
            if backlog.is_due(RunTime::from_ns(own_ns)) {
                backlog.made(RunTime::from_ns(own_ns));
                made += 1;
                own_ns += 3 * MS;
            } else {
                own_ns += MS / 10;
                progress_ns += MS / 10;
            }
        }
        assert!(progress_ns > 15_000 * MS, "{} ms of 60,000", progress_ns / MS);
        assert!(made + backlog.dropped() + 250 >= due, "{made} made of {due}");
        assert!(made + backlog.dropped() <= due);
    }

    #[test]
    fn a_guest_that_catches_up_within_a_second_of_its_time_loses_nothing() {
        let mut backlog = Backlog::new();
        let mut made = 0;
        // Out for 0.9 s in every second, and 2 ms for each of the 225 ticks that it missed.
        for second in 0..10 {
            backlog.add(ticks(225), ms(500 * second));
            for handler in 0..225 {
                let now = ms(500 * second + 2 * handler);
                backlog.add(ticks(0), now);
                assert!(backlog.is_due(now));
                backlog.made(now);
                made += 1;
            }
        }
        assert_eq!((made, backlog.dropped()), (2250, 0));
    }
}
