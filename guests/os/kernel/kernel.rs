//! The kernel's state: the processes, what stops them, how they begin and end. Who runs when is in
//! `schedule`.

use crate::abi::{LONGEST_COMMAND, PROGRAMS_BASE, STATUS_KILLED};
use crate::common::descriptors::FIRST_INTERRUPT;
use crate::common::timer::Timer;
use crate::memory::{self, FramePool};
use crate::process::{MOST_PROCESSES, Process, State};
use crate::schedule::Turn;
use crate::trap::{self, Frame};
use crate::{fault, system_call};

/// The kernel's state.
pub struct Kernel {
    pub timer: Timer,
    pub frames: FramePool,
    pub processes: [Process; MOST_PROCESSES],
    /// One more than the last place in use, so that scans stay short.
    pub places_used: usize,
    /// The place of the running process.
    pub current: usize,
    pub turn: Turn,
    /// Whose x87 and SSE registers are in the processor.
    pub floating_point_owner: Option<usize>,
    /// Whose private memory is mapped.
    pub mapped: Option<usize>,
    last_number: u32,
}

impl Kernel {
    /// The kernel before `guest_main`.
    pub const fn new() -> Self {
        Self {
            timer: Timer::NONE,
            frames: FramePool::EMPTY,
            processes: [const { Process::free() }; MOST_PROCESSES],
            places_used: 0,
            current: 0,
            turn: Turn::OVER,
            floating_point_owner: None,
            mapped: None,
            last_number: 0,
        }
    }

    /// Makes the shell the first process; it runs the commands it is given and then asks for more.
    pub fn start_shell(&mut self, command: &[u8]) {
        let mut shell = [0; LONGEST_COMMAND];
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
                if self.current().state == State::Runnable && !self.turn.is_given_up() {
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
        child.floating_point.clone_from(&parent.floating_point);
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
}
