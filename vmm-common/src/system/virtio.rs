//! What guests ask of their virtio devices, carried out by the host.

use super::{Step, System};
use crate::backing::{DiskIndex, Progress};
use crate::index::{VcpuIndex, VmIndex};
use crate::machine::DeviceEvent;
use crate::memory::GuestMemory;
use crate::plan::VirtioKind;
use crate::seam::Host;
use crate::vm::Vm;
use devices::virtio::{Device, Event};

impl<M: GuestMemory> System<M> {
    /// Follows up a guest's access to a virtio device.
    #[inline(never)]
    pub(super) fn after_event<H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        DeviceEvent { device, event }: DeviceEvent,
        host: &mut H,
    ) -> Step {
        match event {
            Event::Started | Event::Notified(_) => self.serve(index.vm(), device, host),
            Event::Reset => {}
        }
        Step::Continue
    }

    /// Has all that the driver has made available carried out.
    fn serve<H: Host<M>>(&mut self, vm: VmIndex, number: usize, host: &mut H) {
        let Vm { machine, memory, .. } = &mut self.vms[vm];
        match machine.virtio_mut(number) {
            Some((VirtioKind::Disk(number), Device::Block(block))) => {
                let disk = DiskIndex { vm, number };
                while let Some(request) = block.next(memory) {
                    let (operation, token) = (request.operation, request.token);
                    match host.disk(disk, &request, memory) {
                        Progress::Done(status) => block.finish(memory, operation, token, status),
                        Progress::UnderWay => {}
                    }
                }
                block.signal(memory);
            }
            Some((_, Device::Entropy(entropy))) => {
                while entropy.serve(memory, |to| host.random(to)) {}
                entropy.signal(memory);
            }
            Some((_, Device::Block(_))) | None => {}
        }
        machine.sample_virtio_pins();
    }
}
