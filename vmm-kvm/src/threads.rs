//! The threads, one for each vCPU, and the state that the turn guards. The holder of the turn asks
//! the loop what comes next, and does it or names the thread that can.

use crate::confinement::{Confinement, Role, confine};
use crate::control::Control;
use crate::gdb::Debuggers;
use crate::host::LinuxHost;
use crate::kvm::{GuestRam, PreparedVcpu};
use crate::placement::Placement;
use crate::sys;
use crate::tap::Taps;
use crate::turn::Turn;
use anyhow::{Context, Result, anyhow};
use std::{io, thread};
use vmm_common::Instant;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::scheduler::Next;
use vmm_common::seam::{Host, VcpuBackend};
use vmm_common::stop::{Detail, StopRequest};
use vmm_common::system::System;

/// The state that the turn guards.
#[derive(Debug)]
pub struct World<'a> {
    /// The VMs.
    pub system: System<GuestRam>,
    /// This process.
    pub host: LinuxHost<'a>,
    /// The links' taps.
    pub taps: Taps,
    /// Where the threads are.
    pub placement: Placement,
    /// VMs' debuggers.
    pub debuggers: Debuggers,
    /// The control socket, if there is one.
    pub control: Option<Control>,
    /// The choice of the thread that handed the turn over.
    decided: Option<Task>,
    trouble: Option<anyhow::Error>,
}

/// What the holder of the turn does, or hands to the thread of this vCPU.
#[derive(Clone, Copy, Debug)]
enum Task {
    Run {
        vcpu: VcpuIndex,
        until: Instant,
    },
    /// End its VM, and show its registers: only its own thread can read them.
    Stop {
        vcpu: VcpuIndex,
        request: StopRequest,
    },
    /// Show its registers, as its VM has ended.
    Show {
        vcpu: VcpuIndex,
    },
    /// Do for its VM's debugger what is next.
    Visit {
        vcpu: VcpuIndex,
    },
    Idle {
        until: Instant,
    },
    Done,
}

/// Runs each of `vcpus` on a thread of this name, until all VMs have ended.
///
/// # Errors
/// The host refused a thread, or failed the loop.
pub fn run_threads<'a>(
    world: World<'a>,
    vcpus: Vec<Vec<PreparedVcpu>>,
    names: &[String],
    confinement: Option<&Confinement>,
) -> Result<World<'a>> {
    let of_vm = |(name, vcpus): (&String, Vec<PreparedVcpu>)| {
        let named = |(id, vcpu)| (format!("{name}.{id}"), vcpu);
        vcpus.into_iter().enumerate().map(named).collect::<Vec<_>>()
    };
    let vcpus: Vec<_> = names.iter().zip(vcpus).flat_map(of_vm).collect();
    let turn = Turn::new(world, vcpus.len());
    let result = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (me, (name, vcpu)) in vcpus.into_iter().enumerate() {
            let turn = &turn;
            let thread = thread::Builder::new().name(name).spawn_scoped(scope, move || {
                let _abandon = AbandonOnPanic(turn);
                let result = run_vcpu(me, vcpu, turn, confinement);
                if result.is_err() {
                    turn.abandon();
                }
                result
            });
            threads.push(thread.context("the host cannot start a thread"));
        }
        if threads.iter().any(Result::is_err) {
            turn.abandon();
        }
        let confined = confine(confinement, Role::Main);
        if confined.is_err() {
            turn.abandon();
        }
        for thread in threads {
            thread?.join().map_err(|_| anyhow!("a vCPU thread panicked; please report this"))??;
        }
        confined
    });
    let mut world = turn.into_inner();
    match result.err().or(world.trouble.take()) {
        None => Ok(world),
        Some(error) => {
            world.host.abandon_terminal();
            Err(error)
        }
    }
}

/// Ends all turns if this thread panics; otherwise the others would wait for ever.
struct AbandonOnPanic<'a, 'w>(&'a Turn<World<'w>>);

impl Drop for AbandonOnPanic<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abandon();
        }
    }
}

