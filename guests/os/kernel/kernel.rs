//! The scheduler: round robin over the process table, sleepers first when they wake.
//!
//! A slice ends by an alarm only when somebody else could run. With nobody to run, the kernel
//! halts until the next sleeper's time; but if a process waits for the console it polls the line
//! status instead, because COM1's receive interrupt cannot be used: the enable bit makes COM1 the
//! link to other machines. A monitor that shares the core sees the polling and runs others.

use crate::abi::{PROGRAMS_BASE, STATUS_KILLED};
use crate::common::descriptors::FIRST_INTERRUPT;
use crate::common::timer::Timer;
use crate::common::{console, cpu, power};
use crate::memory::{self, FramePool};
use crate::process::{FloatingPoint, MOST_PROCESSES, Process, State};
use crate::trap::{self, Frame};
use crate::{fault, system_call};
use core::arch::asm;

const SLICE_NS: u64 = 10_000_000;
/// The end of a slice that was given up.
const SLICE_OVER: u64 = 0;
/// The machine's status when no process is left.
const STATUS_DESERTED: u32 = 103;
/// How many reads of the line status go between two looks at the clock.
const POLLS_PER_LOOK: u32 = 16;

/// Everything the kernel knows.
pub struct Kernel {
    pub timer: Timer,
    pub frames: FramePool,
    processes: [Process; MOST_PROCESSES],
    /// One more than the last place in use, so that scans stay short.
    places_used: usize,
    current: usize,
    /// Whose x87 and SSE registers are in the processor.
    floating_point_owner: Option<usize>,
    /// Whose private memory is mapped.
    mapped: Option<usize>,
    slice_end: u64,
    last_number: u32,
}

impl Kernel {
    /// The kernel before `guest_main`.
    pub const fn new() -> Self {
        Self {
            timer: Timer::NONE,
            frames: FramePool::EMPTY,
            processes: [const { Process::FREE }; MOST_PROCESSES],
            places_used: 0,
            current: 0,
            floating_point_owner: None,
            mapped: None,
            slice_end: 0,
            last_number: 0,
        }
    }

    /// Makes the shell the first process; it runs the commands it is given and then asks for more.
    pub fn start_shell(&mut self, command: &[u8]) {
        let mut shell = [0; crate::abi::LONGEST_COMMAND];
        let mut length = 0;
        for (to, from) in shell.iter_mut().zip(b"shell ".iter().chain(command)) {
            *to = *from;
            length += 1;
        }
        self.spawn(shell.get(..length).unwrap_or(b"shell"), 0)
            .expect("an empty process table and untouched memory have room for the shell");
    }

    /// Handles what stopped the current process, and gives the registers of the one to go on with.
    pub fn handle_trap(&mut self) -> *const Frame {
        let vector = self.current().frame.vector;
        match vector {
            trap::SYSTEM_CALL => {
                system_call::handle(self);
                if self.current().state == State::Runnable && self.slice_end != SLICE_OVER {
                    return &raw const self.current().frame;
                }
            }
            FIRST_INTERRUPT.. => {
                self.timer.acknowledge(vector);
            }
            fault::PAGE_FAULT if self.grow_stack() => return &raw const self.current().frame,
            _ => {
                let process = self.current();
                fault::report_kill(process.name(), &process.frame, memory::fault_address());
                self.end_current(STATUS_KILLED + vector as u32);
            }
        }
        self.run()
    }

    /// Picks the next process, waiting until there is one, and gives its registers.
    pub fn run(&mut self) -> *const Frame {
        loop {
            let now = cpu::time_stamp();
            let woken = self.wake_sleepers(now);
            if let Some(place) = woken.or_else(|| self.next_runnable(now)) {
                if place != self.current || now >= self.slice_end {
                    self.slice_end = now + self.timer.cycles(SLICE_NS);
                }
                self.current = place;
                self.arm(now);
                return self.switch_to_current();
            }
            match self.console_waiters() {
                0 => self.halt(now),
                awaited => self.poll_console(awaited),
            }
        }
    }

    /// Asks for an alarm if a sleeper or a second runnable process needs one.
    pub fn arm(&mut self, now: u64) {
        let mut others = false;
        for place in 0..self.places_used {
            others |= place != self.current
                && matches!(self.processes[place].state, State::Runnable | State::OnConsole(_));
        }
        let alarm = self.first_wake().min(if others { self.slice_end } else { u64::MAX });
        if alarm != u64::MAX {
            self.timer.set_alarm(alarm, now);
        }
    }

    /// The running process.
    pub fn current(&mut self) -> &mut Process {
        &mut self.processes[self.current]
    }

    /// The running process's memory, and the frames for it.
    pub fn memory(&mut self) -> (&memory::PageTable, &mut FramePool) {
        (&self.processes[self.current].table, &mut self.frames)
    }

    /// Makes a process for a command. `None` if the table or the memory is full.
    pub fn spawn(&mut self, command: &[u8], parent: u32) -> Option<u32> {
        let place = self.free_place()?;
        let process = &mut self.processes[place];
        let stack = memory::place_command(&process.table, command, &mut self.frames)?;
        process.frame.start(PROGRAMS_BASE, stack, command.len() as u64);
        process.floating_point.reset();
        process.set_name(command);
        Some(self.occupy(place, parent))
    }

    /// Makes a copy of the current process. `None` if the table or the memory is full.
    pub fn fork(&mut self) -> Option<u32> {
        let place = self.free_place()?;
        self.save_floating_point();
        let [parent, child] = self.processes.get_disjoint_mut([self.current, place]).ok()?;
        if !memory::copy_stack(&parent.table, &child.table, &mut self.frames) {
            memory::free_stack(&child.table, &mut self.frames);
            return None;
        }
        child.frame.copy_from(&parent.frame);
        child.frame.set_result(0);
        child.floating_point.0 = parent.floating_point.0;
        child.copy_name(parent);
        let parent = parent.number;
        Some(self.occupy(place, parent))
    }

