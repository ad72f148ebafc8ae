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

/// Keys that are pressed once, when something was shown: the second ones after the same text wait
/// until it was shown twice, and so on.
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
    /// How many of them were pressed.
    pressed: usize,
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
        Self { typed, pressed: 0, port: Port(Arc::new(Mutex::new(port))) }
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
        while let (before, [typed, ..]) = self.typed.split_at(self.pressed) {
            let after = typed.after.as_bytes();
            let times = before.iter().filter(|other| other.after == typed.after).count();
            let mut found = shown.windows(after.len()).filter(|part| *part == after);
            if found.nth(times).is_none() {
                break;
            }
            self.pressed += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Pressed(Arc<Mutex<Vec<u8>>>);

    impl Write for Pressed {
        fn write(&mut self, keys: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics with it").write(keys)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn keys_wait_for_their_text_and_those_after_the_same_text_for_its_return() {
        let press = |after: &str, keys: &[u8]| Typed { after: after.into(), keys: keys.into() };
        let typed = [press("one", b"1"), press("two", b"2"), press("one", b"3")];
        let pressed = Pressed::default();
        let mut keyboard = Keyboard::new(&typed, pressed.clone());
        for (shown, keys) in
            [("two", ""), ("two one", "12"), ("two one two", "12"), ("two one one", "123")]
        {
            keyboard.look_at(shown.as_bytes());
            assert_eq!(
                pressed.0.lock().expect("no test panics with it").as_slice(),
                keys.as_bytes()
            );
        }
    }
}
