//! Publishes the time and steal time in a guest's RAM before an entry.

use super::System;
use crate::Instant;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::seam::{Entry, VcpuBackend};

impl<M: GuestMemory> System<M> {
    /// Prepares the machine for a turn that begins `now`. True if there is something to publish
    /// in the guest's RAM.
    #[inline]
    pub(super) fn prepare(&mut self, vm: VmIndex, now: Instant) -> bool {
        /// How often the time-stamp counter is compared with the clock, which may be slewed.
        const CHECK_TSC_EVERY_NS: u64 = 1_000_000_000;
        let account = &self.ledger.vms[vm];
        // A stopped clock must not fall behind what the guest read just before its preemption.
        let waiting_ns = account.waiting_ns.saturating_sub(account.leaving_ns);
        let taken_ns = account.taken_ns;
        let vm = &mut self.vms[vm];
        vm.machine.record_wait(waiting_ns, taken_ns);
        if now >= vm.next_tsc_check {
            vm.next_tsc_check = now.after_ns(CHECK_TSC_EVERY_NS);
            vm.machine.tsc_moved();
        }
        // The host has drained its output since: THRE rises now, as on a slow line.
        vm.machine.sample_serial_pins();
        vm.machine.has_news()
    }

    /// Writes the structures that the guest registered. One outside RAM is ignored.
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
}
