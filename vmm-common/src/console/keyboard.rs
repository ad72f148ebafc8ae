//! The keyboard: which VM has it, and the keys that are commands to the console.

use crate::control::VmRequest;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// Ctrl-A.
const ESCAPE: u8 = 0x01;

/// Printed for Ctrl-A ?.
pub const HELP: &str = "\
keys: Ctrl-A 0 to 9  give the keyboard to the VM of that position
      Ctrl-A n       give it to the next VM
      Ctrl-A p       pause the VM with the keyboard, or let it go on
      Ctrl-A r       restart it
      Ctrl-A k       stop it
      Ctrl-A d       show its registers
      Ctrl-A f       give it the terminal raw, for full-screen programs, or take it back
      Ctrl-A s       show its text screen
      Ctrl-A x       end the run
      Ctrl-A t       end it as a time limit does: with the registers of what still runs
      Ctrl-A Ctrl-A  send a Ctrl-A
      Ctrl-A ?       this help";

/// The keyboard, shared by all VMs.
#[derive(Debug)]
pub struct Keyboard {
    /// What is typed at the keyboard.
    typed: Vec<VecDeque<u8>>,
    /// What files and the config type, which goes before that.
    scripted: Vec<VecDeque<u8>>,
    /// How many of those typed at the keyboard each VM has taken.
    taken: Vec<usize>,
    /// What it took and had not read when it ended.
    given_back: Vec<Vec<u8>>,
    /// Bytes in all of both.
    waiting: usize,
    /// The most bytes that may wait.
    most: usize,
    /// Something has been typed at it.
    is_used: bool,
    /// Keys lost because there was no room.
    dropped: u64,
    /// Keys of each VM that it did not read, as it had ended.
    unread: Vec<u64>,
    has_ended: Vec<bool>,
    focus: usize,
    /// Ctrl-A begins a command: on a terminal, not in a pipe.
    has_escape: bool,
    is_escaped: bool,
}

/// A command typed after Ctrl-A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The keyboard is now this VM's.
    Focus(usize),
    /// Give the terminal raw to this VM, which has the keyboard, or take it back.
    Raw(usize),
    /// Ask this of the VM that has the keyboard.
    Vm(usize, VmRequest),
    /// Show this VM's text screen.
    Screen(usize),
    /// End the run.
    End,
    /// End the run as its time limit does.
    EndWithRegisters,
    /// Show [`HELP`].
    Help,
}

impl Keyboard {
    /// A keyboard for `vms` VMs, first given to VM `focus`, that keeps `most` bytes for guests that
    /// do not read yet. A host that can leave keys where they are does so beyond
    /// [`Keyboard::space`].
    pub fn new(vms: usize, focus: usize, has_escape: bool, most: usize) -> Self {
        let queues = || (0..vms).map(|_| VecDeque::new()).collect();
        Self {
            typed: queues(),
            scripted: queues(),
            taken: vec![0; vms],
            given_back: vec![Vec::new(); vms],
            waiting: 0,
            most,
            is_used: false,
            dropped: 0,
            unread: vec![0; vms],
            has_ended: vec![false; vms],
            focus,
            has_escape,
            is_escaped: false,
        }
    }

    /// Types keys to VM `vm`, which need not have the keyboard. They do not count against the room
    /// for typed keys.
    pub fn type_to(&mut self, vm: usize, bytes: &[u8]) {
        if self.has_ended[vm] {
            self.unread[vm] += bytes.len() as u64;
            return;
        }
        self.scripted[vm].extend(bytes);
        self.waiting += bytes.len();
        self.most += bytes.len();
    }

    /// Keys of each VM that it did not read, as it had ended.
    pub fn unread(&self) -> &[u64] {
        &self.unread
    }

    /// Keys that were lost for lack of room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether anybody types at it: there is a terminal, or something has come by a pipe.
    pub const fn is_used(&self) -> bool {
        self.is_used || self.has_escape
    }

    /// Ctrl-A begins a command.
    pub const fn has_escape(&self) -> bool {
        self.has_escape
    }

    /// The VM that has the keyboard.
    pub fn focus(&self) -> usize {
        self.focus
    }

    /// How many bytes may be typed now.
    pub fn space(&self) -> usize {
        self.most.saturating_sub(self.waiting)
    }

    /// Takes what was typed; returns the commands in it.
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Command> {
        self.is_used |= !bytes.is_empty();
        bytes.iter().filter_map(|byte| self.key(*byte)).collect()
    }

    /// VM `vm`, which ends, has taken this byte and not read it; oldest first.
    pub fn give_back(&mut self, vm: usize, byte: u8) {
        self.given_back[vm].push(byte);
    }

