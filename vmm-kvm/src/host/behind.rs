//! What stands behind VMs' virtio devices here.

use super::LinuxHost;
use crate::kvm::GuestRam;
use vmm_common::Instant;
use vmm_common::backing::{
    Backing, DiskIndex, Finished, Frame, FromUplink, Offloads, Progress, Request, ToUplink,
};

impl Backing<GuestRam> for LinuxHost<'_> {
    fn disk(&mut self, disk: DiskIndex, request: &Request<'_>, memory: &GuestRam) -> Progress {
        let progress = self.disks.request(disk, request, memory);
        self.say_troubles();
        progress
    }

    fn next_finished(&mut self) -> Option<Finished> {
        let finished = self.disks.next_finished();
        self.say_troubles();
        finished
    }

    fn receive_from_uplink(&mut self, network: usize) -> FromUplink<'_> {
        self.uplinks.receive(network)
    }

    fn finish_uplink_frame(&mut self, network: usize) {
        self.uplinks.finish(network);
    }

    fn send_to_uplink(&mut self, network: usize, frame: &Frame<'_, GuestRam>) -> ToUplink {
        self.uplinks.send(network, frame)
    }

    fn set_uplink_offloads(&mut self, network: usize, offloads: Offloads) {
        self.uplinks.set_offloads(network, offloads);
    }

    fn capture(
        &mut self,
        network: usize,
        port: usize,
        frame: Option<&Frame<'_, GuestRam>>,
        now: Instant,
    ) {
        let Self { captures, recorder, uplinks, .. } = self;
        let place = (network, port);
        match (frame, uplinks.held(network)) {
            (Some(frame), _) => captures.record(place, &frame.content, frame.bytes, now, recorder),
            (None, Some(bytes)) => captures.record_outside(place, bytes, now, recorder),
            (None, None) => {}
        }
    }

    fn random(&mut self, to: &mut [u8]) {
        crate::sys::fill_with_random(to);
    }
}
