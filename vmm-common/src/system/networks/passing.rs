//! A frame from one port of a switch to others.

use super::{End, HELD_NS, Network, Ports, Receiver, Waiting, numbers};
use crate::Instant;
use crate::backing::{Frame, FromUplink};
use crate::memory::GuestMemory;
use crate::seam::Host;
use crate::vm::Vm;
use devices::switch::{Mac, Route};
use devices::virtio::net::{DropReason, Received, is_multicast};

impl Network {
    /// Passes on the next frame of a port; false if there is none that can go. Adds the ports with
    /// something new for their drivers to `touched`.
    pub(super) fn send<M: GuestMemory, H: Host<M>>(
        &mut self,
        vms: &mut [Vm<M>],
        from: usize,
        now: Instant,
        touched: &mut Ports,
        host: &mut H,
    ) -> bool {
        let Some((mut waiting, is_multicast)) = self.take(vms, from, now, host) else {
            return false;
        };
        let first = waiting.in_segments.map_or(0, |(port, _)| 1 << port);
        for to in numbers(first).chain(numbers(waiting.targets & !first)) {
            let mut segments = match waiting.in_segments {
                Some((port, _)) if port != to => break,
                in_segments => in_segments.map_or(0, |(_, done)| done),
            };
            let before = segments;
            let held_ns = HELD_NS + self.taken_ns.saturating_sub(waiting.taken_ns);
            let received = self.deliver(vms, from, to, &mut segments, host);
            waiting.in_segments = None;
            if segments > before {
                self.ports[to].receiver = Receiver::Up;
                *touched |= 1 << to;
                (waiting.since, waiting.taken_ns) = (now, self.taken_ns);
            }
            let dropped = match received {
                Received::Done => {
                    self.ports[to].receiver = Receiver::Up;
                    *touched |= 1 << to;
                    waiting.is_settled = true;
                    None
                }
                Received::NotTaken => None,
                Received::NoBuffers => {
                    let receiver = &mut self.ports[to].receiver;
                    match receiver {
                        Receiver::NotUp => Some(DropReason::NotReady),
                        Receiver::Up if now < waiting.since.after_ns(held_ns) => {
                            waiting.in_segments = (segments > 0).then_some((to, segments));
                            continue;
                        }
                        Receiver::Up | Receiver::Stuck => {
                            *receiver = Receiver::Stuck;
                            Some(DropReason::NoBuffers)
                        }
                    }
                }
                Received::Refused(reason) => {
                    // A driver that broke a rule by its buffers is to learn of it.
                    *touched |= if reason == DropReason::NotReady { 1 << to } else { 0 };
                    Some(reason)
                }
            };
            waiting.targets &= !(1 << to);
            waiting.is_settled |= dropped.is_some();
            self.drop_copy(vms, from, dropped);
        }
        if waiting.targets != 0 {
            self.ports[from].waiting = Some(waiting);
            return false;
        }
        let none = (!waiting.is_settled && !is_multicast).then_some(DropReason::NoReceiver);
        self.drop_copy(vms, from, none);
        self.finish(vms, from, touched, host);
        true
    }

    /// The frame of `from` that waits, or its next one; and whether it is for several.
    fn take<M: GuestMemory, H: Host<M>>(
        &mut self,
        vms: &mut [Vm<M>],
        from: usize,
        now: Instant,
        host: &mut H,
    ) -> Option<(Waiting, bool)> {
        let waiting = self.ports[from].waiting.take();
        if self.ports[from].is_gone {
            return None;
        }
        let is_captured = self.is_captured && waiting.is_none();
        let (source, destination) = match self.ports[from].end {
            End::Nic { vm, device } => {
                let Vm { machine, memory, .. } = &mut vms[vm];
                let frame = machine.nic_mut(device)?.next(memory)?;
                if is_captured {
                    host.capture(self.number, from, Some(&frame), now);
                }
                (frame.source, frame.destination)
            }
            End::Uplink => {
                let addresses = self.look_outside(host)?;
                if is_captured {
                    host.capture(self.number, from, None, now);
                }
                addresses
            }
        };
        let waiting = waiting.unwrap_or_else(|| {
            let targets = self.targets(from, source, destination, now);
            let taken_ns = self.taken_ns;
            Waiting { targets, since: now, taken_ns, is_settled: false, in_segments: None }
        });
        Some((waiting, is_multicast(destination)))
    }

