//! This process as the loop's host: the clock, the shared console, and what may end the run early.

use crate::console::Output;
use crate::events::{Arrived, HostEvents};
use crate::sys::{Clock, process_cpu_ns};
use anyhow::Result;
use vmm_common::Instant;
use vmm_common::console::Console;
use vmm_common::index::VmIndex;
use vmm_common::registers::CpuState;
use vmm_common::seam::Host;
use vmm_common::stop::StopRequest;
use vmm_common::vm::Ending;

/// The host polls for keys and signals this often while guests run.
const LOOK_NS: u64 = 2_000_000;
/// By now every thread has run once, and memory that only start-up needed can be freed.
const SETTLED: Instant = Instant::from_ns(20_000_000);
/// While no VM can run, a blocked write of output is retried this often.
const RETRY_NS: u64 = 5_000_000;
/// At the end, a terminal that accepts nothing is given up after this time, and any reader once the
/// run was interrupted.
const PATIENCE_NS: u64 = 2_000_000_000;
/// Meanwhile, signals are looked for this often.
const DRAIN_LOOK_MS: i32 = 20;
/// Output is collected for this long before it is written, while guests run.
const GATHER_NS: u64 = 1_000_000;

/// This process, as the loop sees it.
#[derive(Debug)]
pub struct LinuxHost {
    /// The clock that all times are of.
    pub clock: Clock,
    /// Lines and keyboard.
    pub console: Console,
    /// Standard output.
    pub output: Output,
    /// Why the run should end now.
    pub stop_request: Option<StopRequest>,
    events: HostEvents,
    time_limit: Instant,
    next_look: Instant,
    next_flush: Instant,
    is_settled: bool,
    account: CpuAccount,
}

/// Separates the host's time from ours: the host took the time in which this process neither had
/// the core nor waited for work.
#[derive(Clone, Copy, Debug)]
struct CpuAccount {
    begin: Instant,
    cpu_before_ns: u64,
    idle_ns: u64,
}

impl LinuxHost {
    /// A host that ends the run at `time_limit`.
    pub fn new(
        clock: Clock,
        console: Console,
        output: Output,
        events: HostEvents,
        time_limit: Instant,
    ) -> Self {
        Self {
            clock,
            console,
            output,
            stop_request: None,
            events,
            time_limit,
            next_look: Instant::ZERO,
            next_flush: Instant::ZERO,
            is_settled: false,
            account: CpuAccount { begin: clock.now(), cpu_before_ns: process_cpu_ns(), idle_ns: 0 },
        }
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
        self.output.follow_size(&mut self.console);
        let arrived = self.events.look(self.console.typing_room())?;
        self.follow_up(arrived, now);
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
        let wait_ns = until.min(self.time_limit).min(output_due).ns_since(now);
        let before = (self.clock.now(), process_cpu_ns());
        let arrived = self.events.wait(self.console.typing_room(), wait_ns)?;
        let now = self.clock.now();
        let cpu_ns = process_cpu_ns() - before.1;
        // Time slept beyond the wake-up time is the host's.
        let slept_ns = now.ns_since(before.0).min(wait_ns);
        self.account.idle_ns += slept_ns.saturating_sub(cpu_ns);
        self.follow_up(arrived, now);
        Ok(())
    }

    /// All VMs have ended: writes what they left, and returns how many bytes were not read. A pipe
    /// or a file is waited for, as every program does, until a signal or the time limit interrupts
    /// the run. Such a run gives up after a while, and so does one on a terminal that accepts
    /// nothing, as it may be stopped (Ctrl-S). Another signal ends the wait.
    pub fn drain(&mut self) -> Result<usize> {
        self.console.finish();
        let mut since = self.clock.now();
        while !self.console.waiting().is_empty() && !self.output.is_closed() {
            let has_written = self.output.write_some(&mut self.console, DRAIN_LOOK_MS);
            let was_interrupted = self.stop_request.is_some();
            let arrived = self.events.look(0)?;
            let now = self.clock.now();
            let is_limited = was_interrupted || self.output.is_terminal();
            let has_patience = !is_limited || now.ns_since(since) < PATIENCE_NS;
            if !has_patience || was_interrupted && arrived.signal.is_some() {
                break;
            }
            self.note_stop_request(&arrived, false, now);
            if !was_interrupted && (has_written || self.stop_request.is_some()) {
                since = now;
            }
        }
        let unread = self.console.waiting_bytes();
        self.console.written(unread);
        self.events.release_signals();
        Ok(unread)
    }

    fn flush(&mut self) {
        self.output.flush(&mut self.console, self.clock.now());
        if self.output.is_closed() {
            self.stop_request.get_or_insert(StopRequest::OutputClosed);
        }
    }

    fn follow_up(&mut self, arrived: Arrived, now: Instant) {
        let has_end_key = self.console.typed(&arrived.typed);
        self.note_stop_request(&arrived, has_end_key, now);
        self.flush();
    }

    fn note_stop_request(&mut self, arrived: &Arrived, has_end_key: bool, now: Instant) {
        let key = has_end_key.then_some(StopRequest::Interrupted);
        let signal = arrived.signal.map(|signal| match signal {
            libc::SIGINT => StopRequest::Interrupted,
            signal => StopRequest::Signal(signal as u8),
        });
        let timed_out = (now >= self.time_limit).then_some(StopRequest::TimedOut);
        self.stop_request = self.stop_request.or(key).or(signal).or(timed_out);
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

    fn console_output(&mut self, VmIndex(vm): VmIndex, bytes: &[u8]) {
        self.output.log(vm, bytes);
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

    fn vm_ended(&mut self, VmIndex(vm): VmIndex, ending: &Ending, dump: Option<&CpuState>) {
        self.console.vm_ended(vm, ending, dump);
        self.flush();
    }
}
