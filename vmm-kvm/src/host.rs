//! This process as the loop's host: the clock, the shared console, and what may end the run early.

use crate::capture::Captures;
use crate::console::{Output, RawTerminal};
use crate::disks::Disks;
use crate::events::{Arrived, HostEvents};
use crate::gdb::SocketChange;
use crate::kvm::GuestRam;
use crate::outputs::{Recorder, Slot};
use crate::sys::{Clock, Signal, StopSignal, process_cpu_ns};
use crate::uplinks::Uplinks;
use anyhow::{Context, Result};
use std::os::fd::RawFd;
use std::time::Duration;
use vmm_common::Instant;
use vmm_common::console::Console;
use vmm_common::control::Change;
use vmm_common::diagnosis::Dump;
use vmm_common::index::{VcpuIndex, VmIndex};
use vmm_common::registers::CpuState;
use vmm_common::screen::{Picture, Viewer};
use vmm_common::seam::Host;
use vmm_common::stop::StopRequest;
use vmm_common::switch_on::Beginning;
use vmm_common::vm::Ending;
use vmm_symbols::Names;

mod behind;
mod drain;

const SIGINT: u8 = libc::SIGINT as u8;
/// The host polls for keys and signals this often while guests run.
const LOOK_NS: u64 = 2_000_000;
/// By now every thread has run once, and memory that only start-up needed can be freed.
const SETTLED: Instant = Instant::from_ns(20_000_000);
/// How often the host checks that this process is still in the terminal's foreground.
const TERMINAL_LOOK_NS: u64 = 100_000_000;
/// While no VM can run, a blocked write of output is retried this often.
const RETRY_NS: u64 = 5_000_000;
/// Output is collected for this long before it is written, while guests run.
const GATHER_NS: u64 = 1_000_000;

/// This process, as the loop sees it.
#[derive(Debug)]
pub struct LinuxHost<'a> {
    /// The clock that all times are of.
    pub clock: Clock,
    /// Lines and keyboard.
    pub console: Console,
    /// Standard output.
    pub output: Output,
    /// Logs and taps.
    pub recorder: Recorder,
    /// VMs' disks.
    pub disks: Disks,
    /// Networks' uplinks.
    pub uplinks: Uplinks,
    /// Networks' captures.
    pub captures: Captures,
    /// What names the kernels' addresses.
    names: Names,
    /// The registers that each VM's vCPUs have left, as far as they were read at its end.
    pub left: Vec<Vec<CpuState>>,
    /// Why the run should end now.
    pub stop_request: Option<StopRequest>,
    /// Descriptors that ended the last wait, or had something at the last look.
    ready: Vec<RawFd>,
    beginnings: Vec<Beginning<'a>>,
    logs: Vec<Option<Slot>>,
    terminal: Option<Terminal>,
    events: HostEvents,
    time_limit: Instant,
    next_look: Instant,
    next_flush: Instant,
    is_settled: bool,
    account: CpuAccount,
}

/// The terminal at standard input.
#[derive(Debug)]
struct Terminal {
    raw: RawTerminal,
    is_foreground: bool,
    next_look: Instant,
}

/// Separates the host's time from ours: the host took the time in which this process neither had
/// the core nor waited for work.
#[derive(Clone, Copy, Debug)]
struct CpuAccount {
    begin: Instant,
    cpu_before_ns: u64,
    idle_ns: u64,
}