    /// VM `vm` has ended: the keyboard goes to the next one that still runs, and of a pipe what has
    /// not been read. On a terminal that is dropped: it was meant for this VM. Returns the next
    /// one, if the keyboard moved.
    pub fn ended(&mut self, vm: usize) -> Option<usize> {
        self.has_ended[vm] = true;
        let scripted = core::mem::take(&mut self.scripted[vm]).len();
        let mut typed = core::mem::take(&mut self.typed[vm]);
        // What was taken last was typed at the keyboard, as far as it has taken so much from there.
        let given_back = core::mem::take(&mut self.given_back[vm]);
        let of_keyboard = given_back.len().min(self.taken[vm]);
        let (of_files, of_keyboard) = given_back.split_at(given_back.len() - of_keyboard);
        self.waiting -= scripted;
        self.waiting += of_keyboard.len();
        self.unread[vm] += (scripted + of_files.len()) as u64;
        for byte in of_keyboard.iter().rev() {
            typed.push_front(*byte);
        }
        let vms = self.has_ended.len();
        let next = (1..vms).map(|step| (vm + step) % vms).find(|next| !self.has_ended[*next]);
        let next = next.filter(|_| vm == self.focus);
        match next {
            Some(next) if !self.has_escape => self.typed[next].extend(typed),
            Some(_) | None => {
                self.waiting -= typed.len();
                self.unread[vm] += typed.len() as u64;
            }
        }
        self.focus = next.unwrap_or(self.focus);
        next
    }

    /// VM `vm` begins anew. Keys that the guest before had not read are the new one's.
    pub fn restarted(&mut self, vm: usize) {
        self.has_ended[vm] = false;
        let given_back = core::mem::take(&mut self.given_back[vm]);
        self.waiting += given_back.len();
        for byte in given_back.into_iter().rev() {
            self.typed[vm].push_front(byte);
        }
    }

    /// The next key for VM `vm`.
    pub fn take(&mut self, vm: usize) -> Option<u8> {
        let key = self.scripted[vm].pop_front().or_else(|| {
            self.taken[vm] += usize::from(!self.typed[vm].is_empty());
            self.typed[vm].pop_front()
        });
        self.waiting -= usize::from(key.is_some());
        key
    }

