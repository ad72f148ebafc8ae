//! Frames between the network interfaces of VMs: in the exit that sends them, or that makes buffers
//! for them, as far as the turn lasts.
//!
//! A frame goes from its sender's buffers to its receivers' at once. While one of these has no
//! buffers the frame stays where it is, and so does what its sender has made available behind it;
//! the receiver's notification of new buffers lets them go on. A receiver that keeps a frame
//! waiting for [`HELD_NS`] gets no frames until it has buffers again: it holds no sender up twice.
//!
//! An uplink is a port as well ([`Uplink`]): what is sent to it goes in the same exit, and what
//! comes from it is fetched between turns and when an interface's driver notifies. The host keeps
//! what is not fetched.

mod link_status;
mod passing;
mod uplink;

pub use uplink::Uplink;

use super::System;
use crate::Instant;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::plan::{MAX_VMS, Plan, VirtioKind};
use crate::seam::Host;
use crate::vm::Vm;
use alloc::vec::Vec;
use devices::switch::Switch;
use devices::virtio::Event;
use devices::virtio::net::{RECEIVE, TRANSMIT};

/// How long a frame waits for its receiver's buffers, one in segments for those of the next one:
/// less than the 5 s after which Linux reports a transmit queue that stands still.
pub const HELD_NS: u64 = 2_000_000_000;

/// The networks of a system.
#[derive(Debug)]
pub struct Networks {
    /// In the plan's order.
    pub all: Vec<Network>,
    /// No frame has waited for too long before.
    held_until: Instant,
    /// No frame needs to be looked for before: `held_until`, or at any time with an uplink.
    due: Instant,
}

/// A network: a switch, and what is at its ports.
#[derive(Debug)]
pub struct Network {
    /// Its place in the plan.
    number: usize,
    switch: Switch,
    /// The interfaces, at most one of each VM; behind them, the uplink.
    pub ports: Vec<NetworkPort>,
    /// Its uplink, if it has one.
    pub uplink: Option<Uplink>,
    /// The host records its frames.
    is_captured: bool,
    /// What the host has taken so far.
    taken_ns: u64,
}

/// A port of a switch.
#[derive(Debug)]
pub struct NetworkPort {
    end: End,
    is_gone: bool,
    receiver: Receiver,
    /// Its frame that waits, if one does.
    waiting: Option<Waiting>,
}

/// What is at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// An interface: its VM, and its place among the VM's virtio devices.
    Nic { vm: VmIndex, device: usize },
    /// The way out of the machine.
    Uplink,
}

/// What a port's receiver, an interface's driver, does about buffers for frames.
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
    /// What the host had taken by then: while it has the core, no receiver can give buffers.
    taken_ns: u64,
    /// Some port has got it, or a reason why not is counted.
    is_settled: bool,
    /// This port has got so many of its segments; the others get it behind that one.
    in_segments: Option<(usize, u64)>,
}

/// Bit n: port n. Each is of another VM, but for an uplink.
type Ports = u128;
const _: () = assert!(MAX_VMS < Ports::BITS as usize);

fn numbers(mut ports: Ports) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let first = (ports != 0).then(|| ports.trailing_zeros() as usize)?;
        ports &= ports - 1;
        Some(first)
    })
}

impl Networks {
    pub(super) fn new(plan: &Plan) -> Self {
        let all = (0..plan.networks.len()).map(|number| Network::new(plan, number)).collect();
        let mut networks = Self { all, held_until: Instant::FAR_FUTURE, due: Instant::FAR_FUTURE };
        networks.note_waiting();
        networks
    }

    /// The network and the port of a VM's device.
    fn place(&self, vm: VmIndex, device: usize) -> Option<(usize, usize)> {
        let is_it = |port: &NetworkPort| port.end == End::Nic { vm, device };
        let port = |(number, network): (usize, &Network)| {
            network.ports.iter().position(is_it).map(|port| (number, port))
        };
        self.all.iter().enumerate().find_map(port)
    }

    /// An idle core waits no longer than frames do.
    pub(super) fn bound_idle(&self, until: Instant) -> Instant {
        until.min(self.held_until)
    }

    fn note_waiting(&mut self) {
        let ends = self.all.iter().filter_map(Network::held_until);
        self.held_until = ends.min().unwrap_or(Instant::FAR_FUTURE);
        let has_uplink = self.all.iter().any(|network| network.uplink.is_some());
        self.due = if has_uplink { Instant::ZERO } else { self.held_until };
    }
}

impl Network {
    fn new(plan: &Plan, number: usize) -> Self {
        let port = |(vm, plan): (usize, &crate::plan::VmPlan)| {
            let nic = plan.virtio.nics.iter().position(|nic| nic.network == number)?;
            let device = plan.virtio.devices().position(|kind| kind == VirtioKind::Nic(nic))?;
            let end = End::Nic { vm: VmIndex(vm), device };
            Some((plan.virtio.nics[nic].mac, NetworkPort::new(end, Receiver::NotUp)))
        };
        let (macs, mut ports): (_, Vec<_>) = plan.vms.iter().enumerate().filter_map(port).unzip();
        let network = &plan.networks[number];
        let uplink = network.tap.as_ref().map(|_| Uplink::default());
        if uplink.is_some() {
            ports.push(NetworkPort::new(End::Uplink, Receiver::Up));
        }
        let is_captured = network.pcap.is_some();
        Self { number, switch: Switch::new(macs), ports, uplink, is_captured, taken_ns: 0 }
    }

    /// Until when the first frame that waits is held, as far as is known.
    fn held_until(&self) -> Option<Instant> {
        let waiting = self.ports.iter().filter_map(|port| port.waiting);
        let end = |waiting: Waiting| {
            waiting.since.after_ns(HELD_NS + self.taken_ns.saturating_sub(waiting.taken_ns))
        };
        waiting.map(end).min()
    }

