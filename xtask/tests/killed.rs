//! A runner that is killed leaves neither its emulator nor its folder behind.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use xtask::scratch::Scratch;

/// Far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);

/// Polls until `holds`.
fn await_that(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(POLL);
    }
}

/// The names of processes that work in a folder beneath `folder`.
fn processes_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("Linux has it").filter_map(Result::ok);
    let here = entries.filter(|entry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    });
    let name = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm"));
    here.filter_map(|entry| name(entry).ok()).collect()
}

fn start(folder: &Path, emulator: &str) -> Child {
    let config = folder.join("endless.yml");
    fs::write(&config, "vms:\n  - {name: endless, kernel: hlt_loop}\n").expect("a file in it");
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).expect("a folder in it");
    let mut run = Command::new(env!("CARGO_BIN_EXE_xtask"));
    run.arg("run").arg(config).args(["--on", emulator]).env("TMPDIR", temporary);
    run.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("xtask starts")
}

fn check(emulator: &str, program: &str, signal: Signal) {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let folder: PathBuf = scratch.path().canonicalize().expect("it is there");
    let mut run = start(&folder, emulator);
    let is_up = || processes_in(&folder).iter().any(|name| name.starts_with(program));
    await_that("the emulator starts", is_up);
    kill_process(Pid::from_child(&run), signal).expect("it runs");
    assert!(!run.wait().expect("it was started").success());
    await_that("the emulator ends", || processes_in(&folder).is_empty());
    let is_empty =
        || fs::read_dir(folder.join("tmp")).is_ok_and(|mut entries| entries.next().is_none());
    await_that("its folder goes", is_empty);
}

#[test]
fn qemu_ends_with_a_runner_that_is_killed() {
    check("qemu", "qemu", Signal::KILL);
}

#[test]
fn bochs_ends_with_a_runner_that_a_time_limit_ends() {
    check("bochs", "bochs", Signal::TERM);
}
