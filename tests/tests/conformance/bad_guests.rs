//! Guests that go wrong, each beside a healthy one with nothing beneath: only their own VM ends,
//! and the other prints exactly what it prints beside a harmless one. (Over KVM, vmm-kvm's tests
//! run the same guests.)

use crate::targets::{Outcome, Target};
use crate::transcript;
use serde_json::Value;
use std::sync::OnceLock;
use xtask::emulate::Typed;
use xtask::scratch::Scratch;

/// Spins in ring 3, so that it always wants the core.
const HEALTHY: &str = "  - {name: healthy, kernel: spin, cmdline: \"100\", memory: 8MiB}\n";
const HARMLESS: &str = "spin";
/// Shown when the healthy VM is over, however it went.
const HEALTHY_OVER: &str = "[healthy ";
const SLICE_NS: u64 = 1_000_000;
/// What the lines about a stopped VM take, some 30 of them, with some 20 million instructions a
/// second.
const DUMP_NS: u64 = 30_000_000;
const EXIT_ALL_WELL: i32 = 0;
const EXIT_STOPPED: i32 = 1;
const EXIT_INTERRUPTED: i32 = 130;

const OFF: &str = "powered off, status 0";
/// By Ctrl-A x.
const INTERRUPTED: &str = "stopped: interrupted from the keyboard";

/// Runs `guest` and the healthy one, and ends the run when the healthy one is over if `is_endless`.
fn beside(guest: &str, target: Target, is_endless: bool) -> Outcome {
    let text =
        format!("slice: 1ms\nvms:\n  - {{name: bad, kernel: {guest}, memory: 8MiB}}\n{HEALTHY}");
    let end = [Typed { after: HEALTHY_OVER.into(), keys: b"\x01x".into() }];
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.write("bad.yml", text.as_bytes()).expect("a file in it");
    target.run_file(&config, if is_endless { &end } else { &[] })
}

/// What the healthy VM prints beside the harmless one; a run for each target, when first asked.
fn healthy_lines(target: Target) -> &'static [String] {
    static LINES: [OnceLock<Vec<String>>; Target::COUNT] = [const { OnceLock::new() }; _];
    LINES[target as usize].get_or_init(|| {
        let outcome = beside(HARMLESS, target, false);
        let shown = &outcome.console;
        assert_eq!(outcome.exit, EXIT_ALL_WELL, "{HARMLESS} on {}:\n{shown}", target.name());
        let lines = transcript::of(shown, "healthy");
        assert!(!lines.is_empty(), "{HARMLESS} on {}:\n{shown}", target.name());
        lines
    })
}

fn vm<'a>(outcome: &'a Outcome, name: &str) -> &'a Value {
    let vms = outcome.receipt["vms"].as_array().expect("a receipt has VMs");
    vms.iter().find(|vm| vm["name"] == name).expect("it ran")
}

/// The healthy VM's lines, its end, its share of the core: measured, if the bad one is endless.
fn check_healthy(outcome: &Outcome, target: Target, is_endless: bool, what: &str) {
    let shown = &outcome.console;
    assert_eq!(transcript::of(shown, "healthy"), healthy_lines(target), "{what}:\n{shown}");
    let healthy = vm(outcome, "healthy");
    assert_eq!(healthy["ending"], OFF, "{what}:\n{shown}");
    // While both wanted the core, each had half of it: within 1 %, or the one slice by which
    // the first to start is ahead, where that is more. No received share: the bad one was over too
    // soon.
    let contended_ns = outcome.receipt["contended_ns"].as_u64().expect("nanoseconds");
    let received_ppm = healthy["received_ppm"].as_u64();
    assert!(received_ppm.is_some() || !is_endless, "{what}: no share was measured:\n{shown}");
    if let Some(received_ppm) = received_ppm {
        let entitled_ppm = healthy["entitled_ppm"].as_u64().expect("parts of a million");
        let error_ppm = u128::from(received_ppm.abs_diff(entitled_ppm));
        let error_ns = error_ppm * u128::from(contended_ns) / 1_000_000;
        let allowed_ns = u128::from((contended_ns / 100).max(SLICE_NS));
        assert!(error_ns <= allowed_ns, "{what}: {error_ns} ns of {contended_ns} ns:\n{shown}");
    }
}

/// Runs it everywhere; it ends as expected, and says what is expected.
fn check(guest: &str, says: &str, ending: &str, exit: i32) {
    check_on(guest, says, &Target::BARE, ending, exit);
}

fn check_on(guest: &str, says: &str, targets: &[Target], ending: &str, exit: i32) {
    for target in targets.iter().copied() {
        let what = format!("beside {guest} on {}", target.name());
        let is_endless = ending == INTERRUPTED;
        let outcome = beside(guest, target, is_endless);
        check_healthy(&outcome, target, is_endless, &what);
        let shown = &outcome.console;
        let bad = vm(&outcome, "bad")["ending"].as_str().expect("text");
        let blackout_ns = vm(&outcome, "healthy")["longest_blackout_ns"].as_u64();
        let blackout_ns = blackout_ns.expect("nanoseconds");
        println!("{what}: {bad}; longest blackout {} us", blackout_ns / 1000);
        let is_stopped = ending.starts_with("stopped: ") || ending == "panicked";
        // A halt that the config takes for success is not explained.
        let is_failed_halt = ending == "halted for good" && exit == EXIT_STOPPED;
        let is_dumped = (is_stopped || is_failed_halt) && !is_endless;
        let allowed_ns = 2 * SLICE_NS + if is_dumped { DUMP_NS } else { 0 };
        assert!(blackout_ns <= allowed_ns, "{what}: {blackout_ns} ns of blackout:\n{shown}");
        assert!(bad.starts_with(ending), "{what}: {bad}\n{shown}");
        assert_eq!(outcome.exit, exit, "{what}:\n{shown}");
        assert!(shown.contains(says), "{what}:\n{shown}");
    }
}

