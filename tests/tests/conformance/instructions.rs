//! The same random instructions on devices' registers: the same registers, flags and device
//! contents wherever they are carried out, by Linux's KVM on two hosts or by us.

use crate::targets::{Outcome, Target};
use crate::transcript;
use xtask::scratch::Scratch;

const STEPS: u64 = 2000;
const SEEDS: [u64; 3] = [1, 2, 3];

fn run(target: Target, seed: u64) -> Vec<String> {
    let text = format!(
        "vms:\n  - {{name: guest, kernel: device_stream, cmdline: \"{seed} {STEPS}\", memory: \
        8MiB}}\n"
    );
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.write("stream.yml", text.as_bytes()).expect("a file in it");
    let Outcome { console, exit, .. } = target.run_file(&config, &[]);
    assert_eq!(exit, 0, "seed {seed} on {}:\n{console}", target.name());
    transcript::of(&console, "guest")
}

#[test]
fn random_instructions_on_devices_leave_the_same_everywhere() {
    for seed in SEEDS {
        let reference = run(Target::Kvm, seed);
        // A line for 250 steps, and the ending.
        assert_eq!(reference.len(), STEPS as usize / 250 + 1, "{reference:?}");
        for target in Target::BARE {
            assert_eq!(run(target, seed), reference, "seed {seed} on {}", target.name());
        }
    }
}

/// A KVM that interprets ring 0 is no witness of its own interpreter.
#[test]
fn random_instructions_on_devices_leave_what_they_leave_over_kvm_on_debian() {
    let [seed, ..] = SEEDS;
    assert_eq!(run(Target::SvmQemu, seed), run(Target::KvmOnDebian, seed));
}
