//! The kernel's record of a process.

use crate::floating_point::FloatingPoint;
use crate::memory::PageTable;
use crate::trap::Frame;

/// How many processes there can be at once.
pub const MOST_PROCESSES: usize = 16;
const LONGEST_NAME: usize = 16;

/// What a process is waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no such process.
    Free,
    /// It can run, or does.
    Runnable,
    /// Until the time stamp.
    Sleeping(u64),
    /// Until COM1's line status has one of the bits; then it executes its call again.
    OnConsole(u8),
    /// Until a child ends; then it executes its call again.
    OnChild,
    /// It ended with the status, which its parent has not fetched.
    Ended(u32),
}

/// A process, or a free place for one.
pub struct Process {
    pub frame: Frame,
    pub floating_point: FloatingPoint,
    pub state: State,
    /// Its number; 0 if the place is free.
    pub number: u32,
    /// The parent's number; 0 if no process will fetch the status.
    pub parent: u32,
    /// The private memory.
    pub table: PageTable,
    name: [u8; LONGEST_NAME],
}

impl Process {
    /// A free place.
    pub const fn free() -> Self {
        Self {
            frame: Frame::EMPTY,
            floating_point: FloatingPoint::EMPTY,
            state: State::Free,
            number: 0,
            parent: 0,
            table: PageTable::empty(),
            name: [0; LONGEST_NAME],
        }
    }

    /// The program's name, cut off where it is long.
    pub fn name(&self) -> &str {
        let length = self.name.iter().position(|&byte| byte == 0).unwrap_or(LONGEST_NAME);
        self.name.get(..length).and_then(|name| str::from_utf8(name).ok()).unwrap_or("?")
    }

    /// Names the process after the first word of its command.
    pub fn set_name(&mut self, command: &[u8]) {
        self.name = [0; LONGEST_NAME];
        let word = command.iter().take_while(|&&byte| byte != b' ');
        for (to, from) in self.name.iter_mut().zip(word) {
            *to = *from;
        }
    }

    /// Names the process as another one.
    pub fn copy_name(&mut self, other: &Self) {
        self.name = other.name;
    }
}
