//! Hardware task switches: by software on VMX, by the processor on SVM, by Linux's KVM there.

use crate::targets::{Outcome, Target};
use crate::transcript;
use xtask::scratch::Scratch;

const EXPECTED: [&str; 10] = [
    "tasks: called",
    "tasks: called",
    "tasks: called and returned",
    "tasks: through the gate",
    "tasks: back from the gate",
    "tasks: through the fault's gate",
    "tasks: back from the fault",
    "tasks: jumped",
    "tasks: jumped back",
    "[guest powered off, status 0]",
];

#[test]
fn tasks_are_switched_by_call_return_jump_and_gate_everywhere() {
    for target in [&Target::BARE[..], &[Target::KvmOnDebian]].concat() {
        let scratch = Scratch::new().expect("a folder for temporary files");
        let text = b"vms:\n  - {name: guest, kernel: tasks, memory: 8MiB}\n";
        let config = scratch.write("tasks.yml", text).expect("a file in it");
        let Outcome { console, exit, .. } = target.run_file(&config, &[]);
        assert_eq!(transcript::of(&console, "guest"), EXPECTED, "{}:\n{console}", target.name());
        assert_eq!(exit, 0, "{}", target.name());
    }
}
