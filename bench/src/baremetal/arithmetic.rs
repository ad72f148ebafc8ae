//! From receipts to figures.

use super::counting::{Run, VmReceipt};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use xtask::emulate::Memory;

const PREEMPTED: &str = "preempted";

/// Instructions between a guest's being left and entered again, from a run of few and one of many
/// rounds with an exit each, `more_rounds` apart. A round has `own` instructions of the guest's,
/// among them the one that exits.
///
/// # Errors
/// One of them was preempted more often than the other.
pub fn per_exit(few: &Run, many: &Run, more_rounds: u64, own: u64) -> Result<f64> {
    let preempted = |run: &Run| exits(run).get(PREEMPTED).copied().unwrap_or(0);
    ensure!(preempted(few) == preempted(many), "the rounds do not fit into one slice");
    Ok(more_instructions(few, many) / more_rounds as f64 - own as f64)
}

/// Instructions for a switch from a VM's guest to another's, from a run that switches seldom and
/// one that switches often, in both of which the guests execute the same instructions. Whatever
/// else the second one took is the price of its switches: being left by the end of a slice, both
/// decisions of the scheduler, registers and FPU state of both VMs, the entry, turns that came of
/// it without switching, looks at the keyboard between turns.
///
/// # Errors
/// The guests left for other reasons in one run than in the other, or neither switches more often.
pub fn per_switch(seldom: &Run, often: &Run) -> Result<f64> {
    let (before, after) = (unforced(seldom), unforced(often));
    ensure!(before == after, "the guests did different things: {before:?} and {after:?}");
    let (before, after) = (seldom.receipt.switches, often.receipt.switches);
    ensure!(after > before, "{after} switches are not more than {before}");
    Ok(more_instructions(seldom, often) / (after - before) as f64)
}

/// The largest difference between the share of the core that a VM was entitled to and the one it
/// received, per cent of the core.
///
/// # Errors
/// Shares were not measured.
pub fn share_error(run: &Run) -> Result<f64> {
    let error = |vm: &VmReceipt| Some(vm.received_ppm?.abs_diff(vm.entitled_ppm));
    let errors: Option<Vec<u64>> = run.receipt.vms.iter().map(error).collect();
    let worst = errors.and_then(|errors| errors.into_iter().max());
    Ok(worst.context("the shares were not measured")? as f64 / 1e4)
}

/// The longest time that a VM with work waited for the core, over the sum of the others' slices;
/// the worst VM's.
#[must_use]
pub fn blackout(run: &Run) -> f64 {
    let cycle_ns = (run.receipt.slice_ns * run.receipt.vms.len() as u64) as f64;
    let ratio = |vm: &VmReceipt| {
        let others_ns = cycle_ns * (1e6 - vm.entitled_ppm as f64) / 1e6;
        vm.longest_blackout_ns as f64 / others_ns
    };
    run.receipt.vms.iter().map(ratio).fold(0.0, f64::max)
}

/// KiB of the hypervisor's for each VM, and those that it takes for itself, from runs of one and of
/// `vms` VMs.
#[must_use]
pub fn memory_kib(one: Memory, many: Memory, vms: usize) -> (f64, f64) {
    let kib = |memory: Memory| (memory.frames_bytes + memory.heap_bytes) as f64 / 1024.0;
    let each = (kib(many) - kib(one)) / (vms as f64 - 1.0);
    (each, kib(one) - each)
}

/// Instructions that `second` took more than `first`, but for those that the emulator skips while
/// no VM can run.
#[must_use]
pub fn more_instructions(first: &Run, second: &Run) -> f64 {
    let busy_ns = |run: &Run| (run.receipt.wall_ns - run.receipt.idle_ns) as f64;
    (busy_ns(second) - busy_ns(first)) / first.ns_per_instruction
}

/// Times that a guest was left in `second` more than in `first`.
#[must_use]
pub fn more_exits(first: &Run, second: &Run) -> f64 {
    let count = |run: &Run| exits(run).values().sum::<u64>() as f64;
    count(second) - count(first)
}

