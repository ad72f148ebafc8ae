//! How a VM with several processors ends: all of it, and its dump shows all of them. (On the other
//! targets, the conformance tests run the same images.)

use crate::harness::Tandem;
use xtask::two_processors::{self as images, CONFIG, FAULTS};

fn vm(bootstrap: &[u8], other: &[u8]) -> Tandem {
    let run = Tandem::run_text(CONFIG);
    run.scratch().file("image.bin", images::image(bootstrap, other));
    run
}

/// A KVM that interprets real mode may give up its VM where a processor triple-faults.
#[test]
fn a_fault_of_one_processor_shows_the_registers_of_all() {
    const GIVEN_UP: &str = "stopped: the processor could not carry out the instruction (code 1)";
    for (bootstrap, other, at_fault, places) in FAULTS {
        let run = vm(bootstrap, other).finish().ended_with(1).complains_of_nothing().adds_up();
        let ending = run.vm("vm")["ending"].as_str().expect("text");
        assert!(["stopped: triple fault", GIVEN_UP].contains(&ending), "{}", run.shown());
        images::check_dump(&run.output, at_fault, places);
    }
}

#[test]
fn a_processor_that_was_never_started_has_no_registers_to_show() {
    let run = Tandem::run_text("vms: [{name: vm, kernel: triple_fault, vcpus: 2}]");
    let run = run.finish().ended_with(1).complains_of_nothing().adds_up();
    assert_eq!(run.vm("vm")["ending"], "stopped: triple fault", "{}", run.shown());
    assert!(run.output.contains("[vm.0]   rip "), "{}", run.shown());
    assert!(!run.output.contains("[vm.1]"), "{}", run.shown());
    assert!(run.shown().contains("\n  vCPU 1: never ran\n"), "{}", run.shown());
}

#[test]
fn a_vm_ends_when_all_its_processors_have_halted_for_good() {
    let run = vm(images::HALT, images::OTHER_HALTS);
    let run = run.finish().ended_with(1).complains_of_nothing().adds_up();
    assert_eq!(run.vm("vm")["ending"], "halted for good", "{}", run.shown());
    assert!(!run.output.contains("rip "), "no registers: {}", run.shown());
}

/// One that still runs may send it an interrupt that is not maskable.
#[test]
fn one_processor_that_halts_for_good_does_not_end_its_vm() {
    let run = vm(images::SPIN, images::OTHER_HALTS).arg("--timeout").arg("1s");
    let run = run.finish().ended_with(1).adds_up();
    let ending = &run.vm("vm")["ending"];
    assert_eq!(ending, "stopped: the time limit was reached", "{}", run.shown());
}

/// Neither its registers nor those of a processor that was never started show more than why.
#[test]
fn a_vm_that_is_stopped_while_it_halts_shows_no_registers() {
    /// 1: sti; hlt; jmp 1b
    const IDLE: &[u8] = &[0xfb, 0xf4, 0xeb, 0xfc];
    let run = Tandem::run_text(CONFIG);
    run.scratch().file("image.bin", IDLE);
    let run = run.arg("--timeout").arg("1s").finish().ended_with(1).adds_up();
    let ending = &run.vm("vm")["ending"];
    assert_eq!(ending, "stopped: the time limit was reached", "{}", run.shown());
    let run = run.shows("[vm.0]   halted at 0x200001; nothing can wake it: ");
    assert!(!run.output.contains("rip "), "registers: {}", run.shown());
}
