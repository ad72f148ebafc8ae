//! The guest that starts its processors and checks what they do: the same lines on every target,
//! all of them right. (Plain QEMU is its witness: control.rs.)

use crate::targets::{Outcome, Target};
use crate::transcript;
use xtask::scratch::Scratch;
use xtask::two_processors::{self as images, CONFIG, FAULTS};

/// How many processors the VM has.
const COUNTS: [u8; 4] = [1, 2, 4, 8];
const ALL_PASSED: &str = "smp: all passed";
const OFF: &str = "[guest powered off, status 0]";

/// Left out over KVM, where a host that takes the core for long makes timers drop ticks.
const TIMED: &str = "smp: periodic timers PASSED";

#[test]
fn processors_and_their_local_apics_do_the_same_everywhere() {
    for count in COUNTS {
        let reference = lines(Target::VmxBochs, count, "");
        let is_missing = |line: &String| line.ends_with(" not offered");
        assert!(!reference.iter().any(is_missing), "{reference:#?}");
        assert_eq!(reference[0], format!("smp: processors in the MADT: {count}"));
        assert!(reference.ends_with(&[ALL_PASSED.into(), OFF.into()]), "{reference:#?}");
        for target in [Target::SvmQemu, Target::SvmBochs] {
            assert_eq!(lines(target, count, ""), reference, "{count} on {}", target.name());
        }
        let untimed: Vec<String> = reference.into_iter().filter(|line| line != TIMED).collect();
        for target in [Target::Kvm, Target::KvmOnDebian] {
            assert_eq!(lines(target, count, "untimed"), untimed, "{count} on {}", target.name());
        }
    }
}

/// Our own targets, and Linux's KVM as their witness.
const TARGETS: [Target; 4] =
    [Target::VmxBochs, Target::SvmQemu, Target::SvmBochs, Target::KvmOnDebian];

#[test]
fn a_fault_of_one_processor_shows_the_registers_of_all() {
    // Linux's kvm_amd resets a processor that shuts down, before we see it (shutdown_interception).
    for target in TARGETS.into_iter().filter(|target| *target != Target::KvmOnDebian) {
        for (bootstrap, other, at_fault, places) in FAULTS {
            let outcome = two_processors(target, bootstrap, other);
            assert_eq!(outcome.receipt["vms"][0]["ending"], "stopped: triple fault");
            images::check_dump(&outcome.console, at_fault, places);
        }
    }
}

#[test]
fn a_vm_ends_when_all_its_processors_have_halted_for_good() {
    for target in TARGETS {
        let outcome = two_processors(target, images::HALT, images::OTHER_HALTS);
        let ending = &outcome.receipt["vms"][0]["ending"];
        assert_eq!(ending, "halted for good", "{}:\n{}", target.name(), outcome.console);
    }
}

fn two_processors(target: Target, bootstrap: &[u8], other: &[u8]) -> Outcome {
    let scratch = Scratch::new().expect("a folder for temporary files");
    scratch.write("image.bin", &images::image(bootstrap, other)).expect("a file in it");
    let file = scratch.write("two.yml", CONFIG.as_bytes()).expect("a file in it");
    let outcome = target.run_file(&file, &[]);
    assert_eq!(outcome.exit, 1, "{}:\n{}", target.name(), outcome.console);
    outcome
}

fn lines(target: Target, count: u8, cmdline: &str) -> Vec<String> {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let vm = format!("name: guest, kernel: smp, vcpus: {count}, cmdline: \"{cmdline}\"");
    let config = format!("vms: [{{{vm}, memory: 8MiB}}]\n");
    let file = scratch.write("smp.yml", config.as_bytes()).expect("a file in it");
    transcript::of(&target.run_file(&file, &[]).console, "guest")
}
