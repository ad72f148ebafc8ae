use super::*;
use alloc::collections::BTreeMap;
use alloc::vec;

const MS: u64 = 1_000_000;

fn vm(name: &str) -> VmReceipt {
    VmReceipt {
        id: 0,
        name: name.into(),
        ending: "powered off, status 0".into(),
        is_success: true,
        entitled_ppm: 500_000,
        received_ppm: Some(499_870),
        wanted_ns: 1543 * MS,
        due_ns: 520 * MS,
        guest_ns: 27 * MS,
        vmm_ns: MS,
        waiting_ns: 1515 * MS,
        halted_ns: 0,
        held_ns: 0,
        restarts: 0,
        taken_ns: 0,
        longest_blackout_ns: 5 * MS,
        longest_blackout_taken_ns: 0,
        longest_own_blackout_ns: 5 * MS,
        promised_blackout_ns: 5_200_000,
        budget: None,
        dropped_ticks: 0,
        turns: 301,
        exits: BTreeMap::from([("halt", 501), ("mmio read", 1003), ("port out", 1540)]),
        batched: 0,
        interrupts: 501,
        devices: Vec::new(),
        vcpus: Vec::new(),
    }
}

fn receipt(vms: Vec<VmReceipt>, contended_ns: u64) -> Receipt {
    Receipt {
        wall_ns: 3000 * MS,
        accounted_ns: 3000 * MS,
        slice_ns: 5 * MS,
        switching_ns: 3 * MS,
        console_ns: 3 * MS,
        idle_ns: 0,
        taken_ns: 1500 * MS,
        contended_ns,
        switches: 600,
        sibling_switches: 0,
        jumps: 0,
        vms,
        links: Vec::new(),
        networks: Vec::new(),
        lost_bytes: 0,
        undelivered_bytes: 0,
    }
}

#[test]
fn a_receipt_says_who_wanted_was_due_and_ran_what() {
    let budget = BudgetReceipt {
        run_ns: 2 * MS,
        period_ns: 10 * MS,
        met_periods: 200,
        missed_periods: 1,
        worst_shortfall_ns: 1_200_000,
        worst_response_ns: 35_000,
    };
    let steady = VmReceipt { budget: Some(budget), entitled_ppm: 200_000, ..vm("steady") };
    let text = receipt(alloc::vec![steady, vm("b"), vm("c")], 0).to_string();
    let expected = "\
receipt: 3.000s on one core, slices of 5.00ms
VMs 2.80%, switching 0.10%, console 0.10%, idle 0.00%,
    taken by the host 50.00%: sum 100.00%
shares: VMs had work at different times; see what each was due
  vm     entitled received   wanted      due      ran blackout promised  turns
  steady   20.00%   49.99%   1.543s        -  28.00ms   5.00ms   5.20ms    301
  b        50.00%   49.99%   1.543s 520.00ms  28.00ms   5.00ms   5.20ms    301
  c        50.00%   49.99%   1.543s 520.00ms  28.00ms   5.00ms   5.20ms    301
  vm      of core    guest      vmm   halted   waited interrupts batched  exits
  steady    0.93%  27.00ms   1.00ms      0ns   1.515s        501       0   3044
  b         0.93%  27.00ms   1.00ms      0ns   1.515s        501       0   3044
  c         0.93%  27.00ms   1.00ms      0ns   1.515s        501       0   3044
steady: powered off, status 0
  budget: 2.00ms in every 10.00ms, wanted in 201 periods, got in 200,
    missed in 1, short by 1.20ms at worst, worst response 35.0us
  exits: 501 halt + 1003 mmio read + 1540 port out
";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
}

#[test]
fn a_promise_that_was_not_kept_is_told_and_so_is_the_host_s_part() {
    let host = VmReceipt {
        longest_blackout_ns: 1058 * MS,
        longest_blackout_taken_ns: 1054 * MS,
        ..vm("host")
    };
    let text = receipt(alloc::vec![host], 0).to_string();
    assert!(text.contains("blackout: 1.054s of the 1.058s taken by the host; promise kept"));
    let own = VmReceipt { longest_own_blackout_ns: 16 * MS, ..vm("own") };
    let text = receipt(alloc::vec![own], 0).to_string();
    let expected = "blackout: 16.00ms without the host's part, where 5.20ms was promised";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn dropped_ticks_are_told() {
    let late = VmReceipt { dropped_ticks: 500, ..vm("late") };
    let text = receipt(alloc::vec![late, vm("other")], 0).to_string();
    assert_eq!(text.matches("ticks dropped: 500, more than a second late").count(), 1);
    assert_eq!(text.matches("dropped").count(), 1);
}

#[test]
fn vcpus_that_share_a_vm_have_a_line_each() {
    let vcpu = |guest_ns, turns| VcpuReceipt {
        guest_ns,
        waiting_ns: 700 * MS,
        halted_ns: 40 * MS,
        longest_blackout_ns: 9 * MS,
        longest_own_blackout_ns: 9 * MS,
        turns,
    };
    let vcpus = vec![vcpu(20 * MS, 150), vcpu(7 * MS, 1), vcpu(0, 0)];
    let vm = VmReceipt { vcpus, ..vm("left") };
    let receipt = Receipt { sibling_switches: 120, ..receipt(vec![vm], 0) };
    let text = receipt.to_string();
    let expected = "\
left: powered off, status 0
  vCPU 0: guest 20.00ms, halted 40.00ms, waited 700.00ms, longest wait 9.00ms,
    150 turns
  vCPU 1: guest 7.00ms, halted 40.00ms, waited 700.00ms, longest wait 9.00ms,
    1 turn
  vCPU 2: never ran
  exits: 501 halt + 1003 mmio read + 1540 port out
switches from VM to VM: 600, between vCPUs of a VM: 120
";
    assert!(text.contains(expected), "{text}");
}
