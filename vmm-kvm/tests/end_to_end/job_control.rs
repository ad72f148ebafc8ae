//! Signals that end or stop a run, and the shell's background: the receipt is printed, the terminal
//! is as it was, and a stop is the host's time.

use crate::harness::{PseudoTerminal, Running, Signal, Tandem, config};
use rustix::process::{Pid, kill_process};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Numbers of signals (signal(7)) that end a process by default.
const ENDING: [i32; 16] = [1, 2, 3, 10, 12, 14, 15, 16, 24, 25, 26, 27, 29, 30, 40, 64];

/// Two shells on a terminal whose shell runs them by this script.
fn shells_run_by(script: &str) -> (PseudoTerminal, Running) {
    let terminal = PseudoTerminal::new();
    let run = Tandem::run(config("shell.yml")).started_by_shell(script);
    let running = run.start_on(&terminal);
    running.shows_on(&terminal);
    (terminal, running)
}

/// The one child of this process.
fn child_of(process: u32) -> Pid {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path).expect("it runs");
    let child = children.trim().parse().expect("it has one child");
    Pid::from_raw(child).expect("it is no group")
}

#[test]
fn signals_that_end_a_process_end_the_run_with_its_receipt_and_the_terminal_as_it_was() {
    for number in ENDING {
        let terminal = PseudoTerminal::new();
        let before = terminal.settings();
        let running = Tandem::run(config("shell.yml")).start_on(&terminal);
        running.shows_on(&terminal);
        running.shows("left  | $ ");
        assert_ne!(terminal.settings(), before, "keys must come raw");
        let kill = ["-c", "kill -$0 $1", &number.to_string(), &running.pid().to_string()];
        let sent = Command::new("sh").args(kill).status();
        assert!(sent.expect("there is a shell").success());
        let run = running.finish().ended_with(128 + number).adds_up();
        assert_eq!(terminal.settings(), before, "signal {number}: {}", run.shown());
    }
}

#[test]
fn a_signal_that_the_parent_ignores_stays_ignored() {
    let run = Tandem::run_text("vms: [{name: idle, cmdline: ''}]").with_keyboard();
    let running = run.started_by_shell("trap '' HUP USR1; exec \"$@\"").start();
    running.shows("idle | Tandem guest OS").receives(Signal::HUP).receives(Signal::USR1);
    running.types("echo still here\n").shows("still here").receives(Signal::TERM);
    running.finish().ended_with(143).adds_up();
}

#[test]
fn a_stop_gives_the_terminal_back_and_its_time_is_the_hosts() {
    const STOP: Duration = Duration::from_millis(300);
    let script = "set -m; \"$@\"; echo STOPPED; read -r _; fg; exit $?";
    let (terminal, running) = shells_run_by(script);
    let before = terminal.settings();
    running.shows("left  | $ ");
    assert_ne!(terminal.settings(), before, "keys must come raw");
    kill_process(child_of(running.pid()), Signal::TSTP).expect("it runs");
    running.shows("STOPPED");
    assert_eq!(terminal.settings(), before);
    let begin = Instant::now();
    thread::sleep(STOP);
    let stopped = begin.elapsed();
    terminal.types("\r");
    terminal.types("echo went on\r");
    running.shows("left  | went on\r\n");
    assert_ne!(terminal.settings(), before, "keys must come raw again");
    terminal.types("\x03");
    let run = running.finish().ended_with(130).adds_up();
    assert_eq!(terminal.settings(), before, "{}", run.shown());
    let taken = Duration::from_nanos(run.number("/taken_ns"));
    assert!(taken >= stopped, "{taken:?} of {stopped:?}: {}", run.shown());
}

#[test]
fn in_the_background_keys_and_the_terminals_settings_are_the_shells() {
    let script = "set -m; \"$@\" & read -r line; echo \"shell: $line\"; fg; exit $?";
    let (terminal, running) = shells_run_by(script);
    let before = terminal.settings();
    running.shows("left  | Tandem guest OS").shows("right | Tandem guest OS");
    assert_eq!(terminal.settings(), before);
    terminal.types("for the shell\r");
    running.shows("shell: for the shell");
    terminal.types("echo for the guest\r");
    running.shows("left  | for the guest\r\n");
    assert_ne!(terminal.settings(), before, "keys must come raw");
    terminal.types("\x01x");
    running.finish().ended_with(130).adds_up();
    assert_eq!(terminal.settings(), before);
}
