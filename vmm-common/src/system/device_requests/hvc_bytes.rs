//! What virtio consoles send and get: the shared console at port 0, links at the others.

use crate::Instant;
use crate::index::{LinkedPort, VmIndex};
use crate::memory::GuestMemory;
use crate::seam::Host;
use crate::system::System;
use crate::system::serial::{Wire, WireEnds};
use crate::vm::Vm;
use devices::link::{AnyPort, EndSet, LinkEnd, Ports};
use devices::virtio::console::Console;

/// How often a pump fills the ports' buffers, of [`devices::virtio::console::BUFFER_BYTES`] each,
/// before the rest waits for a turn of a VM at the link.
const MAX_ROUNDS: usize = 16;

/// The ports of a link of which some are virtio consoles', wherever they are.
struct MixedEnds<'a, M> {
    vms: &'a mut [Vm<M>],
    ends: &'a [(VmIndex, LinkedPort)],
}

impl<M> Ports for MixedEnds<'_, M> {
    type Port<'a>
        = AnyPort<'a>
    where
        Self: 'a;

    fn port(&mut self, end: LinkEnd) -> AnyPort<'_> {
        let (vm, port) = self.ends[end.0];
        let machine = &mut self.vms[vm].machine;
        let port = match port {
            LinkedPort::Com(com) => machine.serial_mut(com).map(AnyPort::Uart),
            LinkedPort::Hvc(port) => {
                machine.console_mut().map(|console| AnyPort::Console(console.link_end(port)))
            }
        };
        port.expect("a wire's ends are ports that the machine was made with")
    }
}

impl<M: GuestMemory> System<M> {
    /// Serves a VM's virtio console as far as the turn lasts.
    pub(super) fn serve_console<H: Host<M>>(&mut self, vm: VmIndex, now: Instant, host: &mut H) {
        let until = self.until;
        let Vm { machine, memory, .. } = &mut self.vms[vm];
        let Some(console) = machine.console_mut() else { return };
        let ports = console.ports();
        console.control(memory);
        let is_cut_short = loop {
            let mut has_moved = console.exchange(0, memory);
            if !console.output().is_empty() {
                host.console_output(vm, console.output());
                console.take_output();
                has_moved = true;
            }
            has_moved |= feed(console, vm, host);
            if !has_moved {
                break false;
            }
            if host.now() >= until {
                break true;
            }
        };
        self.finish_console(vm);
        for port in 1..ports {
            if let Some(wire) = self.vms[vm].machine.wire_of_hvc(port) {
                self.pump_wire(wire, vm, now);
            }
        }
        if is_cut_short {
            self.vms[vm].machine.postpone_console();
        }
    }

    /// Hands what was typed to a guest's virtio console.
    pub(in crate::system) fn feed_hvc<H: Host<M>>(
        &mut self,
        vm: VmIndex,
        now: Instant,
        host: &mut H,
    ) {
        let Vm { machine, memory, .. } = &mut self.vms[vm];
        let Some(console) = machine.console_mut() else { return };
        if feed(console, vm, host) {
            console.exchange(0, memory);
            self.finish_console(vm);
            self.rouse(vm, now);
        }
    }

    /// Pumps a wire some of whose ends are virtio consoles', and wakes the VMs it reaches. True if
    /// one of them is `vm`, which caused it.
    #[inline(never)]
    pub(in crate::system) fn pump_mixed(&mut self, wire: usize, vm: VmIndex, now: Instant) -> bool {
        let mut reached = EndSet::EMPTY;
        let mut rounds = 0;
        let has_rest = loop {
            let Wire { link, ends } = &mut self.wires[wire];
            let WireEnds::Mixed(ends) = ends else { return false };
            reached = reached.with(link.pump(&mut MixedEnds { vms: &mut self.vms, ends }, now));
            let exchanged = exchange(&mut self.vms, ends);
            reached = reached.with(exchanged);
            rounds += 1;
            if exchanged.is_empty() || rounds == MAX_ROUNDS {
                break !exchanged.is_empty();
            }
        };
        let mut is_reached = false;
        for end in reached.iter() {
            let (reached_vm, port) = self.wires[wire].ends.at(end);
            match port {
                LinkedPort::Com(_) => self.vms[reached_vm].machine.sample_serial_pins(),
                LinkedPort::Hvc(_) => self.finish_console(reached_vm),
            }
            is_reached |= reached_vm == vm;
            if reached_vm != vm {
                self.rouse(reached_vm, now);
            }
        }
        if has_rest {
            self.postpone_pump(wire, vm, now);
        }
        is_reached
    }

    /// The rest moves in the next turn of a VM whose console is at the wire: of `vm` if it can be.
    fn postpone_pump(&mut self, wire: usize, vm: VmIndex, now: Instant) {
        let vms = &self.vms;
        let is_able = |(of, port): &(VmIndex, LinkedPort)| {
            matches!(port, LinkedPort::Hvc(_)) && vms[*of].ending.is_none()
        };
        let ends = &self.wires[wire].ends;
        let able = || ends.iter().filter(is_able).map(|(of, _)| of);
        let Some(of) = able().find(|of| *of == vm).or_else(|| able().next()) else { return };
        self.vms[of].machine.postpone_console();
        if of != vm {
            self.vcpus_of(of).for_each(|vcpu| self.wake(vcpu, now));
        }
    }

    /// Tells a guest what its console has done, and which ports are open.
    fn finish_console(&mut self, vm: VmIndex) {
        let Vm { machine, memory, .. } = &mut self.vms[vm];
        let Some(console) = machine.console_mut() else { return };
        console.control(memory);
        console.signal(memory);
        machine.sample_virtio_pins();
    }
}

/// Hands what was typed for `vm` to its console, as far as that has room; whether there was
/// something.
fn feed<M, H: Host<M>>(console: &mut Console, vm: VmIndex, host: &mut H) -> bool {
    let mut has_fed = false;
    while console.input_space() > 0
        && let Some(byte) = host.console_input(vm)
    {
        console.feed(byte).expect("there was room for it");
        has_fed = true;
    }
    has_fed
}

/// Moves what can move between the guests' buffers and those of the virtio ports at a wire: at
/// which ends something has.
fn exchange<M: GuestMemory>(vms: &mut [Vm<M>], ends: &[(VmIndex, LinkedPort)]) -> EndSet {
    let mut exchanged = EndSet::EMPTY;
    for (end, (vm, port)) in ends.iter().enumerate() {
        let Vm { machine, memory, .. } = &mut vms[*vm];
        if let LinkedPort::Hvc(port) = port
            && let Some(console) = machine.console_mut()
            && console.exchange(*port, memory)
        {
            exchanged.insert(LinkEnd(end));
        }
    }
    exchanged
}
