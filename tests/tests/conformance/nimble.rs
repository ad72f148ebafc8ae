//! The guest that uses a machine as the seed's kernel does, entered both ways, side by side. With
//! nothing beneath only: it needs pages of 1 GiB and SYSCALL, which not every KVM lets a guest
//! have.

use crate::compare;
use crate::targets::{Outcome, Target};
use crate::transcript;

const EXIT_ALL_WELL: i32 = 0;
/// Each VM, the first line that it prints, and a line of its own.
const VMS: [(&str, &str, &str); 3] = [
    ("left", "nimble: entered by multiboot", "nimble: sending PASSED"),
    ("right", "nimble: entered by multiboot", "nimble: the result: COM1 writes OK!!!!"),
    ("raw", "nimble: entered as a raw image", "nimble: x2APIC PASSED"),
];
const LAST_LINE: &str = "nimble: all passed";

/// Every step passes in each VM, and the lines are the same on every target.
pub fn check(config: &str) {
    let outcomes = Target::BARE.map(|target| target.run(config, &[]));
    for (target, outcome) in Target::BARE.into_iter().zip(&outcomes) {
        println!("{config}: {} by {}", outcome.exit_mix(), target.name());
        check_lines(target, outcome);
        compare(config, target, &outcomes[0], outcome);
    }
}

fn check_lines(target: Target, outcome: &Outcome) {
    let shown = || format!("{}:\n{}", target.name(), outcome.console);
    assert_eq!(outcome.exit, EXIT_ALL_WELL, "{}", shown());
    for (vm, first, own) in VMS {
        let lines = transcript::of(&outcome.console, vm);
        assert_eq!(lines.first().map(String::as_str), Some(first), "{}", shown());
        assert!(lines.iter().any(|line| line == own), "{vm}: {own}\n{}", shown());
        assert!(lines.iter().any(|line| line == LAST_LINE), "{vm}: {LAST_LINE}\n{}", shown());
        assert!(!lines.iter().any(|line| line.contains("FAILED")), "{vm}\n{}", shown());
    }
}