/// Switches from one vCPU to another of its VM that `second` made more than `first`.
#[must_use]
pub fn more_sibling_switches(first: &Run, second: &Run) -> f64 {
    second.receipt.sibling_switches as f64 - first.receipt.sibling_switches as f64
}

/// Times that guests left by themselves.
fn unforced(run: &Run) -> BTreeMap<&str, u64> {
    let mut exits = exits(run);
    exits.remove(PREEMPTED);
    exits
}

/// Times that guests were left, all VMs together, by reason.
fn exits(run: &Run) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for (reason, count) in run.receipt.vms.iter().flat_map(|vm| &vm.exits) {
        *sums.entry(reason.as_str()).or_default() += count;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of two VMs that do not differ in anything else.
    fn run(wall_ns: u64, switches: u64, exits: &str) -> Run {
        let vm =
            |rest: &str| format!(r#"{{"longest_blackout_ns":5100000,"exits":{exits},{rest}}}"#);
        let first = vm(r#""entitled_ppm":250000,"received_ppm":249000"#);
        let second = vm(r#""entitled_ppm":750000,"received_ppm":751500,"other":1"#);
        let json = format!(
            r#"{{"wall_ns":{wall_ns},"slice_ns":5000000,"idle_ns":0,"switches":{switches},
                "vms":[{first},{second}]}}"#
        );
        Run {
            receipt: serde_json::from_str(&json).expect("a receipt"),
            memory: None,
            ns_per_instruction: 50.0,
        }
    }

    #[test]
    fn an_exit_is_what_a_round_takes_less_the_guests_part() {
        let few = run(1_000_000, 0, "{}");
        // 4,000 rounds more of 250 instructions of 50 ns.
        let many = run(1_000_000 + 4000 * 250 * 50, 0, r#"{"port out":2000}"#);
        assert_eq!(per_exit(&few, &many, 4000, 3).expect("no preemption"), 247.0);
        let preempted = run(2_000_000, 0, r#"{"preempted":1}"#);
        assert!(per_exit(&few, &preempted, 4000, 3).is_err());
    }

    #[test]
    fn idle_time_is_no_vms_instruction() {
        let few = run(1_000_000, 0, "{}");
        let mut many = run(1_000_000 + 10 * 50 + 777, 0, "{}");
        many.receipt.idle_ns = 777;
        assert_eq!(per_exit(&few, &many, 1, 0).expect("no preemption"), 10.0);
    }

    #[test]
    fn a_switch_is_what_the_run_with_more_of_them_takes_longer() {
        let seldom = run(1_000_000, 1, r#"{"port out":30}"#);
        let often = run(1_000_000 + 20 * 900 * 50, 21, r#"{"port out":30,"preempted":11}"#);
        assert_eq!(per_switch(&seldom, &often).expect("the same work"), 900.0);
        let other_work = run(2_000_000, 21, r#"{"port out":31}"#);
        assert!(per_switch(&seldom, &other_work).is_err());
        assert!(per_switch(&seldom, &seldom).is_err());
    }

    #[test]
    fn the_worst_vm_counts() {
        let run = run(1, 0, "{}");
        assert_eq!(share_error(&run).expect("it was measured"), 0.15);
        // Two slices a cycle, 2.5 ms of which are the first one's.
        assert_eq!(blackout(&run), 5.1 / 2.5);
        let mut unmeasured = run;
        unmeasured.receipt.vms[0].received_ppm = None;
        assert!(share_error(&unmeasured).is_err());
    }

    #[test]
    fn memory_is_split_into_what_each_vm_takes_and_the_rest() {
        let one = Memory { frames_bytes: 60 << 10, heap_bytes: 40 << 10 };
        let five = Memory { frames_bytes: 100 << 10, heap_bytes: 80 << 10 };
        assert_eq!(memory_kib(one, five, 5), (20.0, 80.0));
    }
}