/// A vCPU's thread: waits for the turn, runs while it has it, hands it on.
fn run_vcpu(
    me: usize,
    vcpu: PreparedVcpu,
    turn: &Turn<World<'_>>,
    confinement: Option<&Confinement>,
) -> Result<()> {
    let mut backend = vcpu.start().context("a timer for the vCPU's thread")?;
    confine(confinement, Role::Vcpu)?;
    let mut is_known = false;
    while let Some(mut held) = turn.wait(me) {
        if !is_known {
            is_known = true;
            let name = thread::current().name().unwrap_or("?").to_string();
            held.placement.add(sys::this_thread(), name);
        }
        loop {
            if !held.placement.is_here() {
                held.return_to_core();
            }
            match held.next() {
                Task::Run { vcpu, until } if vcpu.position() == me => {
                    let World { system, host, debuggers, .. } = &mut *held;
                    system.turn(vcpu, until, &mut backend, host);
                    debuggers.after_turn(system, vcpu);
                }
                Task::Visit { vcpu } if vcpu.position() == me => {
                    let World { system, host, debuggers, .. } = &mut *held;
                    debuggers.visit(vcpu, system, &mut backend, host);
                }
                Task::Stop { vcpu, request } if vcpu.position() == me => {
                    let World { system, host, .. } = &mut *held;
                    let shown = Some((backend.registers(), request.detail()));
                    system.stop_vm(vcpu, request.why(), shown, host);
                }
                Task::Show { vcpu } if vcpu.position() == me => {
                    let World { system, host, .. } = &mut *held;
                    let now = host.clock.now();
                    let dump = system.sibling_dump(vcpu, backend.registers(), now);
                    host.sibling_ended(vcpu, &dump);
                }
                task @ (Task::Run { vcpu, .. }
                | Task::Stop { vcpu, .. }
                | Task::Show { vcpu }
                | Task::Visit { vcpu }) => {
                    held.decided = Some(task);
                    backend.rest();
                    held.hand_to(vcpu.position());
                    break;
                }
                Task::Idle { until } => {
                    backend.rest();
                    held.idle(until);
                }
                Task::Done => {
                    held.end();
                    break;
                }
            }
        }
    }
    Ok(())
}

impl<'a> World<'a> {
    /// Before the first turn.
    #[must_use]
    pub fn new(
        system: System<GuestRam>,
        host: LinuxHost<'a>,
        taps: Taps,
        placement: Placement,
        (debuggers, control): (Debuggers, Option<Control>),
    ) -> Self {
        let (decided, trouble) = (None, None);
        Self { system, host, taps, placement, debuggers, control, decided, trouble }
    }

    fn next(&mut self) -> Task {
        if let Some(next) = self.decided.take() {
            return next;
        }
        match self.host.between_turns() {
            Ok(Some(begin)) => {
                self.record();
                self.serve_sockets();
                let looked = self.placement.look(self.host.clock.now());
                self.say_moves(looked);
                self.system.console_had(begin, self.host.clock.now());
                self.carry_out_requests();
            }
            Ok(None) => {}
            Err(error) => self.give_up(error),
        }
        if let Some(vcpu) = self.system.next_to_show() {
            return Task::Show { vcpu };
        }
        if let Some(request) = self.host.stop_request {
            if request.detail() != Detail::Nothing
                && let Some(vcpu) = self.running()
            {
                return Task::Stop { vcpu, request };
            }
            self.system.stop(request.why(), &mut self.host);
        }
        if let Some(vcpu) = self.debuggers.next_visit() {
            return Task::Visit { vcpu };
        }
        match self.system.next(&mut self.host) {
            Next::Run { vcpu, until } => Task::Run { vcpu, until },
            Next::Idle { until } => Task::Idle { until },
            Next::Done => {
                self.serve_sockets();
                Task::Done
            }
        }
    }

    /// What the operator asks of VMs.
    fn carry_out_requests(&mut self) {
        while let Some((vm, request)) = self.host.console.take_request() {
            if let Err(why) = self.system.carry_out(vm, request, &mut self.host) {
                self.host.console.refused(vm, why);
            }
        }
    }

    /// A vCPU of the first VM that still runs: its registers may show why it has not ended.
    fn running(&self) -> Option<VcpuIndex> {
        let mut vms = VmIndex::first(self.system.vms.len());
        let vm = vms.find(|vm| self.system.vms[*vm].ending.is_none())?;
        Some(self.system.vcpu_to_show(vm))
    }

    /// Puts this thread, or all of them, back on the run's core.
    fn return_to_core(&mut self) {
        let now = self.host.clock.now();
        let looked = self.placement.put_back(now);
        self.say_moves(looked);
    }

    fn say_moves(&mut self, looked: io::Result<Vec<String>>) {
        match looked {
            Ok(lines) => lines.iter().for_each(|line| self.host.console.say(line)),
            Err(error) => {
                let error = anyhow::Error::new(error);
                self.give_up(error.context("the threads cannot be kept on one core"));
            }
        }
    }

    /// Hands over what logs and taps have gathered.
    fn record(&mut self) {
        self.taps.drain(&mut self.system, &mut self.host.recorder);
        self.host.recorder.hand_over();
    }

    fn idle(&mut self, until: Instant) {
        self.record();
        // Requests that are left would otherwise wait for an event.
        let is_behind = self.control.as_ref().is_some_and(Control::is_behind);
        let until = if is_behind { self.host.clock.now() } else { until };
        if let Err(error) = self.host.idle(until) {
            self.give_up(error);
        }
        self.serve_sockets();
        self.carry_out_requests();
    }

    /// Debuggers, and the operator's programs.
    fn serve_sockets(&mut self) {
        let mut served = self.debuggers.serve(&mut self.system, &mut self.host);
        if let Some(control) = &mut self.control {
            served = served.and(control.serve(&mut self.system, &mut self.host));
        }
        if let Err(error) = served {
            self.give_up(error);
        }
    }

    /// The host cannot continue without its events: stops all VMs, so that the run has a receipt.
    fn give_up(&mut self, error: anyhow::Error) {
        self.trouble.get_or_insert(error);
        self.system.stop("the host failed", &mut self.host);
    }
}
