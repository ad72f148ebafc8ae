//! Who runs when: round robin, and sleepers first when they wake.
//!
//! A turn is ended by an alarm, and only when another process could run. With none to run, the
//! kernel halts until the next sleeper's time; but if a process waits for the console it polls the
//! line status instead, because COM1's receive interrupt cannot be used: its enable bit makes COM1
//! the link to other machines. A monitor that shares the core sees the polling and runs others.
//!
//! A machine that shares its core stands still at times, and its clock does not. Two rules keep the
//! order of events the same all the same: a process that just woke is not overtaken by later
//! sleepers, and a turn whose alarm comes late goes on once more.

use crate::common::{console, cpu, power};
use crate::kernel::Kernel;
use crate::memory;
use crate::process::State;
use crate::trap::{self, Frame};

const SLICE_NS: u64 = 10_000_000;
/// An alarm is late when it comes more than this part of a slice after its time.
const LATE_DIVISOR: u64 = 8;
/// How many reads of the line status go between two looks at the clock.
const POLLS_PER_LOOK: u32 = 16;
/// The machine's status when no process is left.
const STATUS_DESERTED: u32 = 103;
const NEVER: u64 = u64::MAX;

/// The current process's right to run.
pub struct Turn {
    /// The time stamp at which it ends if others can run; 0 if it was given up.
    end: u64,
    /// The process just woke, and is not overtaken by other sleepers.
    is_urgent: bool,
    was_extended: bool,
}

impl Turn {
    /// No process has the turn.
    pub const OVER: Self = Self { end: 0, is_urgent: false, was_extended: false };

    /// Whether the process wants others to run first.
    pub fn is_given_up(&self) -> bool {
        self.end == 0
    }
}

impl Kernel {
    /// Picks the next process, waiting until there is one, and gives its registers.
    pub fn run(&mut self) -> *const Frame {
        loop {
            let now = cpu::time_stamp();
            if self.keeps_turn(now) || self.begin_turn(now) {
                self.arm(now);
                return self.switch_to_current();
            }
            match self.awaited_on_console() {
                0 => self.halt(now),
                awaited => self.poll_console(awaited),
            }
        }
    }

    /// Asks for an alarm if a sleeper or a second runnable process needs one.
    pub fn arm(&mut self, now: u64) {
        let (wake, has_others) = (self.first_wake(), self.has_others());
        let alarm = match (self.turn.is_urgent, has_others) {
            (true, _) if has_others || wake != NEVER => self.turn.end,
            (_, true) => wake.min(self.turn.end),
            (_, false) => wake,
        };
        if alarm != NEVER {
            self.timer.set_alarm(alarm, now);
        }
    }

    /// Lets the others run first.
    pub fn end_turn(&mut self) {
        self.turn = Turn::OVER;
    }

    fn keeps_turn(&mut self, now: u64) -> bool {
        if self.current().state != State::Runnable || self.turn.is_given_up() {
            return false;
        }
        let slice = self.timer.cycles(SLICE_NS);
        if now < self.turn.end {
            return self.turn.is_urgent || self.first_wake() > now;
        }
        let is_late = now - self.turn.end > slice / LATE_DIVISOR;
        if !is_late || self.turn.was_extended {
            return false;
        }
        self.turn.was_extended = true;
        self.turn.end = now + slice;
        true
    }

    /// Gives the turn to the first sleeper whose time has come, or to the next runnable process.
    fn begin_turn(&mut self, now: u64) -> bool {
        let sleeper = self.first_sleeper(now);
        let is_urgent = sleeper.is_some();
        let Some(place) = sleeper.or_else(|| self.next_runnable()) else { return false };
        self.processes[place].state = State::Runnable;
        self.current = place;
        let end = now + self.timer.cycles(SLICE_NS);
        self.turn = Turn { end, is_urgent, was_extended: false };
        true
    }

    fn first_sleeper(&self, now: u64) -> Option<usize> {
        let wake = self.first_wake();
        let is_first = |place: &usize| self.processes[*place].state == State::Sleeping(wake);
        if wake > now { None } else { (0..self.places_used).find(is_first) }
    }

    fn next_runnable(&mut self) -> Option<usize> {
        if self.awaited_on_console() != 0 {
            self.wake_console_waiters(console_status());
        }
        let is_runnable = |place: &usize| self.processes[*place].state == State::Runnable;
        (self.current + 1..self.places_used).chain(0..=self.current).find(is_runnable)
    }

    fn first_wake(&self) -> u64 {
        let mut first = NEVER;
        for process in self.processes.iter().take(self.places_used) {
            if let State::Sleeping(until) = process.state {
                first = first.min(until);
            }
        }
        first
    }

    /// Whether another process can run, or could as soon as the console is ready.
    fn has_others(&self) -> bool {
        self.processes.iter().take(self.places_used).enumerate().any(|(place, process)| {
            place != self.current && matches!(process.state, State::Runnable | State::OnConsole(_))
        })
    }

    fn awaited_on_console(&self) -> u8 {
        let mut awaited = 0;
        for process in self.processes.iter().take(self.places_used) {
            if let State::OnConsole(bits) = process.state {
                awaited |= bits;
            }
        }
        awaited
    }

    fn wake_console_waiters(&mut self, status: u8) {
        for process in self.processes.iter_mut().take(self.places_used) {
            if let State::OnConsole(bits) = process.state
                && bits & status != 0
            {
                process.state = State::Runnable;
            }
        }
    }

    /// Reads the line status back to back, by which a monitor sees that nothing else is to do.
    fn poll_console(&mut self, awaited: u8) {
        for _ in 0..POLLS_PER_LOOK {
            let status = console_status();
            if status & awaited != 0 {
                self.wake_console_waiters(status);
                return;
            }
        }
    }

    fn halt(&mut self, now: u64) {
        let alarm = self.first_wake();
        if alarm == NEVER {
            console::Line::new().text("[kernel] no process is left").print();
            power::off(STATUS_DESERTED);
        }
        self.timer.set_alarm(alarm, now);
        let vector = trap::halt_until_interrupt();
        self.timer.acknowledge(vector);
    }

    /// Loads what belongs to the current process and gives its registers.
    pub fn switch_to_current(&mut self) -> *const Frame {
        if self.mapped != Some(self.current) {
            self.mapped = Some(self.current);
            memory::load(&self.processes[self.current].table);
            trap::save_registers_in(&self.processes[self.current].frame);
        }
        if self.floating_point_owner != Some(self.current) {
            self.save_floating_point();
            self.floating_point_owner = Some(self.current);
            self.current().floating_point.restore();
        }
        &raw const self.current().frame
    }

    /// Stores the processor's x87 and SSE registers where they belong.
    pub fn save_floating_point(&mut self) {
        if let Some(owner) = self.floating_point_owner {
            self.processes[owner].floating_point.save();
        }
    }
}

fn console_status() -> u8 {
    cpu::in8(console::COM1 + console::LINE_STATUS)
}
