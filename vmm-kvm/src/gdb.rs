//! The sockets of VMs' debuggers: one gdb at a time for each VM. Served by the holder of the turn;
//! nothing here waits.

use crate::host::LinuxHost;
use crate::kvm::{GuestRam, KvmVcpu};
use crate::sys::Listener;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use vmm_common::debugger::{Connection, Debugger, Width};
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::plan::{DEBUGGER_FORM, DebuggerPlan, Plan};
use vmm_common::system::System;

/// Received at once.
const CHUNK_BYTES: usize = 4096;
/// Replies for a gdb that does not read them; more is not made.
const MAX_UNSENT_BYTES: usize = 256 << 10;
/// The answer to a second gdb: an error of the remote protocol, with its checksum.
const IN_USE: &[u8] = b"+$E.another debugger has this VM#c0";

/// A VM's debugger and its sockets.
#[derive(Debug)]
struct Session {
    debugger: Debugger<GuestRam>,
    listener: Listener,
    gdb: Option<File>,
    /// One that has come while there was another.
    refused: Option<File>,
    name: String,
}

/// What the command line says: a VM's name, and where its debugger is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debugged {
    vm: String,
    debugger: DebuggerPlan,
}

impl Debugged {
    /// `NAME=ADDRESS`.
    ///
    /// # Errors
    /// The text has another form; the message says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((vm, address)) = text.split_once('=') else {
            return Err(format!("allowed: a VM's name, =, and {DEBUGGER_FORM}"));
        };
        let debugger = address.parse().map_err(|form| format!("allowed: {form}"))?;
        Ok(Self { vm: vm.to_string(), debugger })
    }

    /// Puts it into the plan, in place of what the config says.
    ///
    /// # Errors
    /// No VM has this name.
    pub fn apply(&self, plan: &mut Plan) -> Result<(), String> {
        let Some(at) = plan.vms.iter().position(|it| it.name == self.vm) else {
            let names: Vec<&str> = plan.vms.iter().map(|vm| vm.name.as_str()).collect();
            let (vm, names) = (&self.vm, names.join(", "));
            return Err(format!("--gdb {vm}: no VM has this name; allowed: {names}"));
        };
        plan.vms[at].debugger = Some(self.debugger.clone());
        Ok(())
    }
}

/// A change of what a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketChange {
    /// This descriptor ends waits from now on.
    Begins(RawFd),
    /// It does no longer, as it is about to be closed.
    Ends(RawFd),
}

/// All of a run.
#[derive(Debug, Default)]
pub struct Debuggers {
    sessions: Vec<Session>,
    troubles: VecDeque<String>,
    changes: Vec<SocketChange>,
    /// Kept until epoll has forgotten them.
    closing: Vec<File>,
}

