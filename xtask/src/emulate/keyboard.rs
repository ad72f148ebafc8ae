//! What COM1 receives: this process's standard input, or keys that wait for what is shown.

use super::{Machine, Running};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, IsTerminal, Read, Write};
use std::thread;

/// Ctrl-C. On a raw terminal it is a key like any other.
const INTERRUPT: u8 = 0x03;
/// Ctrl-A x, the hypervisor's keys that end the run.
const END: &[u8] = b"\x01x";

/// Keys that are pressed once, when something was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// On the console.
    pub after: String,
    /// What COM1 receives.
    pub keys: Vec<u8>,
}

/// Where keys go, and those that are still to be pressed.
pub struct Keyboard<'a> {
    typed: &'a [Typed],
    port: Box<dyn Write>,
}

impl<'a> Keyboard<'a> {
    /// Keys for whoever reads from `port`.
    #[must_use]
    pub fn new(typed: &'a [Typed], port: impl Write + 'static) -> Self {
        Self { typed, port: Box::new(port) }
    }

    /// The keyboard of a machine that `running` emulates; its own standard input is not waited for.
    pub(super) fn of(
        machine: &Machine,
        running: &Running,
        typed: &'a [Typed],
        port: impl Write + Send + 'static,
    ) -> Self {
        if !machine.has_keyboard {
            return Self::new(typed, port);
        }
        let emulator = Pid::from_child(&running.0);
        thread::spawn(move || forward(port, emulator));
        Self::new(&[], io::sink())
    }

    /// Presses those keys that waited for what is now among all that was `shown`.
    pub fn look_at(&mut self, shown: &[u8]) {
        while let [typed, rest @ ..] = self.typed {
            let after = typed.after.as_bytes();
            if !shown.windows(after.len()).any(|part| part == after) {
                break;
            }
            self.typed = rest;
            // A machine that is off by now needs no keys.
            let _ = self.port.write_all(&typed.keys).and_then(|()| self.port.flush());
        }
    }
}

/// Sends standard input to `port`, until one of them ends. On a terminal Ctrl-C ends the run, and for
/// a hypervisor that does not listen, another one ends the emulator.
fn forward(mut port: impl Write, emulator: Pid) {
    let mut stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    let mut is_ending = false;
    let mut buffer = [0; 256];
    while let Ok(len @ 1..) = stdin.read(&mut buffer) {
        let mut keys = Vec::new();
        for key in &buffer[..len] {
            match (*key, is_terminal) {
                (INTERRUPT, true) if is_ending => {
                    // One that has ended just now is not there to be killed.
                    let _ = kill_process(emulator, Signal::KILL);
                }
                (INTERRUPT, true) => {
                    keys.extend(END);
                    is_ending = true;
                }
                (key, _) => keys.push(key),
            }
        }
        if port.write_all(&keys).and_then(|()| port.flush()).is_err() {
            break;
        }
    }
}
