//! The binary, before it is started: its arguments, what it reads from and writes to, and what it
//! is started by.

use super::running::{HANGS_AFTER, LOOK};
use super::{Finished, PseudoTerminal, Running, Scratch};
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// The directory a run starts in, and the one for its temporary files: both stay empty.
pub const EMPTY: [&str; 2] = ["here", "temporary"];
/// Where a run's receipt goes.
pub const RECEIPT: &str = "receipt.json";

/// A run to be.
#[derive(Debug)]
pub struct Tandem {
    scratch: Scratch,
    started_by: Vec<OsString>,
    arguments: Vec<OsString>,
    typed: Option<Vec<u8>>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

/// A VM's log, while it runs.
#[derive(Debug)]
pub struct Log(PathBuf);

impl Log {
    /// Waits until the VM has printed so many bytes.
    pub fn holds(&self, bytes: usize) {
        let begin = Instant::now();
        while fs::metadata(&self.0).map_or(0, |log| log.len()) < bytes as u64 {
            assert!(begin.elapsed() < HANGS_AFTER, "waiting for {bytes} bytes in {:?}", self.0);
            thread::sleep(LOOK);
        }
    }
}

impl Tandem {
    /// `vmm-kvm` with these arguments.
    pub fn with(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self {
            scratch: Scratch::new(),
            started_by: Vec::new(),
            arguments: arguments.into_iter().map(|it| it.as_ref().to_os_string()).collect(),
            typed: None,
            stdin: None,
            stdout: None,
            stderr: None,
        }
    }

    /// `vmm-kvm CONFIG`, with a receipt and on this test's core.
    pub fn run(config: impl AsRef<Path>) -> Self {
        Self::with([config.as_ref()]).with_receipt()
    }

    /// As [`Tandem::run`], of a config with this text.
    pub fn run_text(text: &str) -> Self {
        let run = Self::with(["run"]);
        let config = run.scratch.file("config.yml", text);
        run.arg(config).with_receipt()
    }

    fn with_receipt(self) -> Self {
        require_kvm();
        let receipt = self.scratch.path(RECEIPT);
        self.arg("--receipt").arg(receipt).arg("--core").arg(next_core().to_string())
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_os_string());
        self
    }

    /// Started by this command, which gets the binary and its arguments behind its own.
    pub fn started_by(mut self, command: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.started_by = command.into_iter().map(|it| it.as_ref().to_os_string()).collect();
        self
    }

    /// Started by this shell script, whose `"$@"` is the binary and its arguments.
    pub fn started_by_shell(self, script: &str) -> Self {
        self.started_by(["sh", "-c", script, "sh"])
    }

    /// With these bytes on standard input, and then its end. Without, it ends at once.
    pub fn typing(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.typed = Some(bytes.into());
        self
    }

    /// Standard input is a pipe that stays open for [`Running::types`].
    pub fn with_keyboard(mut self) -> Self {
        self.stdin = Some(Stdio::piped());
        self
    }

    /// Standard output goes elsewhere.
    pub fn output_to(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Standard output goes to a file that is there.
    pub fn output_to_path(self, path: &str) -> Self {
        let file = OpenOptions::new().write(true).open(path);
        self.output_to(file.unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// Standard errors go elsewhere.
    pub fn errors_to(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Files of this run's own.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Runs it to its end.
    pub fn finish(self) -> Finished {
        self.start().finish()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let typed = self.typed.take();
        let mut command = self.command();
        let default_stdin = if typed.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(self.stdin.take().unwrap_or(default_stdin));
        command.stdout(self.stdout.take().unwrap_or_else(Stdio::piped));
        command.stderr(self.stderr.take().unwrap_or_else(Stdio::piped));
        // A group of its own shows what it leaves behind.
        command.process_group(0);
        let mut running = Running::new(command, self.scratch);
        if let Some(bytes) = typed {
            running.types_all(bytes);
        }
        running
    }

    /// Starts Tandem with logs; the log of `vm` shows how far that VM is.
    pub fn logging(self, vm: &str) -> (Running, Log) {
        let logs = self.scratch.path("logs");
        let log = Log(logs.join(format!("{vm}.log")));
        (self.arg("--log-dir").arg(logs).start(), log)
    }

    /// Starts it on a terminal, which is its controlling one.
    pub fn start_on(mut self, terminal: &PseudoTerminal) -> Running {
        // The session it leads is a group of its own, too.
        let own: Vec<_> = self.started_by.drain(..).collect();
        self = self.started_by(["setsid".into(), "--ctty".into()].into_iter().chain(own));
        let mut command = self.command();
        command.stdin(terminal.for_child()).stdout(terminal.for_child()).stderr(Stdio::piped());
        Running::new(command, self.scratch)
    }

    fn command(&self) -> Command {
        let binary = OsString::from(env!("CARGO_BIN_EXE_vmm-kvm"));
        let words = self.started_by.iter().chain([&binary]).chain(&self.arguments);
        // Tests end runs by signals, which `nohup` or a shell's `&` would have Tandem ignore.
        let mut command = Command::new("env");
        command.arg("--default-signal");
        let [here, temporary] = EMPTY.map(|name| self.scratch.directory(name));
        command.args(words).current_dir(here).env("TMPDIR", temporary);
        // Independent of the terminal that the tests are started from.
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command
    }
}

/// Without KVM there is nothing to test, and that must not look like success.
fn require_kvm() {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    assert!(
        opened.is_ok(),
        "these tests run VMs and need /dev/kvm, readable and writable: {opened:?}"
    );
}

/// Spreads the runs over the cores: tests run at once, in one process or in many.
fn next_core() -> u64 {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let cores = vmm_kvm::sys::allowed_cores().expect("the allowed cores");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) + std::process::id() as usize;
    cores[number % cores.len()]
}
