//! The console that all VMs share: their lines, one keyboard, and messages about them. A target
//! only moves bytes: typed ones in by [`Console::typed`], printed ones out of
//! [`Console::waiting`].
//!
//! What a guest prints reaches the terminal as text only, unless the operator has given the
//! terminal to its VM by Ctrl-A f ([`Command::Raw`]).

use crate::Instant;
use crate::control::{Change, Refusal, VmRequest};
use crate::index::{VcpuIndex, VmIndex};
use crate::plan::Plan;
use crate::stop::StopRequest;
use crate::units::RoundedTime;
use crate::vm::Ending;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

mod display;
mod keyboard;
mod lines;
mod printable;
mod queue;
mod screen_lines;
mod script;
mod sequences;
mod vm_lines;

pub use display::{Ability, Display};
use keyboard::{Command, HELP, Keyboard};
use lines::Lines;
use printable::Printable;
use screen_lines::Screens;
use script::Script;

/// What a target's console can do, and how much of what passes through it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// What shows the output.
    pub display: Display,
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
    printables: Vec<Printable>,
    keyboard: Keyboard,
    names: Vec<String>,
    /// VMs with several vCPUs.
    has_siblings: Vec<bool>,
    /// VMs that have the terminal raw while they have the keyboard.
    wants_raw: Vec<bool>,
    /// This program is in the terminal's foreground, and may give the terminal to a VM.
    has_terminal: bool,
    display: Display,
    has_said_lost_keys: bool,
    /// What has been asked of VMs by keys.
    requests: VecDeque<(VmIndex, VmRequest)>,
    screens: Screens,
    /// What the config types to each VM.
    scripts: Vec<Script>,
}

impl Console {
    /// The console of the VMs of `plan`; the first that may have the keyboard has it.
    #[must_use]
    pub fn new(plan: &Plan, settings: ConsoleSettings) -> Self {
        let ConsoleSettings { display, has_command_keys, output_bytes, typed_ahead_bytes } =
            settings;
        let names: Vec<&str> = plan.vms.iter().map(|vm| vm.name.as_str()).collect();
        let focus = plan.vms.iter().position(|vm| vm.has_keyboard).unwrap_or(0);
        // A terminal whose keys come one by one does not add a CR to each LF, either: a guest that
        // has it raw may mean just the LF.
        let newline = if display.is_terminal() && has_command_keys { "\r\n" } else { "\n" };
        let mut console = Self {
            lines: Lines::new(&names, display, newline, output_bytes),
            printables: names.iter().map(|_| Printable::new()).collect(),
            keyboard: Keyboard::new(names.len(), focus, has_command_keys, typed_ahead_bytes),
            wants_raw: names.iter().map(|_| false).collect(),
            has_terminal: true,
            names: names.into_iter().map(String::from).collect(),
            has_siblings: plan.vms.iter().map(|vm| vm.processors() > 1).collect(),
            display,
            has_said_lost_keys: false,
            requests: VecDeque::new(),
            screens: Screens::default(),
            scripts: plan.vms.iter().map(|vm| Script::new(&vm.input)).collect(),
        };
        for vm in 0..plan.vms.len() {
            let keys = console.scripts[vm].begin();
            console.keyboard.type_to(vm, &keys);
        }
        console
    }

    /// The run begins: says on a terminal which of several VMs has the keyboard.
    pub fn begin(&mut self) {
        if self.display.is_terminal() && self.keyboard.has_escape() && self.names.len() > 1 {
            self.say_focus();
        }
    }

    /// Takes what VM `vm` printed.
    pub fn print(&mut self, vm: usize, bytes: &[u8]) {
        if self.scripts[vm].is_waiting() {
            let keys = self.scripts[vm].printed(bytes);
            self.keyboard.type_to(vm, &keys);
        }
        if self.screens.has_line_of(vm) {
            self.end_screen_line(vm);
        }
        let lines = &mut self.lines;
        if lines.raw() == Some(vm) {
            return lines.take_raw(vm, bytes);
        }
        for byte in bytes {
            self.printables[vm].push(*byte, &mut |piece| lines.take(vm, piece));
        }
    }