#[test]
fn a_triple_fault_ends_only_its_own_vm() {
    // Where it was and what could not be delivered are the same for all.
    let chain = "[bad]   then #GP while delivering it: the IDT has no gate 6 (limit 0), then a \
        triple fault\n";
    check("triple_fault", chain, "stopped: triple fault", EXIT_STOPPED);
}

#[test]
fn halting_for_ever_ends_only_its_own_vm() {
    check("halt_cli", "halting", "halted for good", EXIT_STOPPED);
}

#[test]
fn a_reset_has_no_status_and_ends_only_its_own_vm() {
    let guest = |way: &str| format!("endings, cmdline: {way}");
    for way in ["keyboard", "port92", "cf9_processor"] {
        check(&guest(way), "endings: going", "asked for a reset", EXIT_STOPPED);
    }
    check(&guest("cf9, on_reset: success"), "endings: going", "asked for a reset", EXIT_ALL_WELL);
    check(&guest("halt, on_halt: success"), "endings: going", "halted for good", EXIT_ALL_WELL);
    check(&guest("sleep_byte"), "endings: going", OFF, EXIT_ALL_WELL);
}

/// A kernel whose panic loads another one goes on, and this one ends with status 1.
#[test]
fn a_panic_ends_only_its_own_vm() {
    check("endings, cmdline: panicked", "[bad]   rip ", "panicked", EXIT_STOPPED);
    let crash_loaded = "endings, cmdline: crash_loaded";
    check(crash_loaded, "endings: went on", "powered off, status 1", EXIT_STOPPED);
}

/// Bochs's VMRUN masks the host's interrupts by the guest's IF, against the APM (vol. 2, 15.21.1):
/// there a non-maskable one preempts it.
#[test]
fn spinning_with_interrupts_off_holds_up_nobody() {
    check("spin_cli", "spin_cli: spinning", INTERRUPTED, EXIT_INTERRUPTED);
}

#[test]
fn a_time_limit_shows_where_a_guest_hangs_and_the_receipt() {
    let config = Scratch::new().expect("a folder for temporary files");
    let text = b"vms: [{name: stuck, kernel: spin_cli, memory: 8MiB}]";
    let config = config.write("stuck.yml", text).expect("a file in it");
    let time_is_up = [Typed { after: "spin_cli: spinning".into(), keys: b"\x01t".into() }];
    for target in Target::BARE {
        let outcome = target.run_file(&config, &time_is_up);
        let shown = &outcome.console;
        assert_eq!(outcome.exit, EXIT_STOPPED, "{}:\n{shown}", target.name());
        for says in
            ["[stuck stopped: the time limit was reached]", "[stuck]   rip 0", "core 0; receipt:"]
        {
            assert!(shown.contains(says), "{}: {says}:\n{shown}", target.name());
        }
        let ending = "stopped: the time limit was reached";
        assert_eq!(vm(&outcome, "stuck")["ending"], ending, "{}", target.name());
    }
}

#[test]
fn a_storm_of_exits_holds_up_nobody() {
    check("storm_forever", "storm_forever: starting", INTERRUPTED, EXIT_INTERRUPTED);
}

/// Not Bochs's AMD model, in which nothing preempts a guest that handles a non-maskable interrupt
/// with interrupts off ("Not yet" in ARCHITECTURE.md).
const STORMED: [Target; 2] = [Target::VmxBochs, Target::SvmQemu];

#[test]
fn a_storm_of_interprocessor_interrupts_holds_up_nobody() {
    check("smp_storm", "smp_storm: storming", INTERRUPTED, EXIT_INTERRUPTED);
    let guest = "smp_storm, vcpus: 4";
    // It storms from then on; that processors get through it takes longer than its neighbour runs.
    check_on(guest, "smp_storm: processors: 4", &STORMED, INTERRUPTED, EXIT_INTERRUPTED);
}

/// INIT of the bootstrap processor sends it to the reset vector (SDM vol. 3, 9.4.1).
#[test]
fn an_init_of_the_bootstrap_processor_resets_only_its_own_vm() {
    let guest = "smp_storm, vcpus: 4, cmdline: bootstrap";
    check_on(guest, "smp_storm: storming", &STORMED, "asked for a reset", EXIT_STOPPED);
}

#[test]
fn every_port_can_be_tried_without_harm() {
    check("bad_ports", "all ports done", OFF, EXIT_ALL_WELL);
}

#[test]
fn model_specific_registers_can_be_tried_without_harm() {
    check("bad_msrs", "bad_msrs: ", OFF, EXIT_ALL_WELL);
}

/// Refused registers and a timer's interrupts come due at one instruction again and again, most of
/// all when the other VM has just had the core. On Debian, too: Linux's KVM delivers the exception
/// first, and has no place to keep an interrupt that was queued before it.
#[test]
fn no_interrupt_is_lost_to_an_exception() {
    const SAYS: &str = "faults: 500 ticks amid #GPs: all came";
    check("faults", SAYS, OFF, EXIT_ALL_WELL);
    let outcome = beside("faults", Target::KvmOnDebian, false);
    assert_eq!(outcome.exit, EXIT_ALL_WELL, "{}", outcome.console);
    assert!(outcome.console.contains(SAYS), "{}", outcome.console);
}

#[test]
fn memory_that_is_not_there_reads_as_all_ones() {
    check("bad_memory", "addresses read as all ones", OFF, EXIT_ALL_WELL);
}

#[test]
fn a_guest_cannot_be_a_hypervisor_itself() {
    check("bad_instructions", "bad_instructions: only CR4 left", OFF, EXIT_ALL_WELL);
}
