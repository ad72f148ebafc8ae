//! The effects of an access to a serial port: bytes over links and consoles, and the verdict of
//! [`crate::polling`].

use super::{Step, System};
use crate::Instant;
use crate::index::{Com, LinkedPort, VcpuIndex, VmIndex};
use crate::machine::{Machine, SerialAccess};
use crate::memory::GuestMemory;
use crate::plan::Plan;
use crate::polling::{self, Access, Verdict};
use crate::seam::{ExitReason, Host};
use crate::vm::{Vcpu, Vm};
use alloc::vec::Vec;
use devices::link::{Link, LinkEnd, LinkSettings, Ports};
use devices::uart::Port;

/// Records a tap keeps until the host fetches them.
const TAP_RECORDS: usize = 1 << 16;

/// A link and the ports at its ends.
#[derive(Debug)]
pub struct Wire {
    /// The link.
    pub link: Link,
    /// VM and port of each end.
    pub ends: WireEnds,
}

/// The ends of a wire. Where all are serial ports, an access to one looks at nothing else.
#[derive(Debug)]
pub enum WireEnds {
    /// Serial ports.
    Uarts(Vec<(VmIndex, Com)>),
    /// Some are ports of virtio consoles.
    Mixed(Vec<(VmIndex, LinkedPort)>),
}

impl WireEnds {
    fn new(ends: Vec<(VmIndex, LinkedPort)>) -> Self {
        let uart = |(vm, port): &(VmIndex, LinkedPort)| match port {
            LinkedPort::Com(com) => Some((*vm, *com)),
            LinkedPort::Hvc(_) => None,
        };
        let uarts: Option<Vec<_>> = ends.iter().map(uart).collect();
        uarts.map_or(Self::Mixed(ends), Self::Uarts)
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        match self {
            Self::Uarts(ends) => ends.len(),
            Self::Mixed(ends) => ends.len(),
        }
    }

    /// The VM and port at `end`.
    ///
    /// # Panics
    /// The wire has no such end.
    #[must_use]
    pub fn at(&self, LinkEnd(end): LinkEnd) -> (VmIndex, LinkedPort) {
        match self {
            Self::Uarts(ends) => (ends[end].0, LinkedPort::Com(ends[end].1)),
            Self::Mixed(ends) => ends[end],
        }
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (VmIndex, LinkedPort)> {
        LinkEnd::first(self.count()).map(|end| self.at(end))
    }
}

impl Wire {
    /// A wire for each link of the plan.
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        let wire = |(index, link): (usize, &crate::plan::LinkPlan)| {
            let mut ends = Vec::new();
            for (vm, plan) in plan.vms.iter().enumerate() {
                let own = plan.link_ends().filter(|(_, link)| *link == index);
                ends.extend(own.map(|(port, _)| (VmIndex(vm), port)));
            }
            let settings = LinkSettings { baud: link.baud, is_lossy: link.is_lossy };
            let made = Link::new(settings, ends.len());
            let link = if link.tap.is_some() { made.with_tap(TAP_RECORDS) } else { made };
            Self { link, ends: WireEnds::new(ends) }
        };
        plan.links.iter().enumerate().map(wire).collect()
    }
}

/// Fast path: carries out a write to a register of a UART that moves nothing. False, and nothing is
/// done, for any other exit.
#[inline(always)]
pub(super) fn sets(reason: ExitReason, machine: &mut Machine, vcpu: &mut Vcpu) -> bool {
    let ExitReason::PortOut { port, size: 1, value } = reason else { return false };
    let Some(com) = machine.serial_set(port, value as u8) else { return false };
    vcpu.polling.goes_on(com);
    true
}

/// The ports of a wire's ends, wherever they are.
struct Ends<'a, M> {
    vms: &'a mut [Vm<M>],
    ends: &'a [(VmIndex, Com)],
}

impl<M> Ports for Ends<'_, M> {
    type Port<'a>
        = &'a mut Port
    where
        Self: 'a;

    fn port(&mut self, end: LinkEnd) -> &mut Port {
        let (vm, port) = self.ends[end.0];
        let port = self.vms[vm].machine.serial_mut(port);
        port.expect("a wire's ends are ports that the machine was made with")
    }
}

