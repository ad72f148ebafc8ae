//! Runs that end before their VMs do: by a signal or by the time limit.

use crate::harness::{Finished, Signal, Tandem};

/// Two VMs that would run for ever.
const FOREVER: &str = "
vms:
  - {name: busy, kernel: spin, cmdline: forever, memory: 8MiB}
  - {name: idle, cmdline: ''}
";

/// A run of [`FOREVER`] that gets a signal once both run.
fn ended_by(signal: Signal) -> Finished {
    let running = Tandem::run_text(FOREVER).with_keyboard().start();
    running.shows("busy | spin: for ever").shows("idle | Tandem guest OS").receives(signal);
    running.finish()
}

fn check_stopped(run: Finished, code: i32, why: &str) {
    let run = run.ended_with(code).complains_of_nothing().shows("receipt: ").adds_up();
    for vm in ["busy", "idle"] {
        assert_eq!(run.vm(vm)["ending"], format!("stopped: {why}"));
        assert_eq!(run.vm(vm)["is_success"], false);
        assert!(run.output.contains(&format!("[{vm} stopped: {why}]")), "{}", run.shown());
    }
}

#[test]
fn sigterm_stops_the_vms_and_prints_the_receipt() {
    check_stopped(ended_by(Signal::TERM), 143, "the run was ended by a signal");
}

#[test]
fn sigint_stops_the_vms_and_prints_the_receipt() {
    check_stopped(ended_by(Signal::INT), 130, "interrupted from the keyboard");
}

#[test]
fn sighup_stops_the_vms_and_prints_the_receipt() {
    check_stopped(ended_by(Signal::HUP), 129, "the run was ended by a signal");
}

#[test]
fn a_signal_while_all_vms_halt_ends_the_run() {
    let running = Tandem::run_text("vms: [{name: idle, cmdline: sleep_simple 100000000}]").start();
    running.shows("$ sleep_simple 100000000").receives(Signal::TERM);
    let run = running.finish().ended_with(143).adds_up();
    assert_eq!(run.vm("idle")["ending"], "stopped: the run was ended by a signal");
}

#[test]
fn the_time_limit_ends_guests_that_do_not() {
    let run = Tandem::run_text(FOREVER).arg("--timeout").arg("500ms").finish();
    check_stopped(run, 1, "the time limit was reached");
}

#[test]
fn the_time_limit_ends_a_guest_that_spins_with_interrupts_off() {
    let run = Tandem::run_text("vms: [{name: stuck, kernel: spin_cli, memory: 8MiB}]");
    let run = run.arg("--timeout").arg("500ms").finish().ended_with(1).adds_up();
    run.shows("[stuck stopped: the time limit was reached]");
}

#[test]
fn a_status_that_a_guest_reports_fails_the_run() {
    let text = "vms: [{name: good, cmdline: poweroff}, {name: bad, cmdline: poweroff 3}]";
    let run = Tandem::run_text(text).finish().ended_with(1).complains_of_nothing().adds_up();
    assert_eq!(run.vm("good")["is_success"], true);
    assert_eq!(run.vm("bad")["ending"], "powered off, status 3");
}

/// The memory of a VM and its threads are the kernel's to take back, which only the end of a process
/// that was killed shows: `Finished` looks for what is left of every run.
#[test]
fn a_run_that_is_killed_leaves_nothing_behind() {
    let run = ended_by(Signal::KILL);
    assert_eq!(run.code(), None);
}