    /// Takes what was typed; the request to end the run that was among it.
    #[must_use]
    pub fn typed(&mut self, bytes: &[u8]) -> Option<StopRequest> {
        let mut request = None;
        for command in self.keyboard.typed(bytes) {
            match command {
                Command::Focus(vm) => self.focus_moved(vm),
                Command::Raw(vm) => self.turn_raw(vm),
                Command::Vm(vm, request) => self.requests.push_back((VmIndex(vm), request)),
                Command::Screen(vm) => self.screens.want(vm),
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

    /// What has been asked of a VM by keys, in order.
    pub fn take_request(&mut self) -> Option<(VmIndex, VmRequest)> {
        self.requests.pop_front()
    }

    /// A request was not carried out.
    pub fn refused(&mut self, VmIndex(vm): VmIndex, why: Refusal) {
        self.lines.say(&format!("[{}: {why}]", self.names[vm]));
    }

    /// What has become of VM `vm` at the operator's request.
    pub fn vm_changed(&mut self, VmIndex(vm): VmIndex, change: Change) {
        self.finish_line(vm);
        let what: String = match change {
            Change::Paused if self.keyboard.has_escape() => "paused; Ctrl-A p lets it go on".into(),
            Change::Paused => "paused".into(),
            Change::Resumed => "goes on".into(),
            Change::Restarted => {
                self.wants_raw[vm] = false;
                self.follow_raw();
                self.keyboard.restarted(vm);
                "restarted".into()
            }
            Change::GivenUp { times, within_ns } => {
                format!("ends: restarted {times} times in {}", RoundedTime(within_ns))
            }
        };
        self.lines.say(&format!("[{} {what}]", self.names[vm]));
    }

    /// How many bytes may be typed now without losing any.
    #[must_use]
    pub fn typing_room(&self) -> usize {
        self.keyboard.space()
    }

    /// Types `keys` to VM `vm`, which need not have the keyboard.
    pub fn type_to(&mut self, vm: usize, keys: &[u8]) {
        self.keyboard.type_to(vm, keys);
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

    /// VM `vm`, which ends, has not read this byte that it took.
    pub fn give_back(&mut self, vm: usize, byte: u8) {
        self.keyboard.give_back(vm, byte);
    }

    /// A VM has ended; with the lines of a dump, if there is one. The next VM that still runs gets
    /// the keyboard, and of a pipe what has not been read.
    pub fn vm_ended(&mut self, vcpu: VcpuIndex, ending: &Ending, dump: Option<&str>) {
        let VmIndex(vm) = vcpu.vm();
        self.wants_raw[vm] = false;
        self.follow_raw();
        self.finish_line(vm);
        self.lines.say(&format!("[{} {ending}]", self.names[vm]));
        if let Some(dump) = dump {
            self.say_dump(vcpu, dump);
        }
        if let Some(next) = self.keyboard.ended(vm)
            && self.keyboard.is_used()
        {
            self.focus_moved(next);
        }
    }

    /// All vCPUs of a VM halt, and nothing can wake them.
    pub fn vm_sleeps(&mut self, VmIndex(vm): VmIndex, why: &str) {
        self.finish_line(vm);
        self.lines.say(&format!("[{} sleeps: nothing can wake it: {why}]", self.names[vm]));
    }

    /// Prints the lines of a dump of a vCPU, with its number where its VM has several.
    pub fn say_dump(&mut self, vcpu: VcpuIndex, dump: &str) {
        let VmIndex(vm) = vcpu.vm();
        let name = &self.names[vm];
        for line in dump.lines() {
            match self.has_siblings[vm] {
                true => self.lines.say(&format!("[{name}.{}]   {line}", vcpu.id())),
                false => self.lines.say(&format!("[{name}]   {line}")),
            }
        }
    }

    /// Prints lines of Tandem's own.
    pub fn say(&mut self, text: &str) {
        self.lines.say(text);
    }

    /// Ends the unfinished lines of all VMs, and takes the terminal back from one that has it raw.
    pub fn finish(&mut self) {
        self.lines.set_raw(None);
        for vm in 0..self.names.len() {
            self.finish_line(vm);
        }
    }

    /// On a terminal, shows unfinished lines, prompts perhaps, once a guest has added nothing to
    /// its line for a while: for the VM that has the keyboard a short while.
    pub fn show_prompts(&mut self, now: Instant) {
        self.lines.show_prompts(self.keyboard.focus(), now);
    }

    /// When [`Console::show_prompts`] will have something to show.
    #[must_use]
    pub fn prompt_due(&self) -> Option<Instant> {
        self.lines.prompt_due(self.keyboard.focus())
    }

    /// Whether the terminal may be given to a VM raw: not while it is another program's, as a
    /// shell's where this one is stopped or in the background.
    pub fn lend_terminal(&mut self, may_lend: bool) {
        self.has_terminal = may_lend;
        self.follow_raw();
    }

    /// The terminal has this many columns now; 0 if that is not known.
    pub fn set_columns(&mut self, columns: usize) {
        if let Display::Terminal { columns: before, .. } = &mut self.display
            && *before != columns
        {
            *before = columns;
            self.lines.set_display(self.display);
        }
    }

    /// The first of the bytes that wait to be written: none only if none wait.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.lines.waiting()
    }

    /// How many bytes wait to be written.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.lines.waiting_bytes()
    }

    /// The first `bytes` of those that wait have been written, or are given up.
    pub fn written(&mut self, bytes: usize) {
        self.lines.taken(bytes);
    }

    /// A sentence for each VM that lost output to a slow reader.
    pub fn omissions(&self) -> impl Iterator<Item = String> + use<'_> {
        let omitted = self.names.iter().zip(self.lines.omitted()).filter(|(_, bytes)| *bytes > 0);
        omitted.map(|(name, bytes)| {
            format!("{bytes} bytes of {name}'s output left out: they were not read")
        })
    }

    /// A sentence for each VM that had ended before it read all that was typed to it, which on a
    /// terminal is its user's, and for each that did not print what its inputs waited for.
    pub fn unread_keys(&self) -> impl Iterator<Item = String> + use<'_> {
        let unread = self.names.iter().zip(self.keyboard.unread()).filter(|(_, keys)| **keys > 0);
        let unread = unread.filter(|_| !self.keyboard.has_escape()).map(|(name, keys)| {
            format!("{keys} bytes typed to {name} were not read: it had ended")
        });
        let scripts = self.names.iter().zip(&self.scripts);
        let left =
            scripts.filter_map(|(name, script)| Some(script::sentence(name, script.unfinished()?)));
        unread.chain(left)
    }

