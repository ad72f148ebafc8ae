//! Guests that go wrong, each beside a healthy one: only their own VM ends, and the other prints
//! exactly what it prints when it is alone.

use crate::harness::{Finished, Signal, Tandem};
use std::sync::OnceLock;

const HEALTHY: &str = "  - {name: healthy, cmdline: usertests; poweroff}\n";
const HEALTHY_ENDED: &str = "[healthy powered off, status 0]";

/// Shown when the healthy VM is over, however it went.
const HEALTHY_OVER: &str = "[healthy ";

/// What the healthy VM prints while it has the core alone.
fn healthy_lines() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        let run = Tandem::run_text(&format!("vms:\n{HEALTHY}")).finish().ended_with(0);
        assert!(run.output.contains("usertests: all passed"), "{}", run.shown());
        run.lines_of("healthy")
    })
}

fn beside(guest: &str) -> Tandem {
    Tandem::run_text(&format!("vms:\n  - {{name: bad, kernel: {guest}, memory: 8MiB}}\n{HEALTHY}"))
}

fn check_healthy(run: &Finished) {
    assert_eq!(run.lines_of("healthy"), healthy_lines(), "{}", run.shown());
    assert_eq!(run.vm("healthy")["is_success"], true, "{}", run.shown());
    assert!(run.output.contains(HEALTHY_ENDED), "{}", run.shown());
}

/// The guest is stopped, and its registers are shown.
fn check_stopped(guest: &str, ending: &str) {
    let run = beside(guest).finish().ended_with(1).complains_of_nothing().adds_up();
    check_healthy(&run);
    assert_eq!(run.vm("bad")["ending"], format!("stopped: {ending}"), "{}", run.shown());
    let run = run.shows(&format!("[bad stopped: {ending}]"));
    run.shows("[bad]   rip ").shows("[bad]   cr0 ").shows("[bad]   code ");
}

/// The guest never ends, but the other does; then the run gets a signal to end.
fn check_endless(guest: &str, says: &str) {
    let running = beside(guest).start();
    running.shows(HEALTHY_OVER).shows(says).receives(Signal::TERM);
    let run = running.finish().ended_with(143).complains_of_nothing().adds_up();
    check_healthy(&run);
    assert_eq!(run.vm("bad")["ending"], "stopped: the run was ended by a signal");
}

/// The guest tries what it is not granted, finds nothing there and ends as it wants.
fn check_harmless(guest: &str, says: &str) {
    let run = beside(guest).finish().ended_with(0).complains_of_nothing().adds_up();
    check_healthy(&run);
    let lines = run.lines_of("bad");
    assert!(lines.iter().any(|line| line.contains(says)), "{}", run.shown());
    assert_eq!(run.vm("bad")["ending"], "powered off, status 0");
}

#[test]
fn a_triple_fault_ends_only_its_own_vm() {
    check_stopped("triple_fault", "triple fault");
}

#[test]
fn halting_for_ever_ends_only_its_own_vm() {
    let run = beside("halt_cli").finish().ended_with(1).complains_of_nothing().adds_up();
    check_healthy(&run);
    assert_eq!(run.vm("bad")["ending"], "halted for good", "{}", run.shown());
    let run = run.shows("[bad halted for good]");
    let why = run.lines_of_dump("bad").join("\n");
    assert!(why.contains("nothing can wake it: interrupts are off"), "{}", run.shown());
    assert!(!why.contains("rip "), "no registers: {}", run.shown());
}

#[test]
fn spinning_with_interrupts_off_holds_up_nobody() {
    check_endless("spin_cli", "bad     | spin_cli: spinning");
}

#[test]
fn a_storm_of_exits_holds_up_nobody() {
    check_endless("storm_forever", "bad     | storm_forever: starting");
}

#[test]
fn a_storm_of_interprocessor_interrupts_holds_up_nobody() {
    check_endless("smp_storm, vcpus: 4", "bad     | smp_storm: storming");
}

/// INIT of the bootstrap processor sends it to the reset vector (SDM vol. 3, 9.4.1).
#[test]
fn an_init_of_the_bootstrap_processor_resets_only_its_own_vm() {
    let run = beside("smp_storm, vcpus: 4, cmdline: bootstrap");
    let run = run.finish().ended_with(1).complains_of_nothing().adds_up();
    check_healthy(&run);
    assert_eq!(run.vm("bad")["ending"], "asked for a reset", "{}", run.shown());
}

#[test]
fn every_port_can_be_tried_without_harm() {
    check_harmless("bad_ports", "all ports done");
}

#[test]
fn model_specific_registers_can_be_tried_without_harm() {
    check_harmless("bad_msrs", "bad_msrs: ");
}

#[test]
fn interrupts_amid_exceptions_are_not_lost() {
    check_harmless("faults", "faults: 500 ticks amid #GPs: all came");
}

#[test]
fn memory_that_is_not_there_reads_as_all_ones() {
    check_harmless("bad_memory", "addresses read as all ones");
}

/// A KVM that interprets ring 0, as some are where there is no hardware for it, may not know an
/// instruction and give up its VM; all others have the guest try every one.
#[test]
fn a_guest_cannot_be_a_hypervisor_itself() {
    const UNKNOWN: &str = "stopped: the processor could not carry out the instruction (code 1)";
    const ENDINGS: [(&str, i32); 2] = [("powered off, status 0", 0), (UNKNOWN, 1)];
    let run = beside("bad_instructions").finish().complains_of_nothing().adds_up();
    check_healthy(&run);
    let ending = run.vm("bad")["ending"].as_str().expect("text");
    let code = run.code().expect("it was not killed");
    assert!(ENDINGS.contains(&(ending, code)), "{ending}, {code}: {}", run.shown());
}

#[test]
fn every_bad_guest_is_stopped_or_ends_and_its_neighbour_is_unharmed() {
    const SIGNALLED: &str = "stopped: the run was ended by a signal";
    const ENDINGS: [(&str, u8, &str); 8] = [
        ("triple_fault", 1, "stopped: triple fault"),
        ("halt_cli", 1, "halted for good"),
        ("spin_cli", 1, SIGNALLED),
        ("storm_forever", 1, SIGNALLED),
        ("smp_storm", 4, SIGNALLED),
        ("bad_ports", 1, "powered off, status 0"),
        ("bad_msrs", 1, "powered off, status 0"),
        ("bad_memory", 1, "powered off, status 0"),
    ];
    let vm = |(name, vcpus, _)| {
        format!("  - {{name: {name}, kernel: {name}, memory: 8MiB, vcpus: {vcpus}}}\n")
    };
    let bad: String = ENDINGS.into_iter().map(vm).collect();
    let running = Tandem::run_text(&format!("vms:\n{bad}{HEALTHY}")).start();
    running.shows(HEALTHY_OVER);
    for (guest, ..) in ENDINGS.iter().filter(|(.., ending)| *ending != SIGNALLED) {
        running.shows(&format!("[{guest} "));
    }
    running.receives(Signal::TERM);
    let run = running.finish().ended_with(143).complains_of_nothing().adds_up();
    check_healthy(&run);
    for (guest, _, ending) in ENDINGS {
        assert_eq!(run.vm(guest)["ending"], ending, "{}", run.shown());
    }
}
