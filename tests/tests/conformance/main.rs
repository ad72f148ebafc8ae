//! The same config on every target: KVM, VMX in Bochs, SVM in QEMU and in Bochs's AMD model.
//!
//! The rule: each VM's lines are the same on every target, byte for byte and in the same order.
//! Orderings across VMs are not compared. The only thing left out of a line is how far a guest that
//! counts until its time is up has got: the number in `spin: N loops`.
//!
//! A target that cannot be had fails its tests and is named; none is skipped.

mod bad_guests;
mod targets;
mod transcript;
mod world;

use targets::{Outcome, Target};

/// Every config that ends by itself; `shell.yml` waits for a keyboard.
fn check(config: &str) {
    check_on(config, &Target::BARE);
}

fn check_on(config: &str, targets: &[Target]) {
    let reference = Target::Kvm.run(config);
    println!("{config}: {} by {}", reference.exit_mix(), Target::Kvm.name());
    for target in targets.iter().copied() {
        let outcome = target.run(config);
        println!("{config}: {} by {}", outcome.exit_mix(), target.name());
        compare(config, target, &reference, &outcome);
    }
}

fn compare(config: &str, target: Target, reference: &Outcome, outcome: &Outcome) {
    let name = target.name();
    assert_eq!(outcome.exit, reference.exit, "{config} on {name}:\n{}", outcome.console);
    for vm in reference.vms() {
        let expected = transcript::of(&reference.console, &vm);
        assert!(!expected.is_empty(), "{config}: {vm} printed nothing");
        assert_eq!(transcript::of(&outcome.console, &vm), expected, "{config}, {vm} on {name}");
    }
    assert_eq!(outcome.schema(), reference.schema(), "{config}: the receipt on {name}");
    assert_eq!(outcome.receipt["lost_bytes"], 0, "{config} on {name}");
}

#[test]
fn the_main_job_is_the_same_everywhere() {
    check("two");
}

#[test]
fn the_seeds_file_is_the_same_everywhere() {
    check("seed");
}

#[test]
fn bulk_over_a_link_is_the_same_everywhere() {
    check("link");
}

#[test]
fn weights_are_the_same_everywhere() {
    check("weighted");
}

#[test]
fn a_budget_is_the_same_everywhere() {
    check("budget");
}

/// 32 times the user tests: Bochs, at 20 million instructions a second, takes more than ten minutes.
#[test]
fn many_vms_are_the_same_over_kvm_and_in_qemu() {
    check_on("many", &[Target::SvmQemu]);
}
