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
    let run = run.shows("[stuck stopped: the time limit was reached]");
    // The dump shows RIP, and that interrupts are off.
    assert!(run.lines_of_dump("stuck").iter().any(|line| line.contains("rip ")), "{}", run.shown());
}

/// At the time limit a VM that hangs is told from one that sleeps. A Ctrl-C costs a line.
#[test]
fn the_time_limit_shows_the_registers_of_vms_that_run() {
    const JUMPS_TO_ITSELF: [u8; 2] = [0xeb, 0xfe];
    const STI_HLT_AGAIN: [u8; 4] = [0xfb, 0xf4, 0xeb, 0xfc];
    let text = "vms: [{name: stuck, kernel: ./stuck.bin, boot: raw}, \
                {name: idle, kernel: ./idle.bin, boot: raw}]";
    let start = || {
        let run = Tandem::run_text(text);
        run.scratch().file("stuck.bin", JUMPS_TO_ITSELF);
        run.scratch().file("idle.bin", STI_HLT_AGAIN);
        run
    };
    let run = start().arg("--timeout").arg("1.5").finish().ended_with(1).adds_up();
    let dump = run.lines_of_dump("stuck").join("\n");
    assert!(dump.contains("rip 0000000000200000"), "{}", run.shown());
    assert!(dump.contains("eb fe"), "{}", run.shown());
    const ASLEEP: &str = "nothing can wake it: no timer armed, COM1 enables no interrupt (IER 0)";
    let run = run.shows(&format!("[idle sleeps: {ASLEEP}]"));
    let idle = run.lines_of_dump("idle");
    assert_eq!(idle[0], format!("halted at 0x200001; {ASLEEP}"), "{}", run.shown());
    let interrupted = ended_by(Signal::INT);
    let [line] = &interrupted.lines_of_dump("busy")[..] else { panic!("{}", interrupted.shown()) };
    assert!(line.starts_with("ran at 0x"), "{}", interrupted.shown());
}

#[test]
fn a_status_that_a_guest_reports_fails_the_run() {
    let text = "vms: [{name: good, cmdline: poweroff}, {name: bad, cmdline: poweroff 3}]";
    let run = Tandem::run_text(text).finish().ended_with(1).complains_of_nothing().adds_up();
    assert_eq!(run.vm("good")["is_success"], true);
    assert_eq!(run.vm("bad")["ending"], "powered off, status 3");
}

/// A VM that ends by itself in this way: the message, and the exit code.
fn check_ending(way: &str, keys: &str, ending: &str, code: i32) {
    let vm = format!("vms: [{{name: vm, kernel: endings, cmdline: {way}, memory: 8MiB{keys}}}]");
    let run = Tandem::run_text(&vm).finish().ended_with(code).complains_of_nothing().adds_up();
    assert_eq!(run.vm("vm")["ending"], ending, "{way}: {}", run.shown());
    assert_eq!(run.vm("vm")["is_success"], code == 0, "{way}: {}", run.shown());
    let run = run.shows(&format!("[vm {ending}]"));
    assert!(!run.output.contains("went on"), "{}", run.shown());
    let is_explained = ending == "halted for good" && code != 0;
    assert_eq!(!run.lines_of_dump("vm").is_empty(), is_explained, "{}", run.shown());
}

#[test]
fn a_reset_and_a_halt_have_no_status_and_count_as_the_config_says() {
    const RESET: &str = "asked for a reset";
    const HALT: &str = "halted for good";
    for way in ["keyboard", "port92", "cf9", "cf9_processor"] {
        check_ending(way, "", RESET, 1);
        check_ending(way, ", on_reset: success", RESET, 0);
    }
    check_ending("cf9", ", on_reset: failure, on_halt: success", RESET, 1);
    check_ending("halt", "", HALT, 1);
    check_ending("halt", ", on_halt: success", HALT, 0);
    check_ending("sleep_byte", "", "powered off, status 0", 0);
}

#[test]
fn a_panic_that_the_guest_tells_of_ends_it_with_its_registers() {
    let text =
        "vms: [{name: vm, kernel: endings, cmdline: panicked, memory: 8MiB, on_reset: success}]";
    let run = Tandem::run_text(text).finish().ended_with(1).complains_of_nothing().adds_up();
    assert_eq!(run.vm("vm")["ending"], "panicked", "{}", run.shown());
    let dump = run.lines_of_dump("vm").join("\n");
    assert!(dump.contains("rip "), "{}", run.shown());
    assert!(!run.output.contains("went on"), "{}", run.shown());
}

/// A flat image that sends 2000 bytes on COM2, each once there is room, and powers off.
const SENDS: [u8; 34] = [
    0xb9, 0xd0, 0x07, 0x00, 0x00, //       mov ecx, 2000
    0x66, 0xba, 0xfd, 0x02, //          1: mov dx, 0x2fd: line status
    0xec, 0xa8, 0x20, 0x74, 0xfb, //    2: in al, dx; test al, 0x20; jz 2b
    0x66, 0xba, 0xf8, 0x02, //             mov dx, 0x2f8: data
    0xb0, 0x78, 0xee, 0xe2, 0xee, //       mov al, 'x'; out dx, al; loop 1b
    0x66, 0xba, 0x04, 0x06, //             mov dx, 0x604: power
    0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4, // mov ax, 0x2000: off; out dx, ax; hlt
];

/// A sender goes on when its peer has ended, and what it sends then is lost: both VMs end well,
/// but the link was to lose nothing.
#[test]
fn bytes_for_a_peer_that_has_ended_fail_the_run_unless_the_link_may_lose_them() {
    for (loses, code) in [(false, 1), (true, 0)] {
        let run = Tandem::run_text(&format!(
            "vms:
  - {{name: early, kernel: ./early.bin, boot: raw, com2: {{link: wire}}}}
  - {{name: late, kernel: ./late.bin, boot: raw, com2: {{link: wire}}}}
links: [{{name: wire, lossy: {loses}}}]
"
        ));
        run.scratch().file("early.bin", &SENDS[23..]);
        run.scratch().file("late.bin", SENDS);
        let run = run.finish().ended_with(code);
        for vm in ["early", "late"] {
            assert_eq!(run.vm(vm)["is_success"], true, "{}", run.shown());
        }
        let (lost, undelivered) = (run.number("/lost_bytes"), run.number("/undelivered_bytes"));
        // The receiver's FIFO takes the first bytes, if it is not too early for them.
        assert!((1983..=2000).contains(&lost), "{}", run.shown());
        assert_eq!(undelivered, if loses { 0 } else { lost }, "{}", run.shown());
        if !loses {
            run.shows(&format!("  {lost} of them on lossless links: their receivers had ended"));
        }
    }
}

/// The memory of a VM and its threads are the kernel's to take back, which only the end of a
/// process that was killed shows: `Finished` looks for what is left of every run.
#[test]
fn a_run_that_is_killed_leaves_nothing_behind() {
    let run = ended_by(Signal::KILL);
    assert_eq!(run.code(), None);
}
