//! The control socket: what an operator's programs ask of the VMs of a run, a JSON object a line
//! ([`protocol`]). Served by the holder of the turn, between turns; nothing here waits.
//!
//! A client costs what it sends, and no more: only those that have sent something are read, a few
//! requests of each at a time; one that sends no request by the protocol, or does not read its
//! replies, is disconnected.

use crate::host::LinuxHost;
use crate::kvm::GuestRam;
use crate::sys::Listener;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use vmm_common::index::VmIndex;
use vmm_common::plan::DebuggerAddress;
use vmm_common::stop::StopRequest;
use vmm_common::system::System;

mod accounts;
pub mod client;
pub mod protocol;

use protocol::{Command, Reply, Request};

/// Clients at a time; a further one gets an error and is disconnected.
const MAX_CLIENTS: usize = 32;
/// Clients that are accepted, and requests of one client that are carried out, at a look.
const AT_ONCE: usize = 8;
/// The longest request, bytes, with its newline.
pub const MAX_REQUEST_BYTES: usize = 4096;

/// The socket, and its clients.
#[derive(Debug)]
pub struct Control {
    listener: Listener,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    socket: File,
    /// What it has sent and is not carried out.
    inbox: Vec<u8>,
    is_over: bool,
}

impl Control {
    /// Listens at `path`, for this user alone.
    ///
    /// # Errors
    /// Something else is there, or the host refuses.
    pub fn open(path: &Path) -> Result<Self> {
        let text = path.to_str().context("its name is no UTF-8")?;
        let address = DebuggerAddress::Unix(text.to_string());
        let listener = Listener::open(&address)
            .with_context(|| format!("the control socket {}", path.display()))?;
        Ok(Self { listener, clients: Vec::new() })
    }

    /// What ends a wait from the start.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Carries out what has come.
    ///
    /// # Errors
    /// The host cannot wait for a client.
    pub fn serve(&mut self, system: &mut System<GuestRam>, host: &mut LinuxHost<'_>) -> Result<()> {
        if host.is_ready(self.listener.as_raw_fd()) {
            self.accept(host)?;
        }
        for client in &mut self.clients {
            if host.is_ready(client.socket.as_raw_fd()) {
                client.receive();
            }
            client.carry_out(system, host);
            if client.is_over {
                host.forget(client.socket.as_raw_fd())?;
            }
        }
        self.clients.retain(|client| !client.is_over);
        Ok(())
    }

    /// Whether some client has sent more than was carried out at the last look.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.clients.iter().any(|client| client.inbox.contains(&b'\n'))
    }

    fn accept(&mut self, host: &mut LinuxHost<'_>) -> Result<()> {
        for _ in 0..AT_ONCE {
            let Some(socket) = self.listener.accept() else { break };
            let mut client = Client { socket, inbox: Vec::new(), is_over: false };
            if self.clients.len() == MAX_CLIENTS {
                let refusal = Reply::refusal(&None, format!("{MAX_CLIENTS} clients are here"));
                client.send(&refusal.into_value());
                continue;
            }
            client.send(&protocol::greeting());
            if !client.is_over {
                host.end_waits_by(client.socket.as_raw_fd())?;
                self.clients.push(client);
            }
        }
        Ok(())
    }
}

impl Client {
    fn receive(&mut self) {
        let mut chunk = [0; MAX_REQUEST_BYTES];
        let room = MAX_REQUEST_BYTES - self.inbox.len();
        if room == 0 {
            return;
        }
        match self.socket.read(&mut chunk[..room]) {
            Ok(0) => self.is_over = true,
            Ok(len) => self.inbox.extend_from_slice(&chunk[..len]),
            Err(error) => self.is_over = !is_passing(&error),
        }
    }

    fn carry_out(&mut self, system: &mut System<GuestRam>, host: &mut LinuxHost<'_>) {
        for _ in 0..AT_ONCE {
            let Some(end) = self.inbox.iter().position(|byte| *byte == b'\n') else { break };
            let line: Vec<u8> = self.inbox.drain(..=end).collect();
            let reply = match Request::parse(&line) {
                Ok(request) => answer(&request, system, host),
                Err(error) => {
                    self.is_over = true;
                    Reply::refusal(&None, error)
                }
            };
            self.send(&reply.into_value());
            if self.is_over {
                return;
            }
        }
        let is_too_long = self.inbox.len() == MAX_REQUEST_BYTES && !self.inbox.contains(&b'\n');
        if is_too_long {
            let most = MAX_REQUEST_BYTES - 1;
            let refusal = Reply::refusal(&None, format!("a request has up to {most} bytes"));
            self.send(&refusal.into_value());
            self.is_over = true;
        }
    }

    /// Sends a line. A client that has not read so much that there is no room for it is over.
    fn send(&mut self, line: &Value) {
        let line = format!("{line}\n").into_bytes();
        self.is_over |= !matches!(self.socket.write(&line), Ok(len) if len == line.len());
    }
}

fn answer(request: &Request, system: &mut System<GuestRam>, host: &mut LinuxHost<'_>) -> Reply {
    let id = &request.id;
    let wanted = match request.command {
        Command::List => return Reply::result(id, accounts::list(system)),
        Command::Stats => return Reply::result(id, accounts::stats(system, host.clock.now())),
        Command::End => {
            host.stop_request.get_or_insert(StopRequest::Interrupted);
            return Reply::done(id);
        }
        Command::Vm(wanted) => wanted,
    };
    let is_it = |vm: &&str| request.vm.as_deref() == Some(*vm);
    let names = || system.vms.iter().map(|vm| vm.name());
    let Some(vm) = names().position(|name| is_it(&name)) else {
        let names: Vec<&str> = names().collect();
        return Reply::refusal(id, format!("vm names none; allowed: {}", names.join(", ")));
    };
    match system.carry_out(VmIndex(vm), wanted, host) {
        Ok(()) => Reply::done(id),
        Err(why) => Reply::refusal(id, why.to_string()),
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
