//! What a guest finds in its RAM, before it goes on, of the time and of its wait.

use super::System;
use crate::Instant;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::seam::{Entry, VcpuBackend};

impl<M: GuestMemory> System<M> {
    /// Accounts to the guest's clock for what it has waited.
    pub(super) fn record_wait(&mut self, vm: VmIndex) {
        let account = &self.ledger.vms[vm];
        // A clock that stands must not fall behind what the guest has read as it was stopped.
        let waiting_ns = account.waiting_ns.saturating_sub(account.leaving_ns);
        let taken_ns = account.taken_ns;
        self.vms[vm].machine.record_wait(waiting_ns, taken_ns);
    }

    /// Writes what the guest wants to find in its RAM. Where it named no RAM, it finds nothing.
    pub(super) fn publish_time<B: VcpuBackend>(&mut self, vm: VmIndex, backend: &mut B) {
        let vm = &mut self.vms[vm];
        if vm.machine.wants_tsc() {
            let tsc_held_ns = vm.machine.tsc_held_ns();
            let entry = Entry { wants_tsc: true, tsc_held_ns, ..Entry::default() };
            if let Some(reading) = backend.enter(&entry).tsc {
                vm.machine.set_tsc(reading);
            }
        }
        while let Some(write) = vm.machine.next_memory_write() {
            vm.memory.write(write.address, write.bytes());
        }
    }

    /// Now and then the guest's time-stamp counter is compared with the clock, which may be slewed.
    pub(super) fn follow_tsc(&mut self, vm: VmIndex, now: Instant) {
        const EVERY_NS: u64 = 1_000_000_000;
        let vm = &mut self.vms[vm];
        if now >= vm.next_tsc_check {
            vm.next_tsc_check = now.after_ns(EVERY_NS);
            vm.machine.tsc_moved();
        }
    }
}
