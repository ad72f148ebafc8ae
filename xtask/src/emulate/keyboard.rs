//! What COM1 receives: this process's standard input, or keys that wait for what is shown.

use super::Machine;
use crate::child::Running;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Ctrl-C. On a raw terminal it is a key like any other.
const INTERRUPT: u8 = 0x03;
/// Ctrl-A x, the hypervisor's keys that end the run.
const END: &[u8] = b"\x01x";
/// Ctrl-A t: the same, and the registers of what still runs.
const TIME_IS_UP: &[u8] = b"\x01t";

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
    port: Port,
}

/// COM1's receiver, to which standard input and the time limit both write.
#[derive(Clone)]
struct Port(Arc<Mutex<dyn Write + Send>>);

impl Port {
    fn press(&self, keys: &[u8]) -> io::Result<()> {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        port.write_all(keys).and_then(|()| port.flush())
    }
}

impl<'a> Keyboard<'a> {
    /// Keys that are sent to the reader of `port`.
    #[must_use]
    pub fn new(typed: &'a [Typed], port: impl Write + Send + 'static) -> Self {
        Self { typed, port: Port(Arc::new(Mutex::new(port))) }
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
        let keyboard = Self::new(&[], port);
        let port = keyboard.port.clone();
        thread::spawn(move || forward(&port, emulator));
        keyboard
    }

    /// Presses the hypervisor's keys that end the run as a time limit does.
    pub(super) fn time_is_up(&self) {
        // A machine that is off by now needs no keys.
        let _ = self.port.press(TIME_IS_UP);
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
            let _ = self.port.press(&typed.keys);
        }
    }
}

/// Sends standard input to `port`, until one of them ends. On a terminal Ctrl-C ends the run, and
/// for a hypervisor that does not listen, another one ends the emulator.
fn forward(port: &Port, emulator: Pid) {
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
        if port.press(&keys).is_err() {
            break;
        }
    }
}