impl<M: GuestMemory> System<M> {
    /// Follows up an access to a serial port that may have moved something; `read` is what was read
    /// there.
    #[inline(never)]
    pub(super) fn after_serial_access<H: Host<M>>(
        &mut self,
        index: VcpuIndex,
        access: SerialAccess,
        read: Option<u8>,
        now: Instant,
        host: &mut H,
    ) -> Step {
        let SerialAccess { com, register } = access;
        let vm = index.vm();
        let Some(serial) = self.vms[vm].machine.serial(com) else { return Step::Continue };
        let (has_link, has_console) = (serial.has_link(), serial.has_console());
        let mut has_found = has_link && self.pump_wire_of(vm, com, now);
        if has_console {
            self.drain_console(vm, com, host);
            // Reading makes room and shows that the driver is ready; writing does neither.
            has_found |= read.is_some() && self.feed_console(vm, com, now, host);
        }
        let seen = Access { com, read: register.zip(read), has_found };
        let (machine, vcpu) = self.vms[vm].parts(index);
        match vcpu.polling.saw(seen, &self.exit_cost) {
            Verdict::Work => Step::Continue,
            Verdict::Doze => Step::Halt(machine.own_deadline().min(now.after_ns(polling::DOZE_NS))),
            Verdict::Spin if self.scheduler.is_wanted_by_others(index, now) => Step::Yield,
            Verdict::Spin => Step::Continue,
        }
    }

    /// Pumps the wire at this port, and wakes the VMs it reaches. True if one of them is
    /// this VM.
    fn pump_wire_of(&mut self, vm: VmIndex, com: Com, now: Instant) -> bool {
        let Some(wire) = self.vms[vm].machine.wire_of(com) else { return false };
        self.pump_wire(wire, vm, now)
    }

    /// Pumps a wire for an access of `vm`, and wakes the VMs it reaches. True if one of them is
    /// `vm`.
    #[inline(always)]
    pub(super) fn pump_wire(&mut self, wire: usize, vm: VmIndex, now: Instant) -> bool {
        let mut is_reached = false;
        let Wire { link, ends } = &mut self.wires[wire];
        let WireEnds::Uarts(ends) = ends else { return self.pump_mixed(wire, vm, now) };
        let reached = link.pump(&mut Ends { vms: &mut self.vms, ends }, now);
        for end in reached.iter() {
            let (reached_vm, _) = self.wires[wire].ends.at(end);
            self.vms[reached_vm].machine.sample_serial_pins();
            is_reached |= reached_vm == vm;
            if reached_vm != vm {
                self.rouse(reached_vm, now);
            }
        }
        is_reached
    }

    /// Disconnects the ports of a VM that ended.
    pub(super) fn unplug<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        for com in Com::ALL {
            if self.vms[vm].machine.serial_mut(com).is_some_and(|port| port.has_console()) {
                self.drain_console(vm, com, host);
            }
            if let Some(port) = self.vms[vm].machine.serial_mut(com) {
                while let Some(byte) = port.console_unread() {
                    host.input_unread(vm, byte);
                }
            }
        }
        for wire in 0..self.wires.len() {
            let Wire { link, ends } = &mut self.wires[wire];
            let mut is_at_it = false;
            for (end, (owner, _)) in ends.iter().enumerate() {
                if owner == vm {
                    link.stop(LinkEnd(end));
                    is_at_it = true;
                }
            }
            if is_at_it {
                self.pump_wire(wire, vm, now);
            }
        }
    }

    /// Hands what the guest printed to the host.
    fn drain_console<H: Host<M>>(&mut self, vm: VmIndex, com: Com, host: &mut H) {
        let Some(port) = self.vms[vm].machine.serial_mut(com) else { return };
        let Some(first) = port.console_take() else { return };
        let mut bytes = [first; 32];
        let mut len = 1;
        while let Some(byte) = port.console_take() {
            bytes[len] = byte;
            len += 1;
            if len == bytes.len() {
                host.console_output(vm, &bytes);
                len = 0;
            }
        }
        if len > 0 {
            host.console_output(vm, &bytes[..len]);
        }
    }

    /// Hands what was typed to all guests that can take it.
    pub(super) fn feed_consoles<H: Host<M>>(&mut self, now: Instant, host: &mut H) {
        if !host.has_console_input() {
            return;
        }
        for vm in VmIndex::first(self.vms.len()) {
            if self.vms[vm].machine.has_keyboard() && self.vms[vm].ending.is_none() {
                self.feed_keyboard(vm, now, host);
                continue;
            }
            for com in Com::ALL {
                if self.vms[vm].has_guest() {
                    self.feed_console(vm, com, now, host);
                }
            }
            if self.vms[vm].has_guest() {
                self.feed_hvc(vm, now, host);
            }
        }
    }

    /// Hands it to one guest; whether there was something.
    fn feed_console<H: Host<M>>(
        &mut self,
        vm: VmIndex,
        com: Com,
        now: Instant,
        host: &mut H,
    ) -> bool {
        if self.vms[vm].machine.has_keyboard() {
            return false;
        }
        let Some(port) = self.vms[vm].machine.serial_mut(com) else { return false };
        let mut has_fed = false;
        // What is typed while a guest still boots waits, or its driver's first reset would drop it.
        while port.has_console() && port.is_listening() && port.console_space() > 0 {
            let Some(byte) = host.console_input(vm) else { break };
            port.console_feed(byte).expect("there was room for it");
            has_fed = true;
        }
        if has_fed {
            self.vms[vm].machine.sample_serial_pins();
            self.rouse(vm, now);
        }
        has_fed
    }
}
