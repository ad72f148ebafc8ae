//! The debugger of one VM, at COM2. Who is at its other end passes gdb's bytes on, and detaches for
//! one that has gone.

use super::console::BareHost;
use alloc::format;
use metal::guest_ram::GuestRam;
use metal::host_serial::COM2;
use metal::port::Port;
use vmm_common::debugger::{Connection, Debuggable, Debugger, Width};
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::plan::{Plan, VmPlan};
use vmm_common::seam::VcpuBackend;
use vmm_common::system::System;

/// The debugger, if a VM has one.
#[derive(Debug)]
pub struct HostDebugger(Option<Debugger<GuestRam>>);

impl HostDebugger {
    /// That of the first VM of the plan that has one.
    #[must_use]
    pub fn new(plan: &Plan, system: &System<GuestRam>) -> Self {
        let with = |(vm, plan): (usize, &VmPlan)| {
            plan.debugger.as_ref().map(|debugger| (VmIndex(vm), debugger.waits))
        };
        let found = plan.vms.iter().enumerate().find_map(with);
        Self(found.map(|(vm, waits)| {
            program();
            Debugger::new(system, vm, Width::Bits64, waits)
        }))
    }

    /// The vCPU that is to be visited before the next turn.
    pub fn next_visit(&mut self) -> Option<VcpuIndex> {
        self.0.as_mut()?.next_visit()
    }

    /// Does what is next for this vCPU, which has the processor.
    pub fn visit<B: VcpuBackend + Debuggable>(
        &mut self,
        vcpu: VcpuIndex,
        system: &mut System<GuestRam>,
        backend: &mut B,
        host: &mut BareHost<'_>,
    ) {
        if let Some(debugger) = &mut self.0 {
            debugger.visit(vcpu, system, backend, host);
        }
    }

    /// This vCPU has had a turn.
    #[inline]
    pub fn after_turn(&mut self, system: &mut System<GuestRam>, vcpu: VcpuIndex) {
        if let Some(debugger) = &mut self.0 {
            debugger.after_turn(system, vcpu);
        }
    }

    /// Answers what COM2 has received.
    pub fn serve(&mut self, system: &mut System<GuestRam>, host: &mut BareHost<'_>) {
        let Some(debugger) = &mut self.0 else { return };
        COM2.serve();
        while debugger.room() > 0
            && let Some(byte) = COM2.take()
        {
            debugger.receive(&[byte]);
        }
        debugger.serve(system, host);
        if let Some(unsent) = debugger.outbox() {
            let sent = COM2.put(unsent);
            unsent.drain(..sent);
            if sent > 0 {
                COM2.enable();
            }
        }
        if let Connection::Over(why) = debugger.connection() {
            let name = system.vms[debugger.vm()].name();
            host.console.say(&format!("[{name}: {why}]"));
            debugger.disconnected();
        }
    }

    /// Waits until all has been sent, for some time.
    pub fn finish(&mut self, system: &mut System<GuestRam>, host: &mut BareHost<'_>) {
        /// Polls of the port: some seconds.
        const PATIENCE: u32 = 1_000_000;
        self.serve(system, host);
        for _ in 0..PATIENCE {
            if COM2.waiting() == 0 {
                break;
            }
            COM2.serve();
        }
    }
}

/// COM2 as COM1 ([`super::serial::Serial::program`]).
fn program() {
    for (offset, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0x87), (4, 0xb)] {
        Port::new(0x2f8 + offset).write(value);
    }
    // The greeting: from here on nothing that is sent is lost. gdb's protocol skips it.
    let _is_room = COM2.put(b"+");
    COM2.enable();
}