    /// The port of the uplink, unless that is gone.
    fn uplink_port(&self) -> Option<usize> {
        self.ports.iter().position(|port| port.end == End::Uplink && !port.is_gone)
    }

    /// The port of a VM's interface.
    fn port_of(&self, of: VmIndex) -> Option<usize> {
        self.ports.iter().position(|port| port.nic().is_some_and(|(vm, _)| vm == of))
    }
}

impl NetworkPort {
    const fn new(end: End, receiver: Receiver) -> Self {
        Self { end, is_gone: false, receiver, waiting: None }
    }

    /// The VM of the interface at it, and the interface's place among the VM's virtio devices; None
    /// for an uplink.
    #[must_use]
    pub const fn nic(&self) -> Option<(VmIndex, usize)> {
        match self.end {
            End::Nic { vm, device } => Some((vm, device)),
            End::Uplink => None,
        }
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
        let was_up = port.receiver.is_up();
        match event {
            Event::Started => port.receiver = self.vms[vm].first_receiver(device),
            Event::Notified(RECEIVE) => port.receiver = Receiver::Up,
            Event::Withdrawn(RECEIVE) => port.receiver = Receiver::NotUp,
            // Its frame is gone with the queue, and frames for it go no further.
            Event::Withdrawn(TRANSMIT) => port.waiting = None,
            Event::Notified(_) | Event::Withdrawn(_) => {}
            Event::Reset => (port.receiver, port.waiting) = (Receiver::NotUp, None),
        }
        let has_changed = port.receiver.is_up() != was_up;
        if matches!(event, Event::Started | Event::Reset) {
            self.set_uplink_offloads(network, host);
        }
        self.serve_nic(vm, device, host);
        if has_changed {
            self.check_link(network, host.now());
        }
    }

    /// Carries out a driver's commands, and passes on the frames that wait for its buffers, and its
    /// own.
    pub(super) fn serve_nic<H: Host<M>>(&mut self, vm: VmIndex, device: usize, host: &mut H) {
        let Some((number, port)) = self.networks.place(vm, device) else { return };
        let network = &mut self.networks.all[number];
        network.taken_ns = self.taken_ns;
        let Vm { machine, memory, .. } = &mut self.vms[vm];
        if let Some(net) = machine.nic_mut(device) {
            net.control(memory);
        }
        let (mut now, until) = (host.now(), self.until);
        let (mut touched, mut cut_short): (Ports, Ports) = (1 << port, 0);
        let uplink = network.uplink_port().map_or(0, |uplink| 1 << uplink);
        let others = network.waiting_for(port) & !(1 << port | uplink);
        for from in numbers(others).chain([port]) {
            let mut is_cut_short = cut_short != 0;
            while !is_cut_short && network.send(&mut self.vms, from, now, &mut touched, host) {
                now = host.now();
                is_cut_short = now >= until;
            }
            cut_short |= if is_cut_short { 1 << from } else { 0 };
        }
        if cut_short == 0 {
            network.fetch(&mut self.vms, now, &mut touched, host);
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
            let NetworkPort { end, is_gone, .. } = self.networks.all[network].ports[port];
            let End::Nic { vm, device } = end else { continue };
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
        let uplink = self.networks.all[network].uplink.as_mut();
        if uplink.is_some_and(Uplink::take_loss) {
            self.check_link(network, now);
        }
    }

    /// Drops frames that have waited too long, and fetches those from outside.
    #[inline]
    pub(super) fn release_held_frames<H: Host<M>>(&mut self, now: Instant, host: &mut H) {
        if now >= self.networks.due {
            self.let_frames_go(now, host);
        }
    }

    /// Tries the frames that wait once more; what is behind them goes in their VMs' next turns.
    /// Fetches some from outside.
    #[inline(never)]
    fn let_frames_go<H: Host<M>>(&mut self, now: Instant, host: &mut H) {
        for number in 0..self.networks.all.len() {
            let (mut touched, mut going) = (0, 0);
            let network = &mut self.networks.all[number];
            network.taken_ns = self.taken_ns;
            for from in 0..network.ports.len() {
                // The uplink's is tried when it is fetched.
                let NetworkPort { waiting, end, .. } = network.ports[from];
                let is_waiting = waiting.is_some() && end != End::Uplink;
                if is_waiting && network.send(&mut self.vms, from, now, &mut touched, host) {
                    going |= 1 << from;
                }
            }
            network.fetch(&mut self.vms, now, &mut touched, host);
            self.publish_frames(number, (touched, going), None, now);
        }
        self.networks.note_waiting();
    }

    /// Plugs the interfaces of a VM that begins anew into their networks.
    pub(super) fn rejoin_networks<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        for number in 0..self.networks.all.len() {
            let network = &mut self.networks.all[number];
            let Some(port) = network.port_of(vm) else { continue };
            let end = network.ports[port].end;
            network.ports[port] = NetworkPort::new(end, Receiver::NotUp);
            self.set_uplink_offloads(number, host);
            self.check_link(number, now);
        }
    }

    /// Takes the interfaces of a VM that has ended off their networks.
    pub(super) fn leave_networks<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        for number in 0..self.networks.all.len() {
            let network = &mut self.networks.all[number];
            let Some(port) = network.port_of(vm) else { continue };
            (network.ports[port].is_gone, network.ports[port].waiting) = (true, None);
            network.switch.forget(port);
            self.set_uplink_offloads(number, host);
            self.check_link(number, now);
        }
        self.let_frames_go(now, host);
    }
}