impl<'a> LinuxHost<'a> {
    /// A host of VMs with these beginnings, that ends the run at `time_limit`, and records each
    /// VM's output in its log.
    pub fn new(
        (clock, beginnings): (Clock, Vec<Beginning<'a>>),
        (console, output): (Console, Output),
        (recorder, logs): (Recorder, Vec<Option<Slot>>),
        (disks, uplinks, captures): (Disks, Uplinks, Captures),
        events: HostEvents,
        (time_limit, names): (Instant, Names),
    ) -> Self {
        Self {
            clock,
            console,
            output,
            recorder,
            disks,
            uplinks,
            captures,
            ready: Vec::new(),
            names,
            left: vec![Vec::new(); logs.len()],
            beginnings,
            logs,
            stop_request: None,
            terminal: None,
            events,
            time_limit,
            next_look: Instant::ZERO,
            next_flush: Instant::ZERO,
            is_settled: false,
            account: CpuAccount { begin: clock.now(), cpu_before_ns: process_cpu_ns(), idle_ns: 0 },
        }
    }

    /// Switches the terminal at standard input to raw mode, until it is given back.
    pub fn take_terminal(&mut self) -> Result<()> {
        let raw = RawTerminal::new().context("the terminal's settings")?;
        self.terminal = Some(Terminal { raw, is_foreground: true, next_look: Instant::ZERO });
        self.console.begin();
        self.follow_terminal(Instant::ZERO)
    }

    /// The run has failed: takes the terminal back from a VM that has it raw.
    pub fn abandon_terminal(&mut self) {
        self.console.lend_terminal(false);
        self.flush();
    }

    /// Restores the terminal.
    pub fn give_terminal_back(&mut self) {
        self.terminal = None;
    }

    /// Between turns: polls for keys and signals if that is due, and writes output. Returns when
    /// that began, if it was due.
    pub fn between_turns(&mut self) -> Result<Option<Instant>> {
        let now = self.clock.now();
        if now < self.next_look {
            return Ok(None);
        }
        self.next_look = now.after_ns(LOOK_NS);
        if !self.is_settled && now >= SETTLED {
            self.is_settled = true;
            crate::sys::forget_start_up();
        }
        if self.terminal.as_ref().is_some_and(|terminal| now >= terminal.next_look) {
            self.follow_terminal(now)?;
        }
        self.output.follow_size(&mut self.console);
        let arrived = self.events.look(self.typing_room())?;
        self.follow_up(arrived, now)?;
        Ok(Some(now))
    }

    /// No VM can run before `until`: waits for that moment, a key or a signal.
    pub fn idle(&mut self, until: Instant) -> Result<()> {
        let now = self.clock.now();
        self.flush();
        let prompt = self.console.prompt_due();
        let mut output_due = prompt.unwrap_or(Instant::FAR_FUTURE);
        if !self.console.waiting().is_empty() && !self.output.is_closed() {
            // The reader is behind: retry soon.
            output_due = output_due.clamp(now.after_ns(RETRY_NS / 2), now.after_ns(RETRY_NS));
        }
        let until = until.min(self.time_limit).min(output_due).min(self.terminal_due(now));
        let wait_ns = until.ns_since(now);
        for change in self.uplinks.take_changes() {
            self.events.await_uplink(change)?;
        }
        let before = (self.clock.now(), process_cpu_ns());
        let arrived = self.events.wait(self.typing_room(), wait_ns)?;
        let now = self.clock.now();
        let cpu_ns = process_cpu_ns() - before.1;
        // Time slept beyond the wake-up time is the host's.
        let slept_ns = now.ns_since(before.0).min(wait_ns);
        self.account.idle_ns += slept_ns.saturating_sub(cpu_ns);
        if self.terminal.is_some() {
            self.follow_terminal(now)?;
        }
        self.follow_up(arrived, now)
    }

    /// A wait also ends by a debugger's socket, or no longer.
    pub fn await_debugger(&mut self, change: SocketChange) -> Result<()> {
        match change {
            SocketChange::Begins(fd) => self.events.end_waits_by(fd),
            SocketChange::Ends(fd) => self.events.forget(fd),
        }
    }

    /// Whether this descriptor, one that ends waits, had something at the last look.
    #[must_use]
    pub fn is_ready(&self, fd: RawFd) -> bool {
        self.ready.contains(&fd)
    }

    /// A wait also ends by this descriptor from now on.
    pub fn end_waits_by(&mut self, fd: RawFd) -> Result<()> {
        self.events.end_waits_by(fd)
    }

    /// It does not any more, as it is about to be closed.
    pub fn forget(&mut self, fd: RawFd) -> Result<()> {
        self.ready.retain(|ready| *ready != fd);
        self.events.forget(fd)
    }

    /// How many keys may come now: none while they are the shell's.
    fn typing_room(&self) -> usize {
        match &self.terminal {
            Some(Terminal { is_foreground: false, .. }) => 0,
            Some(_) | None => self.console.typing_room(),
        }
    }

    /// When the host must look whether it has got the terminal back.
    fn terminal_due(&self, now: Instant) -> Instant {
        match &self.terminal {
            Some(Terminal { is_foreground: false, .. }) => now.after_ns(TERMINAL_LOOK_NS),
            Some(_) | None => Instant::FAR_FUTURE,
        }
    }

    fn follow_terminal(&mut self, now: Instant) -> Result<()> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        terminal.next_look = now.after_ns(TERMINAL_LOOK_NS);
        terminal.is_foreground = terminal.raw.follow().context("the terminal's settings")?;
        self.console.lend_terminal(terminal.is_foreground);
        Ok(())
    }

    /// Stops as asked to, and goes on once this process is continued. The terminal is as it was
    /// meanwhile.
    fn pause(&mut self, signal: StopSignal) -> Result<()> {
        if let Some(terminal) = &mut self.terminal {
            self.console.lend_terminal(false);
            self.output.flush(&mut self.console, self.clock.now());
            terminal.raw.leave();
        }
        signal.stop();
        let now = self.clock.now();
        self.follow_terminal(now)
    }

