//! Frames between the network interfaces of VMs: in the exit that sends them, or that makes buffers
//! for them, as far as the turn lasts.
//!
//! A frame goes from its sender's buffers to its receivers' at once. While one of these has no
//! buffers the frame stays where it is, and so does what its sender has made available behind it;
//! the receiver's notification of new buffers lets them go on. A receiver that keeps a frame
//! waiting for [`HELD_NS`] gets no frames until it has buffers again: it holds no sender up twice.

use super::System;
use crate::Instant;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::plan::{MAX_VMS, Plan, VirtioKind};
use crate::scheduler::Next;
use crate::seam::Host;
use crate::vm::Vm;
use alloc::vec::Vec;
use devices::switch::{Route, Switch};
use devices::virtio::Event;
use devices::virtio::net::{DropReason, RECEIVE, Received, is_multicast};

/// How long a frame waits for its receiver's buffers: less than the 5 s after which Linux reports a
/// transmit queue that stands still.
pub const HELD_NS: u64 = 2_000_000_000;

/// The networks of a system.
#[derive(Debug)]
pub struct Networks {
    /// In the plan's order.
    pub all: Vec<Network>,
    /// No frame has waited for too long before.
    held_until: Instant,
}

/// A network: a switch, and the interfaces at it, at most one of each VM.
#[derive(Debug)]
pub struct Network {
    switch: Switch,
    /// The interfaces.
    pub ports: Vec<NetworkPort>,
}

/// An interface at a switch.
#[derive(Debug)]
pub struct NetworkPort {
    /// Its VM.
    pub vm: VmIndex,
    /// Its place among the VM's virtio devices.
    pub device: usize,
    is_gone: bool,
    receiver: Receiver,
    /// Its frame that waits, if one does.
    waiting: Option<Waiting>,
}

/// What an interface's driver does about buffers for frames.
#[derive(Clone, Copy, Debug)]
enum Receiver {
    /// It has given none since it started: Linux's does when the interface is brought up.
    NotUp,
    /// It gives them.
    Up,
    /// A frame has waited for them for too long, and it has given none since.
    Stuck,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The ports that have not got it.
    targets: Ports,
    since: Instant,
    /// Some port has got it, or a reason why not is counted.
    is_settled: bool,
}

/// Bit n: port n. Each is of another VM, so there are no more than VMs.
type Ports = u64;
const _: () = assert!(MAX_VMS <= Ports::BITS as usize);

fn numbers(mut ports: Ports) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let first = (ports != 0).then(|| ports.trailing_zeros() as usize)?;
        ports &= ports - 1;
        Some(first)
    })
}

impl Networks {
    pub(super) fn new(plan: &Plan) -> Self {
        let network = |index| {
            let port = |(vm, plan): (usize, &crate::plan::VmPlan)| {
                let nic = plan.virtio.nics.iter().position(|nic| nic.network == index)?;
                let device = plan.virtio.devices().position(|kind| kind == VirtioKind::Nic(nic))?;
                let (is_gone, receiver, waiting) = (false, Receiver::NotUp, None);
                let vm = VmIndex(vm);
                Some((
                    plan.virtio.nics[nic].mac,
                    NetworkPort { vm, device, is_gone, receiver, waiting },
                ))
            };
            let (macs, ports) = plan.vms.iter().enumerate().filter_map(port).unzip();
            Network { switch: Switch::new(macs), ports }
        };
        let all = (0..plan.networks.len()).map(network).collect();
        Self { all, held_until: Instant::FAR_FUTURE }
    }

    /// The network and the port of a VM's device.
    fn place(&self, vm: VmIndex, device: usize) -> Option<(usize, usize)> {
        let is_it = |port: &NetworkPort| port.vm == vm && port.device == device;
        let port = |(number, network): (usize, &Network)| {
            network.ports.iter().position(is_it).map(|port| (number, port))
        };
        self.all.iter().enumerate().find_map(port)
    }

    /// An idle core waits no longer than frames do.
    pub(super) fn bound_idle(&self, next: Next) -> Next {
        match next {
            Next::Idle { until } => Next::Idle { until: until.min(self.held_until) },
            Next::Run { .. } | Next::Done => next,
        }
    }

    fn note_waiting(&mut self) {
        let ports = self.all.iter().flat_map(|network| &network.ports);
        let since = ports.filter_map(|port| port.waiting).map(|waiting| waiting.since).min();
        self.held_until = since.map_or(Instant::FAR_FUTURE, |since| since.after_ns(HELD_NS));
    }
}

