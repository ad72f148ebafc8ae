//! The bare machine as the loop's host: clock, serial console, keyboard.

use super::clock::Clock;
use super::power;
use super::serial::Serial;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use metal::{cpu, interrupts};
use vmm_common::Instant;
use vmm_common::console::{Command, HELP, Keyboard, Lines};
use vmm_common::registers::CpuState;
use vmm_common::seam::Host;
use vmm_common::vm::Ending;

/// How often keys are looked for, while guests run and while nobody can.
const LOOK_NS: u64 = 2_000_000;
/// Output kept for a port that is slower than the guests.
const BACKLOG_BYTES: usize = 1 << 20;
/// Keys that the port can have received since the last look, at 115200 baud and with its FIFO.
const KEYS_AT_A_LOOK: usize = 64;
/// Keys kept for guests that do not read them yet. The port cannot be left full, or Ctrl-A would
/// not be seen.
const TYPED_AHEAD_BYTES: usize = 64 << 10;
/// Bytes that an empty transmitter takes: its FIFO.
const FIFO_BYTES: usize = 16;

/// The machine.
#[derive(Debug)]
pub struct BareHost {
    /// The clock that all times are of.
    pub clock: Clock,
    /// The run was ended from the keyboard.
    pub is_interrupted: bool,
    serial: Serial,
    lines: Lines,
    keyboard: Keyboard,
    names: Vec<String>,
    next_look: Instant,
}

impl BareHost {
    /// A host for VMs with these names, of which `focus` has the keyboard.
    #[must_use]
    pub fn new(clock: Clock, names: Vec<String>, focus: usize, is_terminal: bool) -> Self {
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        Self {
            clock,
            is_interrupted: false,
            serial: Serial::again(),
            lines: Lines::new(&borrowed, is_terminal, BACKLOG_BYTES),
            keyboard: Keyboard::new(names.len(), focus, true).with_room(TYPED_AHEAD_BYTES),
            names,
            next_look: Instant::ZERO,
        }
    }

    /// Between turns: looks at keys, if that is due, and lets the port have output.
    pub fn between_turns(&mut self) {
        let now = self.clock.now();
        if now < self.next_look {
            return;
        }
        self.next_look = now.after_ns(LOOK_NS);
        let dropped = self.keyboard.dropped();
        for _ in 0..KEYS_AT_A_LOOK {
            let Some(key) = self.serial.receive() else { break };
            for command in self.keyboard.typed(&[key]) {
                match command {
                    Command::Focus(vm) => {
                        let text = format!("[the keyboard is {}'s]", self.names[vm]);
                        self.lines.say(&text);
                    }
                    Command::End => self.is_interrupted = true,
                    Command::Help => self.lines.say(HELP),
                }
            }
        }
        if dropped == 0 && self.keyboard.dropped() > 0 {
            self.lines.say("[keys are lost: more were typed ahead than there is room for]");
        }
        self.lines.show_prompt(self.keyboard.focus(), now);
        self.send();
    }

    /// Nobody can run before `until`: sleeps until then, but looks at keys now and then.
    pub fn idle(&mut self, until: Instant) {
        self.between_turns();
        self.send();
        let until = until.min(self.next_look);
        if self.clock.now() < until {
            interrupts::arm_timer(self.clock.tsc_of(until));
            cpu::wait_for_interrupt();
        }
    }

    /// Prints the lines of a dump of this VM.
    pub fn say_of(&mut self, vm: usize, dump: &str) {
        for line in dump.lines() {
            self.lines.say(&format!("[{}]   {line}", self.names[vm]));
        }
    }

    /// Prints all that is left, and then `text`.
    pub fn finish(&mut self, text: &str) {
        self.lines.finish_all();
        self.lines.say(text);
        for byte in self.lines.waiting() {
            self.serial.send(*byte);
        }
        self.lines.taken(self.lines.waiting().len());
        self.serial.drain();
    }

    /// Lets the port have what it takes without waiting.
    fn send(&mut self) {
        let mut sent = 0;
        for bytes in self.lines.waiting().chunks(FIFO_BYTES) {
            if !self.serial.can_send() {
                break;
            }
            for byte in bytes {
                self.serial.put(*byte);
            }
            sent += bytes.len();
        }
        self.lines.taken(sent);
    }
}

impl Host for BareHost {
    fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn console_output(&mut self, vm: usize, bytes: &[u8]) {
        self.lines.push(vm, bytes);
    }

    fn has_console_input(&mut self) -> bool {
        self.keyboard.has_keys()
    }

    fn console_input(&mut self, vm: usize) -> Option<u8> {
        self.keyboard.take(vm)
    }

    fn vm_ended(&mut self, vm: usize, ending: &Ending, dump: Option<&CpuState>) {
        self.lines.finish(vm);
        let name = self.names[vm].clone();
        self.lines.say(&format!("[{name} {ending}]"));
        if let Some(dump) = dump {
            self.say_of(vm, &dump.to_string());
        }
        if let Some(next) = self.keyboard.ended(vm) {
            self.lines.say(&format!("[the keyboard is {}'s]", self.names[next]));
        }
        self.send();
    }
}

/// Says why nothing can run, and ends with `code`.
pub fn refuse(why: &str, code: u8) -> ! {
    use core::fmt::Write;
    let mut serial = Serial::again();
    for line in why.lines() {
        // A port that is not there takes everything.
        let _ = writeln!(serial, "tandem: {line}");
    }
    power::off(code)
}
