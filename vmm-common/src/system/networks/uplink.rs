//! A network's way out of the machine, which the host has ([`crate::backing::Backing`]).

use super::{Network, Ports};
use crate::Instant;
use crate::backing::{Frame, FromUplink, Offloads, ToUplink};
use crate::memory::GuestMemory;
use crate::seam::Host;
use crate::system::System;
use crate::vm::Vm;
use devices::switch::Mac;
use devices::virtio::net::{Counts, DropReason, Received};

/// At a time so many frames are fetched at most, and none once there are so many bytes: between two
/// turns this time is no VM's, and in an exit it is that of a VM which need not be the receiver.
/// The rest stays with the host until the next time.
const FETCH_FRAMES: usize = 16;
const FETCH_BYTES: u64 = 64 << 10;

/// A network's way out.
#[derive(Debug, Default)]
pub struct Uplink {
    counts: Counts,
    /// What the host leaves undone.
    offloads: Offloads,
    /// It has gone, and the links of interfaces have not been looked at since.
    is_newly_gone: bool,
}

impl Uplink {
    /// What passed: sent is what came from outside.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it has gone since the last call.
    pub(super) const fn take_loss(&mut self) -> bool {
        core::mem::replace(&mut self.is_newly_gone, false)
    }
}

impl Network {
    /// Fetches some frames from outside.
    pub(super) fn fetch<M: GuestMemory, H: Host<M>>(
        &mut self,
        vms: &mut [Vm<M>],
        now: Instant,
        touched: &mut Ports,
        host: &mut H,
    ) {
        let Some(port) = self.uplink_port() else { return };
        let bytes =
            |network: &Self| network.uplink.as_ref().map_or(0, |uplink| uplink.counts.sent_bytes);
        let most = bytes(self) + FETCH_BYTES;
        for _ in 0..FETCH_FRAMES {
            if bytes(self) >= most || !self.send(vms, port, now, touched, host) {
                break;
            }
        }
    }

    /// Source and destination of the frame that has come from outside, if there is one.
    pub(super) fn look_outside<M: GuestMemory, H: Host<M>>(
        &mut self,
        host: &mut H,
    ) -> Option<(Mac, Mac)> {
        match host.receive_from_uplink(self.number) {
            FromUplink::Nothing => {}
            FromUplink::Gone => self.lose_uplink(),
            FromUplink::Frame(bytes) => match Frame::<M>::from_outside(bytes) {
                Some(frame) => return Some((frame.source, frame.destination)),
                None => {
                    host.finish_uplink_frame(self.number);
                    self.drop_from_outside(DropReason::Malformed);
                }
            },
        }
        None
    }

    /// Sends a frame of an interface out.
    pub(super) fn send_outside<M: GuestMemory, H: Host<M>>(
        &mut self,
        frame: &Frame<'_, M>,
        host: &mut H,
    ) -> Received {
        match host.send_to_uplink(self.number, frame) {
            ToUplink::Done => {
                if let Some(uplink) = &mut self.uplink {
                    uplink.counts.count_received(frame.bytes);
                }
                Received::Done
            }
            ToUplink::Full => Received::NoBuffers,
            ToUplink::Refused => Received::Refused(DropReason::TapRefused),
            ToUplink::Gone => {
                self.lose_uplink();
                Received::Refused(DropReason::TapGone)
            }
        }
    }

    pub(super) fn drop_from_outside(&mut self, reason: DropReason) {
        if let Some(uplink) = &mut self.uplink {
            uplink.counts.count_dropped(reason);
        }
    }

    /// The frame from outside is with its receivers, or dropped.
    pub(super) fn finish_from_outside<M: GuestMemory, H: Host<M>>(&mut self, host: &mut H) {
        if let (FromUplink::Frame(bytes), Some(uplink)) =
            (host.receive_from_uplink(self.number), &mut self.uplink)
            && let Some(frame) = Frame::<M>::from_outside(bytes)
        {
            uplink.counts.count_sent(frame.bytes);
        }
        host.finish_uplink_frame(self.number);
    }

    /// Addresses learnt there stay with it, so that frames for them are counted for what they are.
    fn lose_uplink(&mut self) {
        if let (Some(port), Some(uplink)) = (self.uplink_port(), &mut self.uplink) {
            (self.ports[port].is_gone, self.ports[port].waiting) = (true, None);
            uplink.is_newly_gone = true;
        }
    }
}

impl<M: GuestMemory> System<M> {
    /// Has the host leave undone what all drivers that run at a network take.
    pub(super) fn set_uplink_offloads<H: Host<M>>(&mut self, number: usize, host: &mut H) {
        let Network { uplink: Some(uplink), ports, .. } = &mut self.networks.all[number] else {
            return;
        };
        let left = ports.iter().filter(|port| !port.is_gone).filter_map(super::NetworkPort::nic);
        let takes = left.filter_map(|(vm, device)| self.vms[vm].machine.nic_mut(device)?.takes());
        let offloads = takes.reduce(Offloads::and).unwrap_or_default();
        if offloads != uplink.offloads {
            uplink.offloads = offloads;
            host.set_uplink_offloads(number, offloads);
        }
    }
}
