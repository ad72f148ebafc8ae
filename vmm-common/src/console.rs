//! The console that all VMs share: their lines, one keyboard, and messages about them. A target
//! only moves bytes: typed ones in by [`Console::typed`], printed ones out of
//! [`Console::waiting`].

use crate::Instant;
use crate::plan::Plan;
use crate::registers::CpuState;
use crate::stop::StopRequest;
use crate::vm::Ending;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

mod keyboard;
mod lines;

use keyboard::{Command, HELP, Keyboard};
use lines::Lines;

/// What a target's console can do, and how much of what passes through it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// The output is a terminal: names get colours, and prompts are shown.
    pub is_terminal: bool,
    /// Ctrl-A begins a command to the console: on a terminal, not in a pipe.
    pub has_command_keys: bool,
    /// Output kept for a reader that is slower than the guests, bytes.
    pub output_bytes: usize,
    /// Keys kept for guests that do not read them yet, bytes.
    pub typed_ahead_bytes: usize,
}

/// Lines, keyboard and names.
#[derive(Debug)]
pub struct Console {
    lines: Lines,
    keyboard: Keyboard,
    names: Vec<String>,
    has_said_lost_keys: bool,
}

impl Console {
    /// The console of the VMs of `plan`; the first that may have the keyboard has it.
    #[must_use]
    pub fn new(plan: &Plan, settings: ConsoleSettings) -> Self {
        let ConsoleSettings { is_terminal, has_command_keys, output_bytes, typed_ahead_bytes } =
            settings;
        let names: Vec<&str> = plan.vms.iter().map(|vm| vm.name.as_str()).collect();
        let focus = plan.vms.iter().position(|vm| vm.has_keyboard).unwrap_or(0);
        Self {
            lines: Lines::new(&names, is_terminal, output_bytes),
            keyboard: Keyboard::new(names.len(), focus, has_command_keys, typed_ahead_bytes),
            names: names.into_iter().map(String::from).collect(),
            has_said_lost_keys: false,
        }
    }

    /// Takes what VM `vm` printed.
    pub fn print(&mut self, vm: usize, bytes: &[u8]) {
        self.lines.push(vm, bytes);
    }

    /// Takes what was typed; the request to end the run that was among it.
    #[must_use]
    pub fn typed(&mut self, bytes: &[u8]) -> Option<StopRequest> {
        let mut request = None;
        for command in self.keyboard.typed(bytes) {
            match command {
                Command::Focus(vm) => self.say_focus(vm),
                Command::End => request = Some(StopRequest::Interrupted),
                Command::EndWithRegisters => request = Some(StopRequest::TimedOut),
                Command::Help => self.lines.say(HELP),
            }
        }
        if self.keyboard.dropped() > 0 && !self.has_said_lost_keys {
            self.has_said_lost_keys = true;
            self.lines.say("[keys are lost: more were typed ahead than there is room for]");
        }
        request
    }

    /// How many bytes may be typed now without losing any.
    #[must_use]
    pub fn typing_room(&self) -> usize {
        self.keyboard.space()
    }

    /// Whether keys wait for some VM.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keyboard.has_keys()
    }

    /// The next key for VM `vm`.
    pub fn take_key(&mut self, vm: usize) -> Option<u8> {
        self.keyboard.take(vm)
    }

    /// VM `vm` has ended, with these registers if a fault stopped it. On a
    /// terminal the next VM that still runs gets the keyboard.
    pub fn vm_ended(&mut self, vm: usize, ending: &Ending, dump: Option<&CpuState>) {
        self.lines.finish(vm);
        self.lines.say(&format!("[{} {ending}]", self.names[vm]));
        if let Some(dump) = dump {
            self.say_dump(vm, &dump.to_string());
        }
        if let Some(next) = self.keyboard.ended(vm) {
            self.say_focus(next);
        }
    }

    /// Prints the lines of a dump of VM `vm`.
    pub fn say_dump(&mut self, vm: usize, dump: &str) {
        for line in dump.lines() {
            self.lines.say(&format!("[{}]   {line}", self.names[vm]));
        }
    }

    /// Prints lines of Tandem's own.
    pub fn say(&mut self, text: &str) {
        self.lines.say(text);
    }

    /// Ends the unfinished lines of all VMs.
    pub fn finish(&mut self) {
        self.lines.finish_all();
    }

    /// On a terminal, shows the unfinished line of the VM that has the keyboard, its prompt
    /// perhaps, once the guest has added nothing to it for a while.
    pub fn show_prompt(&mut self, now: Instant) {
        self.lines.show_prompt(self.keyboard.focus(), now);
    }

    /// When [`Console::show_prompt`] will have something to show.
    #[must_use]
    pub fn prompt_due(&self) -> Option<Instant> {
        self.lines.unfinished_due(self.keyboard.focus())
    }

    /// The bytes that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.lines.waiting()
    }

    /// The first `bytes` of those that wait have been written, or are given up.
    pub fn written(&mut self, bytes: usize) {
        self.lines.taken(bytes);
    }

    /// A sentence for each VM that lost output to a slow reader.
    pub fn omissions(&self) -> impl Iterator<Item = String> + '_ {
        let omitted = self.names.iter().zip(self.lines.omitted()).filter(|(_, bytes)| *bytes > 0);
        omitted.map(|(name, bytes)| {
            format!("{bytes} bytes of {name}'s output left out: they were not read")
        })
    }

    fn say_focus(&mut self, vm: usize) {
        self.lines.say(&format!("[the keyboard is {}'s]", self.names[vm]));
    }
}

#[cfg(test)]
mod tests;
