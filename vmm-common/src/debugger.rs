//! A VM under gdb: the remote protocol on one side, the loop's turns on the other.
//!
//! The protocol is gdbstub's state machine, fed with the bytes that the host has received. It sees
//! a [`subject::Subject`]: registers that were gathered when the VM stopped, and its memory. So no
//! packet needs a backend. The turn's holder asks [`Debugger::next_visit`] before the next
//! turn, and calls [`Debugger::visit`] with that vCPU's backend:
//!
//! ```text
//! Free --gdb sends--> Stopping: visits gather registers --> Stopped: packets are answered
//!  ^                     ^ event, Ctrl-C                       | continue       | step
//!  |                  Running <-- Resuming: visits write back <+             Stepping: a visit
//!  +--- detached ------------------------------------------+                 runs one turn
//! ```
//!
//! A VM that stands here is held ([`System::hold`]): its neighbours have the core meanwhile.

use crate::index::{VcpuIndex, VmIndex};
use crate::memory::GuestMemory;
use crate::seam::Host;
use crate::system::System;
use crate::vm::Ending;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use gdbstub::common::Signal;
use gdbstub::stub::MultiThreadStopReason as Stop;

mod breakpoints;
mod description;
mod full_state;
mod monitor;
mod places;
mod register_file;
mod stub;
mod subject;
mod visits;

pub use breakpoints::MAX_SOFTWARE;
pub use full_state::{Controls, DR6_SINGLE_STEP, DebugEvent, Debuggable, FXSAVE_BYTES, FullState};
pub use full_state::{HardwareBreakpoint, OwnException, Watched};
pub use places::Width;
use stub::{Asks, Stub};
use subject::{Action, Subject};

/// Bytes from gdb that wait while the VM is on its way to a stop. More wait at the host.
pub const INBOX_BYTES: usize = 64 << 10;

/// Where a VM is between running and standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No debugger has it.
    Free,
    /// A debugger has it, and it runs.
    Running,
    /// Registers are gathered of each vCPU in turn, the one with the event first.
    Stopping { cause: Cause, visited: u32 },
    /// It stands.
    Stopped,
    /// Registers are written back, and each vCPU is armed as the debugger wants.
    Resuming { visited: u32, is_left: bool },
    /// This vCPU executes one instruction, and no other one runs.
    Stepping { id: u32, has_begun: bool },
}

/// Why a VM stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// gdb has come, or it is to wait for gdb.
    Attach,
    /// Ctrl-C.
    Interrupt,
    /// This vCPU has met what the debugger waits for.
    Event { id: u32, event: DebugEvent },
    /// This vCPU's step ended without an event: it halted.
    StepOver { id: u32 },
}

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It stays.
    Open,
    /// It is over: what waits is sent, and it is closed. Why, for the console.
    Over(String),
}

/// A VM that a debugger may have.
pub struct Debugger<M: GuestMemory> {
    vm: VmIndex,
    first: VcpuIndex,
    vcpus: u32,
    phase: Phase,
    subject: Subject<M>,
    stub: Option<Stub<M>>,
    inbox: Vec<u8>,
    connection: Connection,
    /// An incomplete step: others go first.
    yields: bool,
}

impl<M: GuestMemory> fmt::Debug for Debugger<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debugger").field("vm", &self.vm).field("phase", &self.phase).finish()
    }
}

impl<M: GuestMemory + Clone> Debugger<M> {
    /// Of this VM. It stands from the start if it `waits` for gdb.
    #[must_use]
    pub fn new(system: &System<M>, vm: VmIndex, width: Width, waits: bool) -> Self {
        let vcpus = system.vms[vm].vcpus().len();
        let phase = match waits {
            true => Phase::Stopping { cause: Cause::Attach, visited: 0 },
            false => Phase::Free,
        };
        let mut subject = Subject::new(system.vms[vm].memory.clone(), vcpus);
        subject.width = width;
        Self {
            vm,
            first: system.vcpu(vm, 0),
            vcpus: vcpus as u32,
            phase,
            subject,
            stub: None,
            inbox: Vec::new(),
            connection: Connection::Open,
            yields: false,
        }
    }

    /// Its VM.
    #[must_use]
    pub const fn vm(&self) -> VmIndex {
        self.vm
    }

    /// How many bytes may be received now.
    #[must_use]
    pub fn room(&self) -> usize {
        INBOX_BYTES - self.inbox.len()
    }