    fn targets(&mut self, from: usize, source: Mac, destination: Mac, now: Instant) -> Ports {
        match self.switch.route(from, source, destination, now) {
            Route::To(port) => 1 << port,
            Route::Flood => {
                let others = self.ports.iter().enumerate();
                let others = others.filter(|(number, port)| *number != from && !port.is_gone);
                others.fold(0, |ports, (number, _)| ports | 1 << number)
            }
            Route::Nowhere => 0,
        }
    }

    /// Copies the frame of one port to the buffers of another, or to the uplink. A receiver may
    /// take it in segments, of which `segments` are done.
    fn deliver<M: GuestMemory, H: Host<M>>(
        &mut self,
        vms: &mut [Vm<M>],
        from: usize,
        to: usize,
        segments: &mut u64,
        host: &mut H,
    ) -> Received {
        let [sender, receiver] = [from, to].map(|port| self.ports[port].end);
        if self.ports[to].is_gone {
            return Received::Refused(match receiver {
                End::Nic { .. } => DropReason::Ended,
                End::Uplink => DropReason::TapGone,
            });
        }
        match (sender, receiver) {
            (End::Nic { vm, device }, End::Nic { vm: receiver, device: its }) => {
                // They are of two VMs: a plan's check sees to it.
                let Ok([sender, receiver]) = vms.get_disjoint_mut([vm.0, receiver.0]) else {
                    return Received::NotTaken;
                };
                let net = sender.machine.nic_mut(device);
                let frame = net.and_then(|net| net.next(&sender.memory));
                match (frame, receiver.machine.nic_mut(its)) {
                    (Some(frame), Some(net)) => net.receive(&receiver.memory, &frame, segments),
                    _ => Received::NotTaken,
                }
            }
            (End::Nic { vm, device }, End::Uplink) => {
                let Vm { machine, memory, .. } = &mut vms[vm];
                let frame = machine.nic_mut(device).and_then(|net| net.next(memory));
                frame.map_or(Received::NotTaken, |frame| self.send_outside(&frame, host))
            }
            (End::Uplink, End::Nic { vm, device }) => {
                let Vm { machine, memory, .. } = &mut vms[vm];
                let FromUplink::Frame(bytes) = host.receive_from_uplink(self.number) else {
                    return Received::NotTaken;
                };
                match (Frame::from_outside(bytes), machine.nic_mut(device)) {
                    (Some(frame), Some(net)) => net.receive(memory, &frame, segments),
                    _ => Received::NotTaken,
                }
            }
            (End::Uplink, End::Uplink) => Received::NotTaken,
        }
    }

    fn drop_copy<M>(&mut self, vms: &mut [Vm<M>], from: usize, reason: Option<DropReason>) {
        let Some(reason) = reason else { return };
        match self.ports[from].end {
            End::Nic { vm, device } => {
                if let Some(net) = vms[vm].machine.nic_mut(device) {
                    net.dropped(reason);
                }
            }
            End::Uplink => self.drop_from_outside(reason),
        }
    }

    fn finish<M: GuestMemory, H: Host<M>>(
        &mut self,
        vms: &mut [Vm<M>],
        from: usize,
        touched: &mut Ports,
        host: &mut H,
    ) {
        match self.ports[from].end {
            End::Nic { vm, device } => {
                let Vm { machine, memory, .. } = &mut vms[vm];
                if let Some(net) = machine.nic_mut(device) {
                    net.finish(memory);
                    *touched |= 1 << from;
                }
            }
            End::Uplink => self.finish_from_outside(host),
        }
    }

    /// The ports whose frames wait for `port`.
    pub(super) fn waiting_for(&self, port: usize) -> Ports {
        let waits = |from: &super::NetworkPort| {
            from.waiting.is_some_and(|waiting| waiting.targets & 1 << port != 0)
        };
        let ports = self.ports.iter().enumerate().filter(|(_, from)| waits(from));
        ports.fold(0, |ports, (number, _)| ports | 1 << number)
    }
}
