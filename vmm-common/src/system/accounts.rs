//! What the loop books: turns, and the host's part of them.

use super::System;
use crate::Instant;
use crate::index::VmIndex;
use crate::ledger::Activity;
use crate::memory::GuestMemory;
use crate::seam::Host;

impl<M: GuestMemory> System<M> {
    /// What `vm` ran in its turn from `begin` to `over`, less what the host took; the rest up to
    /// `now` is the switch's. The host's part is assumed to come last: usually it is why the turn
    /// ended late.
    #[inline]
    pub(super) fn close_turn<H: Host>(
        &mut self,
        vm: VmIndex,
        begin: Instant,
        over: Instant,
        now: Instant,
        host: &mut H,
    ) -> u64 {
        self.ledger.end_turn(vm, over, now);
        let taken_ns = self.taken_since(now, host);
        let of_switch_ns = taken_ns.min(now.ns_since(over));
        let of_turn_ns = (taken_ns - of_switch_ns).min(over.ns_since(begin));
        self.ledger.taken_from_no_vm(of_switch_ns, now);
        if of_turn_ns > 0 {
            self.ledger.taken_from_vm(vm, of_turn_ns, now);
        }
        let ran_ns = over.ns_since(begin) - of_turn_ns;
        self.ledger.ran(vm, ran_ns);
        ran_ns
    }

    /// The host read keys and wrote output from `begin` to `end`, between turns.
    pub fn console_had(&mut self, begin: Instant, end: Instant) {
        if self.has_begun {
            let before = self.ledger.activity();
            self.ledger.core_turns_to(Activity::Console, begin);
            self.ledger.core_turns_to(before, end);
        }
    }

    /// What the host has taken since the last look, ns.
    pub(super) fn taken_since<H: Host>(&mut self, now: Instant, host: &mut H) -> u64 {
        let before_ns = self.taken_ns;
        self.taken_ns = host.taken_ns(now).max(before_ns);
        self.taken_ns - before_ns
    }
}
