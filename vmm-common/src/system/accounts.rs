//! What the loop books: turns, the host's part of them, exits, the trace.

use super::System;
use crate::Instant;
use crate::ledger::Activity;
use crate::memory::GuestMemory;
use crate::seam::{Entry, Exit, Host};
use crate::trace::{Event, What};

impl<M: GuestMemory> System<M> {
    /// What `vm` ran in its turn from `begin` to `over`, less what the host took; the rest up to
    /// `now` is the switch's. The host is taken to have come last: mostly it is what made the turn
    /// end late.
    pub(super) fn close_turn<H: Host>(
        &mut self,
        vm: usize,
        begin: Instant,
        over: Instant,
        now: Instant,
        host: &mut H,
    ) -> u64 {
        self.ledger.core_turns_to(Activity::Switching, over);
        self.ledger.core_turns_to(Activity::Switching, now);
        self.ledger.vms[vm].leaving_ns += now.ns_since(over);
        let taken_ns = self.taken_since(now, host);
        let of_switch_ns = taken_ns.min(now.ns_since(over));
        let of_turn_ns = (taken_ns - of_switch_ns).min(over.ns_since(begin));
        self.ledger.taken_from_no_vm(of_switch_ns, now);
        self.ledger.taken_from_vm(vm, of_turn_ns, now);
        let ran_ns = over.ns_since(begin) - of_turn_ns;
        self.ledger.ran(vm, ran_ns);
        ran_ns
    }

    /// What the host has taken since the last look, ns.
    pub(super) fn taken_since<H: Host>(&mut self, now: Instant, host: &mut H) -> u64 {
        let before_ns = self.taken_ns;
        self.taken_ns = host.taken_ns(now).max(before_ns);
        self.taken_ns - before_ns
    }

    pub(super) fn note_injection(&mut self, vm: usize, entry: &Entry, now: Instant) {
        if let Some(crate::seam::Injection::Interrupt(vector)) = entry.inject {
            self.ledger.vms[vm].interrupts += 1;
            self.record(now, vm, What::Interrupt(vector));
        }
    }

    pub(super) fn note_exit(&mut self, vm: usize, exit: &Exit, now: Instant) {
        self.record(now, vm, What::Exit(exit.reason));
        let account = &mut self.ledger.vms[vm];
        if exit.left_guest {
            account.exits[exit.reason.kind()] += 1;
        } else {
            account.batched += 1;
        }
    }

    pub(super) fn record(&mut self, at: Instant, vm: usize, what: What) {
        self.trace.record(Event { at, vm: vm as u16, vcpu: 0, what });
    }
}