    /// Whether keys wait for some VM.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.waiting > 0
    }

    /// A key for the VM that has the keyboard. One that has ended takes none.
    fn press(&mut self, key: u8) {
        if self.has_ended[self.focus] {
            self.unread[self.focus] += 1;
            return;
        }
        if self.space() == 0 {
            self.dropped += 1;
            return;
        }
        self.typed[self.focus].push_back(key);
        self.waiting += 1;
    }

    fn key(&mut self, key: u8) -> Option<Command> {
        if !self.has_escape {
            self.press(key);
            return None;
        }
        if !core::mem::take(&mut self.is_escaped) {
            match key {
                ESCAPE => self.is_escaped = true,
                key => self.press(key),
            }
            return None;
        }
        match key {
            ESCAPE => {
                self.press(ESCAPE);
                None
            }
            b'0'..=b'9' => self.focus_on(usize::from(key - b'0')),
            b'n' => {
                let vms = self.typed.len();
                let others = (1..=vms).map(|step| (self.focus + step) % vms);
                let next = others.into_iter().find(|vm| !self.has_ended[*vm]);
                self.focus_on(next.unwrap_or(self.focus))
            }
            b'p' => Some(Command::Vm(self.focus, VmRequest::PauseOrResume)),
            b'r' => Some(Command::Vm(self.focus, VmRequest::Restart)),
            b'k' => Some(Command::Vm(self.focus, VmRequest::Stop)),
            b'd' => Some(Command::Vm(self.focus, VmRequest::Dump)),
            b'f' => Some(Command::Raw(self.focus)),
            b's' => Some(Command::Screen(self.focus)),
            b'x' => Some(Command::End),
            b't' => Some(Command::EndWithRegisters),
            _ => Some(Command::Help),
        }
    }

    fn focus_on(&mut self, vm: usize) -> Option<Command> {
        if vm >= self.typed.len() {
            return Some(Command::Help);
        }
        self.focus = vm;
        Some(Command::Focus(vm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 64;

    fn taken(keyboard: &mut Keyboard, vm: usize) -> Vec<u8> {
        core::iter::from_fn(|| keyboard.take(vm)).collect()
    }

    #[test]
    fn keys_go_to_the_vm_that_has_the_keyboard_when_they_are_typed() {
        let mut keyboard = Keyboard::new(2, 0, true, ROOM);
        assert_eq!(keyboard.typed(b"ab\x011cd\x01n"), [Command::Focus(1), Command::Focus(0)]);
        assert_eq!(taken(&mut keyboard, 0), b"ab");
        assert_eq!(taken(&mut keyboard, 1), b"cd");
    }

    #[test]
    fn an_escape_split_between_two_reads_is_one_key() {
        let mut keyboard = Keyboard::new(2, 0, true, ROOM);
        assert_eq!(keyboard.typed(b"\x01"), []);
        assert_eq!(keyboard.typed(b"x"), [Command::End]);
        assert_eq!(keyboard.typed(b"t\x01t"), [Command::EndWithRegisters]);
    }

    #[test]
    fn escape_twice_is_one_ctrl_a_for_the_guest() {
        let mut keyboard = Keyboard::new(1, 0, true, ROOM);
        assert_eq!(keyboard.typed(b"\x01\x01"), []);
        assert_eq!(taken(&mut keyboard, 0), b"\x01");
    }

    #[test]
    fn the_keyboard_of_a_vm_that_ended_goes_to_the_next_that_runs() {
        let mut keyboard = Keyboard::new(3, 0, true, ROOM);
        assert_eq!(keyboard.ended(1), None);
        assert_eq!(keyboard.ended(0), Some(2));
        assert_eq!(keyboard.typed(b"\x01n"), [Command::Focus(2)]);
        assert_eq!(keyboard.ended(2), None, "no VM is left");
    }

    #[test]
    fn a_vm_that_is_not_there_cannot_have_the_keyboard() {
        let mut keyboard = Keyboard::new(2, 0, true, ROOM);
        assert_eq!(keyboard.typed(b"\x017"), [Command::Help]);
        assert_eq!(keyboard.focus(), 0);
    }

    #[test]
    fn keys_beyond_the_room_are_dropped_and_counted_but_ours_still_work() {
        let mut keyboard = Keyboard::new(2, 0, true, 3);
        assert_eq!(keyboard.typed(b"abcde\x01x"), [Command::End]);
        assert_eq!((keyboard.space(), keyboard.dropped()), (0, 2));
        assert_eq!(taken(&mut keyboard, 0), b"abc");
        assert_eq!(keyboard.space(), 3);
    }

    #[test]
    fn a_vm_that_has_ended_takes_no_keys() {
        let mut keyboard = Keyboard::new(2, 0, true, ROOM);
        assert_eq!(keyboard.ended(1), None);
        assert_eq!(keyboard.typed(b"\x011abc"), [Command::Focus(1)]);
        assert!(!keyboard.has_keys());
    }

    #[test]
    fn keys_that_a_vm_did_not_read_are_counted() {
        let mut keyboard = Keyboard::new(2, 0, false, ROOM);
        keyboard.typed(b"abc");
        keyboard.take(0);
        assert_eq!(keyboard.ended(1), None);
        assert_eq!(keyboard.ended(0), None, "none is left");
        keyboard.typed(b"defg");
        assert_eq!(keyboard.unread(), [6, 0]);
    }

    #[test]
    fn the_rest_of_a_pipe_goes_to_the_next_vm_and_what_a_file_typed_does_not() {
        let mut keyboard = Keyboard::new(3, 1, false, ROOM);
        keyboard.type_to(1, b"file");
        keyboard.type_to(2, b"own ");
        keyboard.typed(b"abc");
        for byte in *b"filea" {
            assert_eq!(keyboard.take(1), Some(byte));
        }
        // Its port still had the last two.
        keyboard.give_back(1, b'e');
        keyboard.give_back(1, b'a');
        assert_eq!(keyboard.ended(1), Some(2));
        keyboard.typed(b"de");
        assert_eq!(taken(&mut keyboard, 2), b"own abcde");
        assert_eq!(keyboard.unread(), [0, 1, 0]);
        keyboard.type_to(1, b"late");
        assert_eq!((keyboard.has_keys(), keyboard.unread()), (false, &[0, 5, 0][..]));
    }

    #[test]
    fn what_is_typed_to_a_vm_from_a_file_takes_no_room_of_the_keyboard() {
        let mut keyboard = Keyboard::new(2, 0, false, 3);
        keyboard.type_to(1, b"a file");
        assert_eq!(keyboard.space(), 3);
        keyboard.typed(b"xyz");
        assert_eq!((taken(&mut keyboard, 0), keyboard.space()), (b"xyz".to_vec(), 3));
        assert_eq!(taken(&mut keyboard, 1), b"a file");
    }

    #[test]
    fn a_pipe_has_no_keys_of_ours() {
        let mut keyboard = Keyboard::new(2, 1, false, ROOM);
        assert_eq!(keyboard.typed(b"\x01x"), []);
        assert_eq!(taken(&mut keyboard, 1), b"\x01x");
    }
}
