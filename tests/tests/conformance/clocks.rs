//! The two policies for a VM's clocks, on every target whose time a test can rely on; and the clock
//! that KVM shows its guests, everywhere.

use crate::targets::{Outcome, Target};
use xtask::scratch::Scratch;

/// What each of two VMs counts, by its own clock.
const SPIN_NS: u64 = 300_000_000;
const SLICE_NS: u64 = 5_000_000;

/// Two that spin for the same time share the core. If their clocks go on meanwhile they are done
/// together after that time; if their clocks stand each gets all of it for itself, and it takes
/// twice as long.
#[test]
fn a_clock_that_stands_lets_its_guest_have_all_the_time_it_counts() {
    for target in Target::BARE {
        let [wall, own] = ["wall", "own"].map(|policy| run(target, policy));
        let took = |outcome: &Outcome| number(outcome, "/wall_ns");
        let (wall_ns, own_ns) = (took(&wall), took(&own));
        let name = target.name();
        let slack_ns = SPIN_NS / 10 + 2 * SLICE_NS;
        assert!(wall_ns.abs_diff(SPIN_NS) < slack_ns, "wall took {wall_ns} ns on {name}");
        assert!(own_ns.abs_diff(2 * SPIN_NS) < slack_ns, "own took {own_ns} ns on {name}");
        for vm in 0..2 {
            let core_ns =
                ["guest_ns", "vmm_ns"].map(|account| number(&own, &format!("/vms/{vm}/{account}")));
            let core_ns: u64 = core_ns.iter().sum();
            assert!(core_ns.abs_diff(SPIN_NS) < slack_ns, "{vm} had {core_ns} ns on {name}");
        }
    }
}

/// Over KVM, too. Getting into a guest and out of it takes a tenth of an emulated processor's time:
/// the switches pay it, while the guest's clock goes on.
#[test]
fn a_clock_that_stands_does_so_over_linuxs_kvm() {
    let core_ns = |policy: &str| {
        let outcome = run(Target::KvmOnDebian, policy);
        [0, 1].map(|vm| number(&outcome, &format!("/vms/{vm}/guest_ns")))
    };
    // Of the time that two clocks count together, a guest has half at most.
    let [wall, own] = [core_ns("wall"), core_ns("own")];
    assert!(wall.iter().all(|ns| *ns < SPIN_NS * 7 / 10), "wall: {wall:?}");
    assert!(own.iter().all(|ns| *ns > SPIN_NS * 8 / 10), "own: {own:?}");
}

/// Beside a guest that takes all the time it gets, so that turns end and pages are written anew.
#[test]
fn the_clock_page_keeps_kvms_contract_everywhere() {
    let text = "slice: 1ms\nvms:\n  - {name: guest, kernel: kvm_clock, memory: 4MiB}\n  \
        - {name: busy, kernel: spin, cmdline: 500, memory: 4MiB}\n";
    for target in [&[Target::Kvm], &Target::BARE[..], &[Target::KvmOnDebian]].concat() {
        let outcome = run_text(target, text);
        let passed = outcome.console.matches("PASSED").count();
        assert_eq!(passed, 5, "on {}:\n{}", target.name(), outcome.console);
    }
}

fn number(outcome: &Outcome, pointer: &str) -> u64 {
    let value = outcome.receipt.pointer(pointer).and_then(serde_json::Value::as_u64);
    value.unwrap_or_else(|| panic!("no {pointer} in {}", outcome.receipt))
}

fn run(target: Target, policy: &str) -> Outcome {
    let ms = SPIN_NS / 1_000_000;
    let vm = |name: &str| {
        format!(
            "  - {{name: {name}, kernel: spin, cmdline: {ms}, memory: 4MiB, clock: {policy}}}\n"
        )
    };
    run_text(target, &format!("slice: 5ms\nvms:\n{}{}", vm("one"), vm("two")))
}

fn run_text(target: Target, text: &str) -> Outcome {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let file = scratch.path().join("clocks.yml");
    std::fs::write(&file, text).expect("a file in it");
    let outcome = target.run_file(&file, &[]);
    assert_eq!(outcome.exit, 0, "{}", outcome.console);
    outcome
}
