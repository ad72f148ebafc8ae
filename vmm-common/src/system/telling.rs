//! What a guest is told, before it goes on, of the time and of its wait.

use super::System;
use crate::Instant;
use crate::seam::VcpuBackend;

impl System {
    /// How long the guest has had to wait, which it is told or never notices.
    pub(super) fn tell_waiting<B: VcpuBackend>(&mut self, vm: usize, backend: &mut B) {
        let account = &self.ledger.vms[vm];
        // A clock that stands must not fall behind what the guest has read as it was stopped.
        let waiting_ns = account.waiting_ns.saturating_sub(account.leaving_ns);
        let taken_ns = account.taken_ns;
        let stood_ns = self.vms[vm].machine.waited(waiting_ns, taken_ns);
        if stood_ns > 0 {
            backend.hold_tsc(stood_ns);
        }
    }

    /// Writes what the guest wants to find in its RAM. Where it named no RAM, it finds nothing.
    pub(super) fn tell_guest<B: VcpuBackend>(&mut self, vm: usize, backend: &mut B) {
        let machine = &mut self.vms[vm].machine;
        if machine.wants_tsc()
            && let Some(reading) = backend.read_tsc()
        {
            machine.set_tsc(reading);
        }
        while let Some(write) = machine.next_memory_write() {
            backend.write_ram(write.address, write.bytes());
        }
    }

    /// Now and then the guest's time-stamp counter is compared with the clock, which may be slewed.
    pub(super) fn follow_tsc(&mut self, vm: usize, now: Instant) {
        const EVERY_NS: u64 = 1_000_000_000;
        let vm = &mut self.vms[vm];
        if now >= vm.next_tsc_check {
            vm.next_tsc_check = now.after_ns(EVERY_NS);
            vm.machine.tsc_moved();
        }
    }
}