impl Network {
    /// Passes on the next frame of a port; false if there is none that can go. Adds the ports with
    /// something new for their drivers to `touched`.
    fn send<M: GuestMemory>(
        &mut self,
        vms: &mut [Vm<M>],
        from: usize,
        now: Instant,
        touched: &mut Ports,
    ) -> bool {
        let Some((mut waiting, is_multicast)) = self.take(vms, from, now) else { return false };
        for to in numbers(waiting.targets) {
            let received = match self.ports[to].is_gone {
                true => Received::Refused(DropReason::Ended),
                false => deliver(vms, &self.ports[from], &self.ports[to]),
            };
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
                        Receiver::Up if now.ns_since(waiting.since) < HELD_NS => continue,
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
        let Vm { machine, memory, .. } = &mut vms[self.ports[from].vm];
        if let Some(net) = machine.nic_mut(self.ports[from].device) {
            net.finish(memory);
            *touched |= 1 << from;
        }
        true
    }

    /// The frame of `from` that waits, or its next one; and whether it is for several.
    fn take<M: GuestMemory>(
        &mut self,
        vms: &mut [Vm<M>],
        from: usize,
        now: Instant,
    ) -> Option<(Waiting, bool)> {
        let NetworkPort { vm, device, is_gone, .. } = self.ports[from];
        let waiting = self.ports[from].waiting.take();
        if is_gone {
            return None;
        }
        let Vm { machine, memory, .. } = &mut vms[vm];
        let frame = machine.nic_mut(device)?.next(memory)?;
        let waiting = waiting.unwrap_or_else(|| {
            let targets = match self.switch.route(from, frame.source, frame.destination, now) {
                Route::To(port) => 1 << port,
                Route::Flood => {
                    let others = self.ports.iter().enumerate();
                    let others = others.filter(|(number, port)| *number != from && !port.is_gone);
                    others.fold(0, |ports, (number, _)| ports | 1 << number)
                }
                Route::Nowhere => 0,
            };
            Waiting { targets, since: now, is_settled: false }
        });
        Some((waiting, is_multicast(frame.destination)))
    }

    fn drop_copy<M>(&self, vms: &mut [Vm<M>], from: usize, reason: Option<DropReason>) {
        let port = &self.ports[from];
        if let (Some(reason), Some(net)) = (reason, vms[port.vm].machine.nic_mut(port.device)) {
            net.dropped(reason);
        }
    }

    /// The ports whose frames wait for `port`.
    fn waiting_for(&self, port: usize) -> Ports {
        let waits = |from: &NetworkPort| {
            from.waiting.is_some_and(|waiting| waiting.targets & 1 << port != 0)
        };
        let ports = self.ports.iter().enumerate().filter(|(_, from)| waits(from));
        ports.fold(0, |ports, (number, _)| ports | 1 << number)
    }
}

/// Copies the frame of one port to another's buffers.
fn deliver<M: GuestMemory>(vms: &mut [Vm<M>], from: &NetworkPort, to: &NetworkPort) -> Received {
    // They are of two VMs: a plan's check sees to it.
    let Ok([sender, receiver]) = vms.get_disjoint_mut([from.vm.0, to.vm.0]) else {
        return Received::NotTaken;
    };
    let net = sender.machine.nic_mut(from.device);
    let frame = net.and_then(|net| net.next(&sender.memory));
    match (frame, receiver.machine.nic_mut(to.device)) {
        (Some(frame), Some(net)) => net.receive(&receiver.memory, &frame),
        _ => Received::NotTaken,
    }
}

impl<M: GuestMemory> System<M> {
    /// Follows up a guest's access to its network interface.
    pub(super) fn after_nic_event<H: Host<M>>(
        &mut self,
        vm: VmIndex,
        device: usize,
        event: Event,
        host: &mut H,
    ) {
        let Some((network, number)) = self.networks.place(vm, device) else { return };
        let port = &mut self.networks.all[network].ports[number];
        match event {
            Event::Started => port.receiver = Receiver::NotUp,
            Event::Notified(RECEIVE) => port.receiver = Receiver::Up,
            Event::Notified(_) => {}
            // Its frame is gone with the queue, and frames for it go no further.
            Event::Reset => port.waiting = None,
        }
        self.serve_nic(vm, device, host);
    }

