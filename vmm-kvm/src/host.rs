//! This process as the loop's host: the clock, the shared console, and what may end the run early.

use crate::console::{Command, HELP, Keyboard, Output};
use crate::events::{Arrived, HostEvents};
use crate::sys::{Clock, process_cpu_ns};
use anyhow::Result;
use vmm_common::Instant;
use vmm_common::registers::CpuState;
use vmm_common::seam::Host;
use vmm_common::vm::Ending;

/// How often keys and signals are looked for while guests run.
const LOOK_NS: u64 = 2_000_000;
/// By now all threads run and have done for the first time what they go on doing.
const SETTLED: Instant = Instant::from_ns(20_000_000);
/// A reader that takes no more is tried again this often while nobody runs.
const RETRY_NS: u64 = 5_000_000;
/// Output is gathered for this long before it is written, while guests run.
const GATHER_NS: u64 = 1_000_000;

/// Why a run ends before its VMs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// SIGINT, or the key that stands for it.
    Interrupted,
    /// Another signal that asks to end.
    Signal(i32),
    /// `--timeout`.
    TimedOut,
    /// Nobody reads standard output any more.
    OutputClosed,
}

/// This process, as the loop sees it.
#[derive(Debug)]
pub struct LinuxHost {
    /// The clock that all times are of.
    pub clock: Clock,
    /// Standard output.
    pub output: Output,
    /// Why the run should end now.
    pub cut: Option<Cut>,
    keyboard: Keyboard,
    events: HostEvents,
    names: Vec<String>,
    time_limit: Instant,
    next_look: Instant,
    next_flush: Instant,
    is_settled: bool,
    account: CpuAccount,
}

/// What tells the host's time from ours: of the time since the start, that in which this process
/// neither had the core nor waited for work.
#[derive(Clone, Copy, Debug)]
struct CpuAccount {
    begin: Instant,
    cpu_before_ns: u64,
    idle_ns: u64,
}

impl LinuxHost {
    /// A host for VMs with these names that ends the run at `time_limit`.
    pub fn new(
        clock: Clock,
        output: Output,
        keyboard: Keyboard,
        events: HostEvents,
        names: Vec<String>,
        time_limit: Instant,
    ) -> Self {
        Self {
            clock,
            output,
            cut: None,
            keyboard,
            events,
            names,
            time_limit,
            next_look: Instant::ZERO,
            next_flush: Instant::ZERO,
            is_settled: false,
            account: CpuAccount { begin: clock.now(), cpu_before_ns: process_cpu_ns(), idle_ns: 0 },
        }
    }

    /// Between turns: looks at keys and signals, if that is due, and lets the reader have output.
    /// True if it was due.
    pub fn between_turns(&mut self) -> Result<bool> {
        let now = self.clock.now();
        if now < self.next_look {
            return Ok(false);
        }
        self.next_look = now.after_ns(LOOK_NS);
        if !self.is_settled && now >= SETTLED {
            self.is_settled = true;
            crate::sys::forget_start_up();
        }
        let arrived = self.events.look(self.keyboard.space())?;
        self.follow_up(arrived, now);
        Ok(true)
    }

    /// Nobody can run before `until`: waits for that, a key or a signal.
    pub fn idle(&mut self, until: Instant) -> Result<()> {
        let now = self.clock.now();
        self.flush();
        let prompt = self.output.unfinished_due(self.keyboard.focus());
        let mut output_due = prompt.unwrap_or(Instant::FAR_FUTURE);
        if self.output.has_lines() && !self.output.is_closed() {
            // The reader is behind: it gets the rest when it takes it.
            output_due = output_due.clamp(now.after_ns(RETRY_NS / 2), now.after_ns(RETRY_NS));
        }
        let wait_ns = until.min(self.time_limit).min(output_due).ns_since(now);
        let before = (self.clock.now(), process_cpu_ns());
        let arrived = self.events.wait(self.keyboard.space(), wait_ns)?;
        let now = self.clock.now();
        let cpu_ns = process_cpu_ns() - before.1;
        // If it sleeps for longer than it was to, the host is late.
        let slept_ns = now.ns_since(before.0).min(wait_ns);
        self.account.idle_ns += slept_ns.saturating_sub(cpu_ns);
        self.follow_up(arrived, now);
        Ok(())
    }

    fn flush(&mut self) {
        self.output.flush(self.keyboard.focus(), self.clock.now());
        if self.output.is_closed() {
            self.cut.get_or_insert(Cut::OutputClosed);
        }
    }

    fn follow_up(&mut self, arrived: Arrived, now: Instant) {
        for command in self.keyboard.typed(&arrived.typed) {
            match command {
                Command::Focus(vm) => {
                    let name = &self.names[vm];
                    self.output.say(&format!("[the keyboard is {name}'s]"));
                }
                Command::End => self.cut = self.cut.or(Some(Cut::Interrupted)),
                Command::Help => self.output.say(HELP),
            }
        }
        let signal = arrived.signal.map(|signal| match signal {
            libc::SIGINT => Cut::Interrupted,
            signal => Cut::Signal(signal),
        });
        let timed_out = (now >= self.time_limit).then_some(Cut::TimedOut);
        self.cut = self.cut.or(signal).or(timed_out);
        self.flush();
    }
}

impl Host for LinuxHost {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn taken_ns(&mut self, now: Instant) -> u64 {
        let CpuAccount { begin, cpu_before_ns, idle_ns } = self.account;
        let ours_ns = process_cpu_ns() - cpu_before_ns + idle_ns;
        now.ns_since(begin).saturating_sub(ours_ns)
    }

    fn console_output(&mut self, vm: usize, bytes: &[u8]) {
        self.output.push(vm, bytes);
        if self.output.has_lines() {
            let now = self.clock.now();
            if now >= self.next_flush {
                self.next_flush = now.after_ns(GATHER_NS);
                self.flush();
            }
        }
    }

    fn has_console_input(&mut self) -> bool {
        self.keyboard.has_keys()
    }

    fn console_input(&mut self, vm: usize) -> Option<u8> {
        self.keyboard.take(vm)
    }

    fn vm_ended(&mut self, vm: usize, ending: &Ending, dump: Option<&CpuState>) {
        self.output.finish(vm);
        let name = &self.names[vm];
        self.output.say(&format!("[{name} {ending}]"));
        if let Some(dump) = dump {
            let lines = dump.to_string();
            for line in lines.lines() {
                self.output.say(&format!("[{name}]   {line}"));
            }
        }
        if let Some(next) = self.keyboard.ended(vm) {
            let name = &self.names[next];
            self.output.say(&format!("[the keyboard is {name}'s]"));
        }
        self.flush();
    }
}

impl Cut {
    /// What the VMs that still ran are said to have been stopped by.
    pub fn why(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted from the keyboard",
            Self::Signal(_) => "the run was ended by a signal",
            Self::TimedOut => "the time limit was reached",
            Self::OutputClosed => "nobody reads the output any more",
        }
    }
}
