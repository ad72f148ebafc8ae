//! How a VM with several processors ends: all of it, and its dump shows all of them.

use crate::harness::{Finished, Tandem};

/// What a flat image at 0x200000 begins with: starts the other processor on a copy of the code that
/// follows at [`OTHER`], and waits until that has begun.
const START: [u8; 0x38] = [
    0xbe, 0x50, 0x00, 0x20, 0x00, //                      mov esi, 0x200050
    0xbf, 0x00, 0x70, 0x00, 0x00, //                      mov edi, 0x7000
    0xb9, 0x40, 0x00, 0x00, 0x00, 0xf3, 0xa4, //          mov ecx, 64; rep movsb
    0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0, 0, //       APIC on: SVR
    0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x0c, 0x00, // ICR: INIT to others
    0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x07, 0x46, 0x0c, 0x00, // ICR: start-up at 0x7000
    0x80, 0x3d, 0x30, 0x70, 0x00, 0x00, 0x00, //       1: cmp byte ptr [0x7030], 0
    0x74, 0xf7, //                                        je 1b
];
const OTHER: usize = 0x50;

const SPIN: &[u8] = &[0xeb, 0xfe];
const CLI_HLT_AGAIN: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfc];
/// lidt [0x7038], which is empty; ud2
const TRIPLE_FAULT: &[u8] = &[0x0f, 0x01, 0x1d, 0x38, 0x70, 0x00, 0x00, 0x0f, 0x0b];

/// In real mode, at 0x700:0: cli; inc byte ptr cs:[0x30]; 1: jmp 1b
const OTHER_SPINS: &[u8] = &[0xfa, 0x2e, 0xfe, 0x06, 0x30, 0x00, 0xeb, 0xfe];
/// cli; inc byte ptr cs:[0x30]; 1: hlt; jmp 1b
const OTHER_HALTS: &[u8] = &[0xfa, 0x2e, 0xfe, 0x06, 0x30, 0x00, 0xf4, 0xeb, 0xfd];
/// lidt cs:[0x38]; ud2: the bootstrap processor goes on waiting.
const OTHER_FAULTS: &[u8] = &[0x2e, 0x0f, 0x01, 0x1e, 0x38, 0x00, 0x0f, 0x0b];
/// Where it waits.
const WAITS: [u64; 2] = [0x20_002f, 0x20_0036];

/// A VM whose bootstrap processor does `bootstrap` once the other one does `other`.
fn vm(bootstrap: &[u8], other: &[u8]) -> Tandem {
    let vm = "name: vm, kernel: ./image.bin, boot: raw, vcpus: 2, memory: 8MiB";
    let run = Tandem::run_text(&format!("vms: [{{{vm}}}]"));
    let mut image = START.to_vec();
    image.extend(bootstrap);
    image.resize(OTHER, 0);
    image.extend(other);
    image.resize(OTHER + 0x40, 0);
    run.scratch().file("image.bin", image);
    run
}

fn run(bootstrap: &[u8], other: &[u8]) -> Finished {
    vm(bootstrap, other).finish().ended_with(1).complains_of_nothing().adds_up()
}

/// Where each processor was: the VM's dump has its lines under its own number. (A KVM that
/// interprets real mode may give up its VM where a processor triple-faults.)
fn check_dump(run: &Finished, first: &str, [bootstrap, other]: [&[u64]; 2]) {
    const GIVEN_UP: &str = "stopped: the processor could not carry out the instruction (code 1)";
    let ending = run.vm("vm")["ending"].as_str().expect("text");
    assert!(["stopped: triple fault", GIVEN_UP].contains(&ending), "{}", run.shown());
    for (name, places) in [("vm.0", bootstrap), ("vm.1", other)] {
        let lines = run.lines_of_dump(name);
        let is_at = |rip: &u64| lines[0].starts_with(&format!("rip {rip:016x}  rflags "));
        assert!(places.iter().any(is_at), "{name}\n{}", run.shown());
        assert!(lines.iter().any(|line| line.starts_with("cr0 ")), "{}", run.shown());
    }
    // The one at fault comes first.
    let dumped = run.output.lines().find(|line| line.contains("]   rip "));
    assert!(dumped.is_some_and(|line| line.starts_with(first)), "{}", run.shown());
}

#[test]
fn a_fault_of_the_bootstrap_processor_shows_the_registers_of_all() {
    check_dump(&run(TRIPLE_FAULT, OTHER_SPINS), "[vm.0]   ", [&[0x20_003f], &[0x6]]);
}

#[test]
fn a_fault_of_another_processor_shows_the_registers_of_all() {
    check_dump(&run(SPIN, OTHER_FAULTS), "[vm.1]   ", [&WAITS, &[0x6]]);
}

#[test]
fn a_vm_ends_when_all_its_processors_have_halted_for_good() {
    let run = run(CLI_HLT_AGAIN, OTHER_HALTS);
    assert_eq!(run.vm("vm")["ending"], "halted for good", "{}", run.shown());
    assert!(!run.output.contains("rip "), "no registers: {}", run.shown());
}

/// One that still runs may send it an interrupt that is not maskable.
#[test]
fn one_processor_that_halts_for_good_does_not_end_its_vm() {
    let run = vm(SPIN, OTHER_HALTS).arg("--timeout").arg("1s");
    let run = run.finish().ended_with(1).adds_up();
    let ending = &run.vm("vm")["ending"];
    assert_eq!(ending, "stopped: the time limit was reached", "{}", run.shown());
}
