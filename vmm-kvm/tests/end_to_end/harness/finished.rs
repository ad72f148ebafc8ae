//! A run that is over: its exit code, what it printed, and what it left behind.

use super::Scratch;
use super::tandem::{EMPTY, RECEIPT};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// Standard output.
    pub output: String,
    /// Standard errors.
    pub errors: String,
    /// The receipt as JSON; null if none was written.
    pub receipt: Value,
    /// Files of this run's own.
    pub scratch: Scratch,
    status: ExitStatus,
}

impl Finished {
    /// However it ended, it must not have panicked nor left anything behind.
    pub(super) fn new(
        pid: u32,
        status: ExitStatus,
        output: String,
        errors: String,
        scratch: Scratch,
    ) -> Self {
        let receipt = fs::read(scratch.path(RECEIPT)).ok();
        let receipt = receipt.and_then(|json| serde_json::from_slice(&json).ok());
        let receipt = receipt.unwrap_or(Value::Null);
        let this = Self { output, errors, receipt, scratch, status };
        for text in ["panicked at ", "please report", "RUST_BACKTRACE"] {
            assert!(!this.output.contains(text) && !this.errors.contains(text), "{}", this.shown());
        }
        for directory in EMPTY {
            let left = Scratch::names_in(&this.scratch.path(directory));
            assert!(left.is_empty(), "{directory}: {left:?} left behind");
        }
        let left = processes_of_group(pid);
        assert!(left.is_empty(), "processes {left:?} left behind by {pid}");
        this
    }

    /// Checks the exit code.
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.shown());
        self
    }

    /// The exit code, or None if a signal killed it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Checks that standard output contains `text`.
    pub fn shows(self, text: &str) -> Self {
        assert!(self.output.contains(text), "{text:?} is missing.\n{}", self.shown());
        self
    }

    /// Checks that standard errors contain `text`.
    pub fn complains(self, text: &str) -> Self {
        assert!(self.errors.contains(text), "{text:?} is missing.\n{}", self.shown());
        self
    }

    /// Checks that there is nothing on standard errors.
    pub fn complains_of_nothing(self) -> Self {
        assert!(self.errors.is_empty(), "{}", self.shown());
        self
    }

    /// The console lines of all VMs: who printed, and what.
    pub fn lines(&self) -> Vec<(String, String)> {
        let output = without_colours(&self.output);
        let line = |line: &str| {
            let (name, text) = line.split_once(" | ")?;
            Some((name.trim_end().to_owned(), text.trim_end_matches('\r').to_owned()))
        };
        output.lines().filter_map(line).collect()
    }

    /// The console lines of one VM.
    pub fn lines_of(&self, vm: &str) -> Vec<String> {
        let lines = self.lines().into_iter().filter(|(name, _)| name == vm);
        lines.map(|(_, text)| text).collect()
    }

    /// The lines of a VM's register dump.
    pub fn lines_of_dump(&self, vm: &str) -> Vec<String> {
        let lead = format!("[{vm}]   ");
        self.output.lines().filter_map(|line| Some(line.strip_prefix(&lead)?.to_owned())).collect()
    }

    /// One VM's part of the receipt.
    pub fn vm(&self, name: &str) -> &Value {
        let vms = self.receipt["vms"].as_array().unwrap_or_else(|| panic!("{}", self.shown()));
        let found = vms.iter().find(|vm| vm["name"] == name);
        found.unwrap_or_else(|| panic!("no VM {name}: {}", self.shown()))
    }

    /// A number of the receipt, by a JSON pointer.
    pub fn number(&self, pointer: &str) -> u64 {
        let value = self.receipt.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number at {pointer}.\n{}", self.shown()))
    }

    /// Checks what holds for the receipt of every run: the core's time adds up to the wall clock's
    /// within 1 %, and no byte got lost.
    pub fn adds_up(self) -> Self {
        let (wall_ns, accounted_ns) = (self.number("/wall_ns"), self.number("/accounted_ns"));
        let error_ns = wall_ns.abs_diff(accounted_ns);
        assert!(wall_ns > 0 && error_ns <= wall_ns / 100, "{accounted_ns} ns of {wall_ns} ns");
        assert_eq!(self.number("/lost_bytes"), 0, "{}", self.shown());
        let printed = self.output.contains("receipt: ") || self.errors.contains("receipt: ");
        assert!(printed, "{}", self.shown());
        self
    }

    /// All of it, for the message of a test that fails.
    pub fn shown(&self) -> String {
        let (signal, Self { output, errors, status, .. }) = (self.status.signal(), self);
        let status = format!("{status}, signal {signal:?}");
        format!("{status}\n--- standard output:\n{output}\n--- standard errors:\n{errors}")
    }
}

/// A text less the sequences that colour a terminal.
pub fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or("").to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |it| it.1))
}

/// The processes of a group, zombies aside, as /proc lists them.
fn processes_of_group(group: u32) -> Vec<String> {
    let is_of_group = |process: &fs::DirEntry| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // "PID (NAME) STATE PARENT GROUP ..."; a name may hold anything.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        fields.get(2) == Some(&group.to_string().as_str()) && fields[0] != "Z"
    };
    let processes = fs::read_dir("/proc").expect("Linux has /proc").flatten();
    let left = processes.filter(is_of_group);
    left.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}
