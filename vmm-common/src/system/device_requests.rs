//! What guests ask of their virtio devices, carried out by the host: in the exit, as far as the
//! turn lasts, or under way until [`crate::backing::Backing::next_finished`] has it.

use super::{Step, System};
use crate::Instant;
use crate::backing::{DiskIndex, Finished, Progress};
use crate::index::{VcpuIndex, VmIndex};
use crate::machine::DeviceEvent;
use crate::memory::GuestMemory;
use crate::plan::VirtioKind;
use crate::seam::Host;
use crate::vm::Vm;
use devices::virtio::{Device, Event};

mod hvc_bytes;

impl<M: GuestMemory> System<M> {
    /// Follows up a guest's access to a virtio device.
    #[inline(never)]
    pub(super) fn after_event<H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        DeviceEvent { device, event }: DeviceEvent,
        now: Instant,
        host: &mut H,
    ) -> Step {
        if self.vms[index.vm()].machine.nic_mut(device).is_some() {
            self.after_nic_event(index.vm(), device, event, host);
            return Step::Continue;
        }
        // Also what a console's driver did not get rid of, and that it has left the ends of links.
        self.serve(index.vm(), device, now, host);
        match event {
            Event::Started | Event::Notified(_) => {}
            // Buffers are the disk's until it is done with them, and the driver may use them for
            // something else once the guest goes on: its VM waits (2.4.1, 4.2.2.2).
            Event::Reset | Event::Withdrawn(_) => {
                self.vms[index.vm()].machine.hold_while_under_way(device);
            }
        }
        Step::Continue
    }

    /// Serves a device that the last turn left, or keeps the VM from going on for one that was
    /// reset.
    #[inline(never)]
    pub(super) fn do_device_work<H: Host<M>>(
        &mut self,
        vm: VmIndex,
        now: &mut Instant,
        host: &mut H,
    ) -> Step {
        match self.vms[vm].machine.take_postponed_device() {
            Some(device) => self.serve(vm, device, *now, host),
            None => return Step::Halt(Instant::FAR_FUTURE),
        }
        *now = host.now();
        Step::Continue
    }

    /// Hands the results of requests that were under way to their devices; lets frames go that have
    /// waited too long.
    // At every switch, and on bare metal there are no such requests.
    #[inline(always)]
    pub(super) fn finish_requests<H: Host<M>>(&mut self, now: Instant, host: &mut H) {
        self.release_held_frames(now, host);
        while let Some(finished) = host.next_finished() {
            self.finish(finished, now);
        }
    }

    #[inline(never)]
    fn finish(&mut self, Finished { disk, operation, token, status }: Finished, now: Instant) {
        let Vm { machine, memory, .. } = &mut self.vms[disk.vm];
        let Some(block) = machine.disk_mut(disk.number) else { return };
        let has_more = block.is_in_parts();
        block.finish(memory, operation, token, status);
        block.signal(memory);
        machine.sample_virtio_pins();
        if has_more {
            // Disks come first among the devices.
            machine.postpone_device(disk.number);
        }
        match machine.end_hold(disk.number) || has_more {
            true => self.vcpus_of(disk.vm).for_each(|vcpu| self.wake(vcpu, now)),
            false => self.rouse(disk.vm, now),
        }
    }

    /// Has what the driver has made available carried out: one request at least, and further ones
    /// while the turn lasts.
    fn serve<H: Host<M>>(&mut self, vm: VmIndex, number: usize, now: Instant, host: &mut H) {
        let until = self.until;
        let Vm { machine, memory, .. } = &mut self.vms[vm];
        let is_cut_short = match machine.virtio_mut(number) {
            Some((VirtioKind::Disk(number), Device::Block(block))) => {
                let disk = DiskIndex { vm, number };
                let mut is_cut_short = false;
                while !is_cut_short && let Some(request) = block.next(memory) {
                    let (operation, token) = (request.operation, request.token);
                    match host.disk(disk, &request, memory) {
                        Progress::Done(status) => block.finish(memory, operation, token, status),
                        Progress::UnderWay => {}
                    }
                    is_cut_short = host.now() >= until;
                }
                block.signal(memory);
                is_cut_short
            }
            Some((_, Device::Entropy(entropy))) => {
                let mut is_cut_short = false;
                while !is_cut_short && entropy.serve(memory, |to| host.random(to)) {
                    is_cut_short = host.now() >= until;
                }
                entropy.signal(memory);
                is_cut_short
            }
            Some((_, Device::Net(_))) => return self.serve_nic(vm, number, host),
            Some((_, Device::Console(_))) => return self.serve_console(vm, now, host),
            Some((_, Device::Block(_))) | None => false,
        };
        machine.sample_virtio_pins();
        if is_cut_short {
            machine.postpone_device(number);
        }
    }
}