    fn focus_moved(&mut self, vm: usize) {
        // In this order: a terminal that was raw shows lines again before the next one has it.
        self.lines.set_raw(None);
        self.say_focus();
        self.lines.show_prompt_again(vm);
        self.follow_raw();
    }

    fn say_focus(&mut self) {
        self.lines.say(&format!("[the keyboard is {}'s]", self.names[self.keyboard.focus()]));
    }

    fn turn_raw(&mut self, vm: usize) {
        if !self.display.obeys_sequences() {
            self.lines.say("[no VM can have the terminal raw: the output is none, or a dumb one]");
            return;
        }
        self.wants_raw[vm] = !self.wants_raw[vm];
        self.follow_raw();
    }

    /// Gives the terminal to the VM with the keyboard, if it is to have it raw, or takes it back.
    fn follow_raw(&mut self) {
        let vm = self.keyboard.focus();
        let raw = (self.has_terminal && self.wants_raw[vm]).then_some(vm);
        if raw == self.lines.raw() {
            return;
        }
        if let Some(vm) = raw {
            self.finish_line(vm);
            self.lines.say(&format!("[{} has the terminal raw until Ctrl-A f]", self.names[vm]));
        }
        self.lines.set_raw(raw);
    }

    fn finish_line(&mut self, vm: usize) {
        let lines = &mut self.lines;
        self.printables[vm].finish(&mut |piece| lines.take(vm, piece));
        lines.finish(vm);
    }
}

#[cfg(test)]
mod tests;
