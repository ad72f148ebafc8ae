//! The same random accesses to control registers, MSRs and ports, by strings too: the same
//! registers, flags, exceptions, memory and devices wherever they are carried out, by Linux's KVM
//! or by us.
//!
//! What is left out, and why, stands where the guest chooses: `state_stream`'s words let in what
//! only some of the processors beneath do as the manuals say.

use crate::targets::{Outcome, Target};
use crate::transcript;
use xtask::scratch::Scratch;

const STEPS: usize = 2000;
const STEPS_A_LINE: usize = 250;
const SEEDS: [u64; 2] = [1, 2];
/// What is tried where each target is ours.
const BARE: &str = "bare";
/// What is tried where the processor beneath makes all the checks: not QEMU's.
const EXACT: &str = "exact";

fn run(target: Target, seed: u64, word: &str) -> Vec<String> {
    let text = format!(
        "vms: [{{name: guest, kernel: state_stream, cmdline: \"{seed} {STEPS} {word}\"}}]\n"
    );
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.write("stream.yml", text.as_bytes()).expect("a file in it");
    let Outcome { console, exit, .. } = target.run_file(&config, &[]);
    assert_eq!(exit, 0, "seed {seed} on {}:\n{console}", target.name());
    let lines = transcript::of(&console, "guest");
    // A line for so many steps, and the ending.
    assert_eq!(lines.len(), STEPS / STEPS_A_LINE + 1, "{lines:?}");
    lines
}

#[test]
fn random_accesses_to_state_and_ports_leave_the_same_on_vmx_and_svm() {
    for seed in SEEDS {
        let reference = run(Target::VmxBochs, seed, BARE);
        for target in [Target::SvmQemu, Target::SvmBochs] {
            assert_eq!(run(target, seed, BARE), reference, "seed {seed} on {}", target.name());
        }
    }
}

#[test]
fn random_accesses_leave_the_same_where_processors_check_all_that_the_manuals_say() {
    for seed in SEEDS {
        assert_eq!(run(Target::VmxBochs, seed, EXACT), run(Target::SvmBochs, seed, EXACT));
    }
}

#[test]
fn random_accesses_to_state_and_ports_leave_what_they_leave_over_kvm_on_debian() {
    let [seed, ..] = SEEDS;
    assert_eq!(run(Target::SvmQemu, seed, ""), run(Target::KvmOnDebian, seed, ""));
}