impl Debuggers {
    /// Opens the sockets of `plan`, and those that the command line adds.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub fn open(plan: &Plan, system: &System<GuestRam>) -> Result<Self> {
        let mut all = Self::default();
        for (vm, it) in plan.vms.iter().enumerate() {
            let Some(DebuggerPlan { address, waits }) = &it.debugger else { continue };
            let listener = Listener::open(address);
            let name = it.name.clone();
            let listener = listener.with_context(|| format!("VM {name}: gdb at {address}"))?;
            all.changes.push(SocketChange::Begins(listener.as_raw_fd()));
            let debugger = Debugger::new(system, VmIndex(vm), Width::Bits64, *waits);
            let until = if *waits { ", for which it waits" } else { "" };
            all.troubles.push_back(format!("{name}: gdb at {address}{until}"));
            all.sessions.push(Session { debugger, listener, gdb: None, refused: None, name });
        }
        Ok(all)
    }

    /// The vCPU that is to be visited before the next turn.
    pub fn next_visit(&mut self) -> Option<VcpuIndex> {
        self.sessions.iter_mut().find_map(|session| session.debugger.next_visit())
    }

    /// Does for the debugger of its VM what is next.
    pub fn visit(
        &mut self,
        vcpu: VcpuIndex,
        system: &mut System<GuestRam>,
        backend: &mut KvmVcpu,
        host: &mut LinuxHost<'_>,
    ) {
        if let Some(debugger) = self.of(vcpu.vm()) {
            debugger.visit(vcpu, system, backend, host);
        }
    }

    /// This vCPU has had a turn.
    pub fn after_turn(&mut self, system: &mut System<GuestRam>, vcpu: VcpuIndex) {
        if let Some(debugger) = self.of(vcpu.vm()) {
            debugger.after_turn(system, vcpu);
        }
    }

    fn of(&mut self, vm: VmIndex) -> Option<&mut Debugger<GuestRam>> {
        self.sessions.iter_mut().map(|it| &mut it.debugger).find(|it| it.vm() == vm)
    }

    /// Looks at all sockets, and answers what has come.
    ///
    /// # Errors
    /// The host cannot wait for them.
    pub fn serve(&mut self, system: &mut System<GuestRam>, host: &mut LinuxHost<'_>) -> Result<()> {
        for session in &mut self.sessions {
            if let Some(gdb) = session.accept(&mut self.troubles) {
                self.changes.push(SocketChange::Begins(gdb));
            }
            if let Some(refused) = session.refuse() {
                self.changes.push(SocketChange::Ends(refused.as_raw_fd()));
                self.closing.push(refused);
            }
            session.exchange(system, host);
            if let Some(why) = session.is_over() {
                self.troubles.push_back(format!("{}: {why}", session.name));
                session.debugger.disconnected();
                if let Some(gdb) = session.gdb.take() {
                    self.changes.push(SocketChange::Ends(gdb.as_raw_fd()));
                    self.closing.push(gdb);
                }
            }
        }
        for change in self.changes.drain(..) {
            host.await_debugger(change)?;
        }
        self.closing.clear();
        self.troubles.drain(..).for_each(|text| host.console.say(&format!("[{text}]")));
        Ok(())
    }
}

impl Session {
    /// A gdb that has come; a second one is sent away, once it has asked for something.
    fn accept(&mut self, troubles: &mut VecDeque<String>) -> Option<RawFd> {
        let gdb = self.listener.accept()?;
        if self.gdb.is_none() {
            troubles.push_back(format!("{}: gdb has come", self.name));
            return Some(self.gdb.insert(gdb).as_raw_fd());
        }
        troubles.push_back(format!("{}: a second gdb was refused", self.name));
        let is_free = self.refused.is_none();
        is_free.then(|| self.refused.insert(gdb).as_raw_fd())
    }

    /// Answers the gdb that is sent away; the descriptor of one that can be closed.
    fn refuse(&mut self) -> Option<File> {
        let mut gdb = self.refused.take()?;
        let mut chunk = [0; CHUNK_BYTES];
        // Closed before it has read the answer, it would show another error.
        let is_over = match gdb.read(&mut chunk) {
            Ok(0) => true,
            Ok(len) => chunk[..len].contains(&b'$') && gdb.write(IN_USE).is_err(),
            Err(error) => !is_passing(&error),
        };
        if !is_over {
            self.refused = Some(gdb);
            return None;
        }
        Some(gdb)
    }

    fn exchange(&mut self, system: &mut System<GuestRam>, host: &mut LinuxHost<'_>) {
        let Some(gdb) = &mut self.gdb else { return };
        let is_behind = |it: &mut Debugger<GuestRam>| {
            it.outbox().is_some_and(|unsent| unsent.len() > MAX_UNSENT_BYTES)
        };
        let mut chunk = [0; CHUNK_BYTES];
        let mut is_gone = false;
        let room = self.debugger.room().min(CHUNK_BYTES);
        if room > 0 && !is_behind(&mut self.debugger) {
            match gdb.read(&mut chunk[..room]) {
                Ok(0) => is_gone = true,
                Ok(len) => self.debugger.receive(&chunk[..len]),
                Err(error) => is_gone = !is_passing(&error),
            }
        }
        self.debugger.serve(system, host);
        if let Some(unsent) = self.debugger.outbox()
            && !unsent.is_empty()
        {
            match gdb.write(unsent) {
                Ok(len) => drop(unsent.drain(..len)),
                Err(error) => is_gone |= !is_passing(&error),
            }
        }
        if is_gone {
            self.debugger.cut();
        }
    }

    /// Why the connection is to be closed, if it is.
    fn is_over(&mut self) -> Option<String> {
        match self.debugger.connection() {
            Connection::Open => None,
            Connection::Over(why) => Some(why.clone()),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
