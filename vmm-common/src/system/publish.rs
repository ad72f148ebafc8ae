//! Publishes the time and steal time in a guest's RAM before an entry.

use super::{Life, System};
use crate::Instant;
use crate::index::VcpuIndex;
use crate::memory::GuestMemory;
use crate::seam::{Entry, VcpuBackend};

impl<M: GuestMemory> System<M> {
    /// Prepares the machine for a turn that begins `now`. True if there is something to publish
    /// in the guest's RAM.
    #[inline(always)]
    pub(super) fn prepare(&mut self, vcpu: VcpuIndex, now: Instant) -> bool {
        /// How often the time-stamp counter is compared with the clock, which may be slewed.
        const CHECK_TSC_EVERY_NS: u64 = 1_000_000_000;
        let Life { restart: None, before_ns: (before_ns, taken_before_ns), .. } =
            self.vms[vcpu.vm()].life
        else {
            return false;
        };
        let account = &self.ledger.vms[vcpu.vm()];
        // A stopped clock must not fall behind what the guest read just before its preemption.
        let waiting_ns = account.waiting_ns.saturating_sub(account.leaving_ns);
        let taken_ns = account.taken_ns.saturating_sub(taken_before_ns);
        // What the host took of a vCPU with siblings is in its waits, or not known to be its own.
        let stolen_ns = match account.vcpus.is_empty() {
            true => waiting_ns + taken_ns,
            false => self.ledger.waited_ns(vcpu),
        };
        // A held VM waits for no other: that is no steal time, but a clock of its own stops.
        let stood_ns = (waiting_ns + account.held_ns).saturating_sub(before_ns);
        let vm = &mut self.vms[vcpu.vm()];
        vm.machine.select(vcpu.id());
        vm.machine.record_wait(stood_ns, taken_ns, stolen_ns);
        let (machine, vcpu) = vm.parts(vcpu);
        if now >= vcpu.next_tsc_check {
            vcpu.next_tsc_check = now.after_ns(CHECK_TSC_EVERY_NS);
            machine.tsc_moved();
        }
        let has_news = machine.has_news();
        // The host has drained its output since: THRE rises now, as on a slow line.
        machine.sample_serial_pins();
        has_news
    }

    /// Writes the structures that the guest registered. One outside RAM is ignored.
    pub(super) fn publish_time<B: VcpuBackend>(&mut self, vcpu: VcpuIndex, backend: &mut B) {
        let vm = &mut self.vms[vcpu.vm()];
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