    /// Carries out a driver's commands, and passes on the frames that wait for its buffers, and its
    /// own.
    pub(super) fn serve_nic<H: Host<M>>(&mut self, vm: VmIndex, device: usize, host: &mut H) {
        let Some((number, port)) = self.networks.place(vm, device) else { return };
        let network = &mut self.networks.all[number];
        let Vm { machine, memory, .. } = &mut self.vms[vm];
        if let Some(net) = machine.nic_mut(device) {
            net.control(memory);
        }
        let (mut now, until) = (host.now(), self.until);
        let (mut touched, mut cut_short): (Ports, Ports) = (1 << port, 0);
        let others = network.waiting_for(port) & !(1 << port);
        for from in numbers(others).chain([port]) {
            let mut is_cut_short = cut_short != 0;
            while !is_cut_short && network.send(&mut self.vms, from, now, &mut touched) {
                now = host.now();
                is_cut_short = now >= until;
            }
            cut_short |= if is_cut_short { 1 << from } else { 0 };
        }
        self.networks.note_waiting();
        self.publish_frames(number, (touched, cut_short), Some(vm), now);
    }

    /// Interrupts the drivers of these ports, if they want that, and wakes their VMs; those of
    /// `cut_short` send on in their next turns. `running` has the core.
    fn publish_frames(
        &mut self,
        network: usize,
        (touched, cut_short): (Ports, Ports),
        running: Option<VmIndex>,
        now: Instant,
    ) {
        for port in numbers(touched | cut_short) {
            let NetworkPort { vm, device, is_gone, .. } = self.networks.all[network].ports[port];
            if is_gone {
                continue;
            }
            let Vm { machine, memory, .. } = &mut self.vms[vm];
            if let Some(net) = machine.nic_mut(device) {
                net.signal(memory);
            }
            machine.sample_virtio_pins();
            let is_cut_short = cut_short & 1 << port != 0;
            if is_cut_short {
                machine.postpone_device(device);
            }
            match running == Some(vm) {
                true => {}
                false if is_cut_short => self.vcpus_of(vm).for_each(|vcpu| self.wake(vcpu, now)),
                false => self.rouse(vm, now),
            }
        }
    }

    /// Drops frames that have waited too long.
    #[inline]
    pub(super) fn release_held_frames(&mut self, now: Instant) {
        if now >= self.networks.held_until {
            self.let_frames_go(now);
        }
    }

    /// Tries the frames that wait once more; what is behind them goes in their VMs' next turns.
    #[inline(never)]
    fn let_frames_go(&mut self, now: Instant) {
        for number in 0..self.networks.all.len() {
            let (mut touched, mut going) = (0, 0);
            let network = &mut self.networks.all[number];
            for from in 0..network.ports.len() {
                let is_waiting = network.ports[from].waiting.is_some();
                if is_waiting && network.send(&mut self.vms, from, now, &mut touched) {
                    going |= 1 << from;
                }
            }
            self.publish_frames(number, (touched, going), None, now);
        }
        self.networks.note_waiting();
    }

    /// Takes the interfaces of a VM that has ended off their networks. The last one that is left at
    /// a network loses its link.
    pub(super) fn leave_networks(&mut self, vm: VmIndex, now: Instant) {
        for number in 0..self.networks.all.len() {
            let network = &mut self.networks.all[number];
            let Some(port) = network.ports.iter().position(|port| port.vm == vm) else { continue };
            (network.ports[port].is_gone, network.ports[port].waiting) = (true, None);
            network.switch.forget(port);
            self.check_link(number, now);
        }
        self.let_frames_go(now);
    }

    /// Takes down the links of interfaces that are alone at their networks from the start.
    pub(super) fn check_links(&mut self, now: Instant) {
        (0..self.networks.all.len()).for_each(|network| self.check_link(network, now));
    }

    /// Takes the link of an interface down that has no other one beside it.
    fn check_link(&mut self, network: usize, now: Instant) {
        let ports = &self.networks.all[network].ports;
        let mut left = ports.iter().enumerate().filter(|(_, port)| !port.is_gone);
        if let (Some((last, NetworkPort { vm, device, .. })), None) = (left.next(), left.next()) {
            if let Some(net) = self.vms[*vm].machine.nic_mut(*device) {
                net.set_link(false);
            }
            self.publish_frames(network, (1 << last, 0), None, now);
        }
    }
}