    /// gdb sent these.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(&bytes[..bytes.len().min(self.room())]);
    }

    /// What is to be sent to gdb; the sender removes it.
    pub fn outbox(&mut self) -> Option<&mut Vec<u8>> {
        self.stub.as_mut().map(Stub::outbox)
    }

    /// What becomes of the connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The connection has ended, from either side: the VM goes on without breakpoints.
    pub fn disconnected(&mut self) {
        self.stub = None;
        self.inbox.clear();
        self.connection = Connection::Open;
        self.leave();
    }

    /// The connection has failed.
    pub fn cut(&mut self) {
        if self.connection == Connection::Open {
            self.connection = Connection::Over("the connection to gdb is closed".into());
        }
    }

    /// The VM has no debugger from now on.
    fn leave(&mut self) {
        self.subject.breakpoints.clear(&self.subject.memory);
        self.subject.run_all();
        self.phase = match self.phase {
            Phase::Free => Phase::Free,
            // Stopped vCPUs were gathered, others have nothing to write back.
            Phase::Running
            | Phase::Stopping { .. }
            | Phase::Stopped
            | Phase::Resuming { .. }
            | Phase::Stepping { .. } => Phase::Resuming { visited: 0, is_left: true },
        };
    }

    /// Between turns: answers what gdb has sent, and notices that the VM has ended.
    #[inline(never)]
    pub fn serve<H: Host<M>>(&mut self, system: &mut System<M>, host: &mut H) {
        if let Some(ending) = &system.vms[self.vm].ending {
            let ending = ending.clone();
            return self.ended(&ending);
        }
        let begins = |byte: &u8| matches!(*byte, b'$' | stub::CTRL_C);
        if self.stub.is_none()
            && let Some(at) = self.inbox.iter().position(begins)
        {
            self.inbox.drain(..at);
            self.stub = Some(Stub::new(&mut self.subject));
            if self.phase == Phase::Free {
                self.phase = Phase::Stopping { cause: Cause::Attach, visited: 0 };
            }
        }
        if matches!(self.phase, Phase::Stopped | Phase::Running) {
            self.answer(system, host);
        }
    }

    /// Feeds the stub as long as the VM stays as it is.
    fn answer<H: Host<M>>(&mut self, system: &mut System<M>, host: &mut H) {
        let Some(stub) = &mut self.stub else { return };
        let mut taken = 0;
        let mut asks = Asks::Nothing;
        for byte in &self.inbox {
            taken += 1;
            if let Some(command) = stub.command_ended_by(*byte) {
                self.subject.answer = monitor::text(&command, system, self.vm, &self.subject);
            }
            asks = stub.feed(&mut self.subject, *byte);
            if asks != Asks::Nothing {
                break;
            }
        }
        self.inbox.drain(..taken);
        match asks {
            Asks::Nothing => {}
            Asks::GoOn => self.go_on(),
            Asks::Stop => self.phase = Phase::Stopping { cause: Cause::Interrupt, visited: 0 },
            Asks::Leave => self.part("gdb has left"),
            Asks::Kill => {
                self.part("gdb has left");
                system.stop_vm(self.first, "killed by its debugger", None, host);
            }
            Asks::Refused => self.part("gdb was disconnected: what it sent is no packet"),
        }
    }

    /// The debugger goes.
    fn part(&mut self, why: &str) {
        self.connection = Connection::Over(why.into());
        self.leave();
    }

    fn go_on(&mut self) {
        let mut steps = (0..self.vcpus).filter(|id| self.does(*id, Action::Step));
        let stepping = steps.next().filter(|_| steps.next().is_none());
        let alone = (0..self.vcpus).filter(|id| !self.does(*id, Action::Stay)).count() == 1;
        self.phase = match stepping.filter(|_| alone) {
            Some(id) => Phase::Stepping { id, has_begun: false },
            None => Phase::Resuming { visited: 0, is_left: false },
        };
    }

    fn does(&self, id: u32, action: Action) -> bool {
        self.subject.action(id as usize) == action
    }

    /// A vCPU of this VM has had a turn: whether it met what the debugger waits for.
    pub fn after_turn(&mut self, system: &mut System<M>, vcpu: VcpuIndex) {
        if vcpu.vm() == self.vm
            && self.phase == Phase::Running
            && let Some(event) = system.take_debug_event()
        {
            let cause = Cause::Event { id: vcpu.id(), event };
            self.phase = Phase::Stopping { cause, visited: 0 };
        }
    }

    /// The VM has ended: reports that to gdb and closes the connection.
    fn ended(&mut self, ending: &Ending) {
        self.phase = Phase::Free;
        let Some(stub) = &mut self.stub else { return };
        if self.connection != Connection::Open {
            return;
        }
        let (stop, why) = match ending {
            Ending::PowerOff { status } => (Stop::Exited(*status as u8), "its VM has ended"),
            Ending::Panicked | Ending::TripleFault | Ending::Fault(_) => {
                (Stop::Terminated(Signal::SIGSEGV), "its VM has stopped")
            }
            Ending::Reset | Ending::HaltedForGood | Ending::Stopped { .. } => {
                (Stop::Terminated(Signal::SIGTERM), "its VM has ended")
            }
        };
        stub.report(&mut self.subject, stop);
        self.connection = Connection::Over(why.into());
    }

    /// When it came to stand, if it does.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.phase == Phase::Stopped
    }
}