    /// What has gone wrong with disks and uplinks.
    fn say_troubles(&mut self) {
        let mut next = || self.disks.take_trouble().or_else(|| self.uplinks.take_trouble());
        while let Some(trouble) = next() {
            self.console.say(&format!("[{trouble}]"));
        }
    }

    /// Waits for what disks have under way, for `patience` at most, and writes what is to be kept.
    pub fn close_disks(&mut self, patience: Duration) {
        self.disks.close(patience);
        self.say_troubles();
    }

    fn flush(&mut self) {
        self.output.flush(&mut self.console, self.clock.now());
        if self.output.is_closed() {
            self.stop_request.get_or_insert(StopRequest::OutputClosed);
        }
    }

    fn follow_up(&mut self, arrived: Arrived, now: Instant) -> Result<()> {
        let key = self.console.typed(&arrived.typed);
        self.stop_request = self.stop_request.or(key);
        self.answer(&arrived.signals, now)?;
        self.ready = arrived.ready;
        self.flush();
        Ok(())
    }

    fn answer(&mut self, signals: &[Signal], now: Instant) -> Result<()> {
        let mut request = None;
        for signal in signals {
            match *signal {
                Signal::Stop(stop) => self.pause(stop)?,
                Signal::End(SIGINT) => request = Some(StopRequest::Interrupted),
                Signal::End(number) => request = Some(StopRequest::Signal(number)),
            }
        }
        let timed_out = (now >= self.time_limit).then_some(StopRequest::TimedOut);
        self.stop_request = self.stop_request.or(request).or(timed_out);
        Ok(())
    }
}

impl Viewer for LinuxHost<'_> {
    fn input_unread(&mut self, VmIndex(vm): VmIndex, byte: u8) {
        self.console.give_back(vm, byte);
    }

    fn screen_output(&mut self, VmIndex(vm): VmIndex, text: &str) {
        if let Some(log) = self.logs[vm] {
            self.recorder.push(log, text.as_bytes());
        }
        self.console.print_screen(vm, text);
    }

    fn screen_is_not_shown(&mut self, VmIndex(vm): VmIndex) {
        self.console.say_screen_is_not_shown(vm);
    }

    fn screen_wanted(&mut self) -> Option<VmIndex> {
        self.console.take_wanted_screen().map(VmIndex)
    }

    fn whole_screen(&mut self, VmIndex(vm): VmIndex, picture: &Picture) {
        self.console.print_whole_screen(vm, picture);
    }
}

impl Host<GuestRam> for LinuxHost<'_> {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn taken_ns(&mut self, now: Instant) -> u64 {
        let CpuAccount { begin, cpu_before_ns, idle_ns } = self.account;
        let ours_ns = process_cpu_ns() - cpu_before_ns + idle_ns;
        now.ns_since(begin).saturating_sub(ours_ns)
    }

    fn console_output(&mut self, VmIndex(vm): VmIndex, bytes: &[u8]) {
        if let Some(log) = self.logs[vm] {
            self.recorder.push(log, bytes);
        }
        self.console.print(vm, bytes);
        if !self.console.waiting().is_empty() {
            let now = self.clock.now();
            if now >= self.next_flush {
                self.next_flush = now.after_ns(GATHER_NS);
                self.flush();
            }
        }
    }

    fn has_console_input(&mut self) -> bool {
        self.console.has_keys()
    }

    fn console_input(&mut self, VmIndex(vm): VmIndex) -> Option<u8> {
        self.console.take_key(vm)
    }

    fn sibling_ended(&mut self, vcpu: VcpuIndex, dump: &Dump) {
        let VmIndex(vm) = vcpu.vm();
        self.left[vm].push(*dump.registers());
        self.console.say_dump(vcpu, &self.names.annotate(vcpu.vm(), &dump.to_string()));
    }

    fn vm_sleeps(&mut self, vm: VmIndex, why: &str) {
        self.console.vm_sleeps(vm, why);
        self.flush();
    }

    fn beginning(&self, VmIndex(vm): VmIndex) -> Option<&Beginning<'_>> {
        self.beginnings.get(vm)
    }

    fn vm_changed(&mut self, vm: VmIndex, change: Change) {
        self.console.vm_changed(vm, change);
    }

    fn vm_ended(&mut self, vcpu: VcpuIndex, ending: &Ending, dump: Option<&Dump>) {
        let VmIndex(vm) = vcpu.vm();
        self.left[vm] = dump.map(|dump| *dump.registers()).into_iter().collect();
        let dump = dump.map(|dump| self.names.annotate(vcpu.vm(), &dump.to_string()));
        self.console.vm_ended(vcpu, ending, dump.as_deref());
        self.flush();
    }
}
