//! The binary while it runs: what it printed so far, and what is done to it.

use super::{Finished, PseudoTerminal, Scratch, without_colours};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// So long may nothing take, on however slow a machine: only what hangs does.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(180);
/// How often the end is looked for.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// A run.
#[derive(Debug)]
pub struct Running {
    child: Child,
    scratch: Option<Scratch>,
    output: Arc<Collected>,
    errors: Arc<Collected>,
}

/// What a reader has read.
#[derive(Debug, Default)]
struct Collected {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    has_reader: bool,
    is_over: bool,
}

impl Running {
    pub(super) fn new(mut command: Command, scratch: Scratch) -> Self {
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (output, errors) = <(Arc<Collected>, Arc<Collected>)>::default();
        if let Some(stdout) = child.stdout.take() {
            Collected::read(&output, stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            Collected::read(&errors, stderr);
        }
        Self { child, scratch: Some(scratch), output, errors }
    }

    /// Reads what it shows on its terminal.
    pub fn shows_on(&self, terminal: &PseudoTerminal) {
        Collected::read(&self.output, terminal.reader());
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until standard output, less its colours, contains `text`.
    pub fn shows(&self, text: &str) -> &Self {
        self.output.wait("it shows", text, |output| output.contains(text));
        self
    }

    /// Waits until standard output contains `text` so many times.
    pub fn shows_times(&self, text: &str, times: usize) -> &Self {
        self.output.wait("it shows again", text, |output| output.matches(text).count() >= times);
        self
    }

    /// Types on standard input, which is a pipe.
    pub fn types(&self, text: &str) -> &Self {
        let mut stdin = self.child.stdin.as_ref().expect("it was started with a keyboard");
        stdin.write_all(text.as_bytes()).expect("it reads what is typed");
        self
    }

    /// Closes standard input.
    pub fn types_no_more(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Types without waiting for it to be read, then closes standard input.
    pub(super) fn types_all(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.child.stdin.take().expect("standard input is a pipe");
        // A process may end without reading all of it.
        thread::spawn(move || stdin.write_all(&bytes).is_ok());
    }

    /// Sends a signal.
    pub fn receives(&self, signal: Signal) -> &Self {
        kill_process(Pid::from_child(&self.child), signal).expect("it still runs");
        self
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let status = self.wait();
        let [output, errors] = [&self.output, &self.errors].map(|it| it.all_so_far());
        let scratch = self.scratch.take().expect("only the end takes it");
        Finished::new(self.child.id(), status, output, errors, scratch)
    }

    fn wait(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            if begin.elapsed() > HANGS_AFTER {
                let [output, errors] = [&self.output, &self.errors].map(|it| it.text());
                panic!("it hangs. Standard output:\n{output}\nstandard errors:\n{errors}");
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    /// Where a test fails on the way, nothing of it goes on running.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Collected {
    fn read(this: &Arc<Self>, mut from: impl Read + Send + 'static) {
        this.state.lock().unwrap_or_else(PoisonError::into_inner).has_reader = true;
        let this = Arc::clone(this);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                // A terminal whose other side is gone reads as an error.
                let len = from.read(&mut chunk).unwrap_or(0);
                let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.bytes.extend_from_slice(&chunk[..len]);
                state.is_over = len == 0;
                this.changed.notify_all();
                if len == 0 {
                    break;
                }
            }
        });
    }

    fn text(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&state.bytes).into_owned()
    }

    /// All of it, once the writer has closed its side.
    fn all_so_far(&self) -> String {
        let begin = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.has_reader && !state.is_over {
            assert!(begin.elapsed() < HANGS_AFTER, "another process keeps its output open");
            state = self.changed.wait_timeout(state, LOOK).expect("readers do not panic").0;
        }
        String::from_utf8_lossy(&state.bytes).into_owned()
    }

    fn wait(&self, what: &str, text: &str, is_there: impl Fn(&str) -> bool) {
        let begin = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let seen = without_colours(&String::from_utf8_lossy(&state.bytes));
            if is_there(&seen) {
                return;
            }
            assert!(
                !state.is_over && begin.elapsed() < HANGS_AFTER,
                "waiting until {what} {text:?}; it showed:\n{seen}"
            );
            state = self.changed.wait_timeout(state, HANGS_AFTER).expect("readers do not panic").0;
        }
    }
}
