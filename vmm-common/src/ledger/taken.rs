//! When the host took what it took, as far as later questions need it.

use crate::Instant;

/// The last two stretches in which the host took something.
///
/// The loop asks the host at a turn's begin and at its end, and only after that looks which timers
/// were due since it chose that turn. A wait that began with such a timer may contain both
/// stretches.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastTaken {
    /// The end of each, and what the host took in it, ns; the later one first.
    stretches: [(Instant, u64); 2],
}

impl LastTaken {
    /// The host has taken nothing until `now`.
    pub(super) const fn none(now: Instant) -> Self {
        Self { stretches: [(now, 0); 2] }
    }

    /// The host took `ns` in the stretch that ends `now`.
    pub(super) fn add(&mut self, ns: u64, now: Instant) {
        let [latest, before] = &mut self.stretches;
        if latest.0 == now {
            latest.1 += ns;
        } else if ns > 0 {
            *before = core::mem::replace(latest, (now, ns));
        }
    }

    /// What of it the host took after `at`, ns. Its part of a stretch is assumed to come last.
    pub(super) fn after(&self, at: Instant) -> u64 {
        self.stretches.iter().map(|(end, ns)| *ns.min(&end.ns_since(at))).sum()
    }
}