    /// Replaces the current process's program. `None` if the memory is full: then it is lost.
    pub fn execute(&mut self, command: &[u8]) -> Option<()> {
        self.mapped = None;
        self.floating_point_owner = None;
        let process = &mut self.processes[self.current];
        memory::free_stack(&process.table, &mut self.frames);
        let stack = memory::place_command(&process.table, command, &mut self.frames)?;
        process.frame.start(PROGRAMS_BASE, stack, command.len() as u64);
        process.floating_point.reset();
        process.set_name(command);
        self.switch_to_current();
        Some(())
    }

    /// Ends the current process with a status for its parent.
    pub fn end_current(&mut self, status: u32) {
        let number = self.current().number;
        self.floating_point_owner = None;
        self.mapped = None;
        memory::free_stack(&self.processes[self.current].table, &mut self.frames);
        let parent = self.current().parent;
        let mut has_parent = false;
        for process in self.processes.iter_mut().take(self.places_used) {
            if process.parent == number {
                process.parent = 0;
                if matches!(process.state, State::Ended(_)) {
                    process.state = State::Free;
                }
            }
            if parent != 0 && process.number == parent {
                has_parent = true;
                if process.state == State::OnChild {
                    process.state = State::Runnable;
                }
            }
        }
        self.current().state = if has_parent { State::Ended(status) } else { State::Free };
    }

    /// Fetches an ended child of the current process: `Ok(None)` if there is one, but not ended.
    pub fn fetch_child(&mut self, wanted: u32) -> Result<Option<(u32, u32)>, ()> {
        let parent = self.current().number;
        let mut answer = Err(());
        for process in self.processes.iter_mut().take(self.places_used) {
            if process.state == State::Free
                || process.parent != parent
                || (wanted != 0 && process.number != wanted)
            {
                continue;
            }
            if let State::Ended(status) = process.state {
                process.state = State::Free;
                return Ok(Some((process.number, status)));
            }
            answer = Ok(None);
        }
        answer
    }

    /// Lets the others run first.
    pub fn end_slice(&mut self) {
        self.slice_end = SLICE_OVER;
    }

    fn free_place(&self) -> Option<usize> {
        self.processes.iter().position(|process| process.state == State::Free)
    }

    fn occupy(&mut self, place: usize, parent: u32) -> u32 {
        self.last_number += 1;
        self.places_used = self.places_used.max(place + 1);
        let process = &mut self.processes[place];
        process.state = State::Runnable;
        process.parent = parent;
        process.number = self.last_number;
        self.last_number
    }

    fn grow_stack(&mut self) -> bool {
        let (table, frames) = self.memory();
        memory::add_stack_page(table, memory::fault_address(), frames)
    }

    /// Makes sleepers runnable whose time has come, and gives the one that was due first.
    fn wake_sleepers(&mut self, now: u64) -> Option<usize> {
        let (mut first, mut first_time) = (None, u64::MAX);
        for (place, process) in self.processes.iter_mut().take(self.places_used).enumerate() {
            if let State::Sleeping(until) = process.state
                && until <= now
            {
                process.state = State::Runnable;
                if until < first_time {
                    (first, first_time) = (Some(place), until);
                }
            }
        }
        first
    }

    /// The current process while its slice lasts, otherwise the next one after it.
    fn next_runnable(&mut self, now: u64) -> Option<usize> {
        let is_runnable = |place: &usize| self.processes[*place].state == State::Runnable;
        if now < self.slice_end && is_runnable(&self.current) {
            return Some(self.current);
        }
        if self.console_waiters() != 0 {
            self.wake_console_waiters(console_status());
        }
        let is_runnable = |place: &usize| self.processes[*place].state == State::Runnable;
        (self.current + 1..self.places_used).chain(0..=self.current).find(is_runnable)
    }

    fn first_wake(&self) -> u64 {
        let mut first = u64::MAX;
        for process in self.processes.iter().take(self.places_used) {
            if let State::Sleeping(until) = process.state {
                first = first.min(until);
            }
        }
        first
    }

    fn console_waiters(&self) -> u8 {
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

    /// Reads the line status back to back, which tells a monitor that nothing else is to be done.
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
        if alarm == u64::MAX {
            console::Line::new().text("[kernel] no process is left").print();
            power::off(STATUS_DESERTED);
        }
        self.timer.set_alarm(alarm, now);
        let vector = trap::halt_until_interrupt();
        self.timer.acknowledge(vector);
    }

    fn switch_to_current(&mut self) -> *const Frame {
        if self.mapped != Some(self.current) {
            self.mapped = Some(self.current);
            memory::load(&self.processes[self.current].table);
            trap::save_registers_in(&self.processes[self.current].frame);
        }
        if self.floating_point_owner != Some(self.current) {
            self.save_floating_point();
            self.floating_point_owner = Some(self.current);
            restore_floating_point(&self.current().floating_point);
        }
        &raw const self.current().frame
    }

    fn save_floating_point(&mut self) {
        if let Some(owner) = self.floating_point_owner {
            save_floating_point(&mut self.processes[owner].floating_point);
        }
    }
}

fn console_status() -> u8 {
    cpu::in8(console::COM1 + console::LINE_STATUS)
}

fn save_floating_point(area: &mut FloatingPoint) {
    // SAFETY: the area has FXSAVE's size and alignment.
    unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) }
}

fn restore_floating_point(area: &FloatingPoint) {
    // SAFETY: as above; its content came from FXSAVE or `reset`. The kernel uses no such register.
    unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack)) }
}
