//! What `check` promises, held against what a run without a host saw: shares and blackouts.

use crate::targets::{Outcome, Target};
use serde_json::Value;
use xtask::scratch::Scratch;

/// Two that take all they get beside one that halts, prints and is interrupted.
const THREE: &str = "slice: 1ms
vms:
  - {name: one, kernel: spin, cmdline: 500, memory: 4MiB}
  - {name: two, kernel: spin, cmdline: 500, memory: 4MiB}
  - {name: three, kernel: hlt_loop, cmdline: 500, memory: 4MiB}
";

/// One with a budget that always wants it, beside one that halts.
const BUDGET: &str = "vms:
  - {name: one, kernel: spin, cmdline: 500, memory: 4MiB, budget: {run: 2ms, every: 10ms}}
  - {name: two, kernel: hlt_loop, cmdline: 300, memory: 4MiB}
";

#[test]
fn no_vm_waits_longer_than_promised_where_no_host_takes_the_core() {
    for target in Target::BARE {
        let outcome = run(target, THREE);
        for vm in outcome.receipt["vms"].as_array().expect("three") {
            let (longest, promised) =
                (number(vm, "longest_blackout_ns"), number(vm, "promised_blackout_ns"));
            // Two slices, an eighth of a round of jumps, two turns and three jumped into.
            assert_eq!(promised, 3_875_000);
            assert!(longest <= promised, "{longest} ns on {}:\n{}", target.name(), outcome.console);
            assert_eq!(number(vm, "taken_ns"), 0);
        }
        assert_eq!(number(&outcome.receipt, "taken_ns"), 0);
        assert!(!outcome.console.contains("was promised"), "{}", outcome.console);
    }
}

#[test]
fn a_budget_s_periods_are_all_met_where_no_host_takes_the_core() {
    for target in Target::BARE {
        let outcome = run(target, BUDGET);
        let vm = &outcome.receipt["vms"][0];
        let (name, shown) = (target.name(), &outcome.console);
        assert_eq!(number(&vm["budget"], "missed_periods"), 0, "{name}:\n{shown}");
        // It spins for 500 ms of its clock, which goes on, and prints before and after that.
        let met = number(&vm["budget"], "met_periods");
        assert!((49..=60).contains(&met), "{met} on {name}:\n{shown}");
        let received_ppm = number(vm, "received_ppm");
        assert!(received_ppm.abs_diff(200_000) < 5_000, "{received_ppm} on {name}:\n{shown}");
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn run(target: Target, text: &str) -> Outcome {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let file = scratch.path().join("promises.yml");
    std::fs::write(&file, text).expect("a file in it");
    let outcome = target.run_file(&file, &[]);
    assert_eq!(outcome.exit, 0, "{}", outcome.console);
    outcome
}
