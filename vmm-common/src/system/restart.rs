//! A VM that begins anew while its neighbours run. Its devices are reset and its links go down at
//! once; the rest is its own work, in its own turns: each vCPU's backend is powered on in a turn of
//! that vCPU, and the first vCPU clears RAM and fills it, for as long as its turn lasts. So its
//! neighbours keep their shares, and wait no longer than they do beside any other guest.
//!
//! ```text
//! restart -> disks finish what is under way -> RAM cleared, filled -> backends powered on -> guest
//! ```

use super::{Life, Step, System, Wire};
use crate::Instant;
use crate::control::Change;
use crate::index::{VcpuIndex, VmIndex};
use crate::machine::{Machine, VIRTIO_BASE};
use crate::memory::GuestMemory;
use crate::registers::CpuState;
use crate::seam::{Entry, Host, VcpuBackend};
use crate::switch_on::Beginning;
use crate::trace::What;
use crate::vm::{Vcpu, Vm};
use devices::link::LinkEnd;

/// RAM that is cleared, or filled, between two looks at the clock.
const PART_BYTES: u64 = 1 << 18;

/// How far a VM has come on its way to a new beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    /// Bit n: vCPU n's backend has not been powered on.
    vcpus: u32,
    /// RAM is clear up to here, in bytes of both its ranges.
    cleared: u64,
    /// The next piece of the boot, and what of it lies in RAM.
    piece: usize,
    placed: u64,
}

impl<M: GuestMemory> System<M> {
    /// Between turns: begins `vm` anew, whether it runs, is held or has ended. Returns whether the
    /// host can do that.
    pub fn restart<H: Host<M>>(&mut self, vm: VmIndex, host: &mut H) -> bool {
        if host.beginning(vm).is_none() {
            return false;
        }
        let now = self.settle_taken(host);
        self.trace.record(now, self.vcpu(vm, 0), What::Restarted);
        self.unplug(vm, now, host);
        self.leave_networks(vm, now, host);
        self.reset_virtio(vm, now, host);
        let count = self.vms[vm].vcpus().len() as u32;
        let vcpus = u32::MAX >> (u32::BITS - count);
        let restart = Some(Restart { vcpus, cleared: 0, piece: 0, placed: 0 });
        self.vms[vm].life = Life { restart, ..Life::default() };
        self.vms[vm].ending = None;
        self.scheduler.revived(vm);
        self.ledger.end_stretch();
        self.ledger.held(vm, now);
        self.ledger.released(vm, now);
        self.ledger.vms[vm].restarts += 1;
        self.vcpus_of(vm).for_each(|vcpu| self.wake(vcpu, now));
        host.vm_changed(vm, Change::Restarted);
        true
    }

    /// As its driver would: no device has anything under way or in its guest's RAM after that, but
    /// disks, which are waited for.
    fn reset_virtio<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        /// Of the memory-mapped transport (Virtio 1.2, 4.2.2), and of each device's window.
        const STATUS: u64 = 0x70;
        const WINDOW_BYTES: u64 = 0x1000;
        let first = self.vcpu(vm, 0);
        for device in 0..self.vms[vm].machine.virtio().count() {
            let address = VIRTIO_BASE + device as u64 * WINDOW_BYTES + STATUS;
            if let Some(event) = self.vms[vm].machine.virtio_write(address, 4, 0) {
                self.after_event(first, event, now, host);
            }
        }
    }

    /// What a turn of a VM does that begins anew; None: the guest has begun, and goes on.
    #[inline(always)]
    pub(super) fn begin_anew<B: VcpuBackend, H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        now: &mut Instant,
        backend: &mut B,
        host: &mut H,
    ) -> Option<Step> {
        self.vms[index.vm()].life.restart?;
        self.go_on_restarting(index, now, backend, host)
    }

    #[inline(never)]
    fn go_on_restarting<B: VcpuBackend, H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        now: &mut Instant,
        backend: &mut B,
        host: &mut H,
    ) -> Option<Step> {
        let vm = index.vm();
        let sleeps = Some(Step::Halt(Instant::FAR_FUTURE));
        let Some(beginning) = host.beginning(vm) else { return sleeps };
        let restart = self.vms[vm].life.restart.as_mut()?;
        if restart.vcpus & 1 << index.id() != 0 {
            restart.vcpus &= !(1 << index.id());
            let after_init = CpuState::after_init();
            let first = beginning.registers();
            backend.power_on(if index.id() == 0 { first } else { &after_init });
        }
        let is_waiting = self.vms[vm].machine.has_requests_under_way();
        if index.id() != 0 || is_waiting {
            return sleeps;
        }
        loop {
            let beginning = host.beginning(vm)?;
            let Vm { life: Life { restart, .. }, memory, .. } = &mut self.vms[vm];
            let is_filled = restart.as_mut()?.fill(memory, beginning);
            *now = host.now();
            if is_filled {
                break;
            }
            if *now >= self.until {
                return Some(Step::SliceOver { in_guest: false });
            }
        }
        if self.vms[vm].life.restart.is_some_and(|restart| restart.vcpus != 0) {
            return Some(Step::Spin);
        }
        let wants_tsc = Entry { wants_tsc: true, ..Entry::default() };
        let tsc = backend.enter(&wants_tsc).tsc;
        *now = host.now();
        let machine = host.beginning(vm)?.switch_on_again(tsc, *now);
        self.finish_restart(index, machine, *now, host);
        None
    }

    fn finish_restart<H: Host<M>>(
        &mut self,
        first: VcpuIndex,
        machine: Machine,
        now: Instant,
        host: &mut H,
    ) {
        let vm = first.vm();
        let account = &self.ledger.vms[vm];
        let before_ns = (account.waiting_ns + account.held_ns, account.taken_ns);
        let it = &mut self.vms[vm];
        (it.machine, it.life) = (machine, Life { before_ns, ..Life::default() });
        it.vcpus_mut().iter_mut().for_each(Vcpu::reset);
        for wire in 0..self.wires.len() {
            let Wire { link, ends } = &mut self.wires[wire];
            let mut is_at_it = false;
            for (end, (owner, _)) in ends.iter().enumerate() {
                if owner == vm {
                    link.start_again(LinkEnd(end));
                    is_at_it = true;
                }
            }
            if is_at_it {
                self.pump_wire(wire, vm, now);
            }
        }
        self.rejoin_networks(vm, now, host);
    }
}

impl Restart {
    /// Clears and fills some more RAM; whether all of it is as the boot has it.
    fn fill(&mut self, memory: &impl GuestMemory, beginning: &Beginning<'_>) -> bool {
        let mut before = 0;
        for range in beginning.ram() {
            let bytes = range.end - range.start;
            let done = self.cleared - before;
            if done < bytes {
                let part = (bytes - done).min(PART_BYTES);
                memory.clear(range.start + done, part);
                self.cleared += part;
                return false;
            }
            before += bytes;
        }
        let Some((address, bytes)) = beginning.piece(self.piece) else { return true };
        let rest = &bytes[self.placed as usize..];
        let part = rest.len().min(PART_BYTES as usize);
        memory.write(address + self.placed, &rest[..part]);
        self.placed += part as u64;
        if part == rest.len() {
            (self.piece, self.placed) = (self.piece + 1, 0);
        }
        false
    }
}
