use super::*;
use crate::index::{VcpuIndex, VmIndex};

const MS: u64 = 1_000_000;

fn ms(ms: u64) -> Instant {
    Instant::from_ns(ms * MS)
}

fn ledger(weights: &[u32]) -> Ledger {
    let shares: Vec<_> = weights.iter().map(|weight| (Share::Weight(*weight), 1)).collect();
    Ledger::new(&shares, 1, ms(0))
}

/// A turn of `vm` as the loop books it.
fn turn(ledger: &mut Ledger, vm: usize, begin: u64, end: u64) {
    ledger.vm_turns_to(VmIndex(vm), Standing::Running, ms(begin));
    ledger.core_turns_to(Activity::Guest(VmIndex(vm)), ms(begin));
    ledger.core_turns_to(Activity::Switching, ms(end));
    ledger.ran(VmIndex(vm), (end - begin) * MS);
    ledger.vm_turns_to(VmIndex(vm), Standing::Waiting, ms(end));
}

#[test]
fn what_the_host_took_is_charged_to_no_vm() {
    let mut ledger = ledger(&[1, 1]);
    turn(&mut ledger, 0, 0, 3005);
    ledger.taken_from_vm(VmIndex(0), 3000 * MS, ms(3005));
    turn(&mut ledger, 1, 3007, 3012);
    ledger.taken_from_no_vm(2 * MS, ms(3012));
    ledger.close(ms(3012));
    assert_eq!((ledger.vms[0].guest_ns, ledger.vms[1].guest_ns), (5 * MS, 5 * MS));
    assert_eq!((ledger.switching_ns, ledger.taken_ns), (0, 3002 * MS));
    assert_eq!(ledger.vms[0].taken_ns, 3000 * MS);
    assert_eq!(ledger.core_sum_ns(), 3012 * MS);
    assert_eq!(ledger.check(3012 * MS), Ok(()));
}

#[test]
fn no_more_is_taken_than_was_there() {
    let mut ledger = ledger(&[1]);
    turn(&mut ledger, 0, 0, 5);
    ledger.taken_from_vm(VmIndex(0), 7 * MS, ms(5));
    ledger.taken_from_no_vm(MS, ms(5));
    ledger.close(ms(5));
    assert_eq!((ledger.taken_ns, ledger.core_sum_ns()), (5 * MS, 5 * MS));
}

#[test]
fn an_idle_wait_that_ended_late_was_the_host_s() {
    let mut ledger = ledger(&[1]);
    turn(&mut ledger, 0, 0, 5);
    ledger.vm_turns_to(VmIndex(0), Standing::Halted, ms(5));
    ledger.core_turns_to(Activity::Idle, ms(5));
    // Its timer is due at 20 ms, and the host wakes the loop at 50.
    ledger.core_turns_to(Activity::Switching, ms(50));
    ledger.vm_turns_to(VmIndex(0), Standing::Waiting, ms(20));
    ledger.core_turns_to(Activity::Switching, ms(51));
    ledger.taken_from_no_vm(30 * MS, ms(51));
    turn(&mut ledger, 0, 51, 52);
    assert_eq!((ledger.idle_ns, ledger.switching_ns, ledger.taken_ns), (16 * MS, 0, 30 * MS));
    assert_eq!(ledger.vms[0].longest_own_blackout_ns, MS);
}

#[test]
fn a_blackout_tells_the_host_s_part_from_the_others_turns() {
    let mut ledger = ledger(&[1, 1]);
    turn(&mut ledger, 0, 0, 5);
    turn(&mut ledger, 1, 5, 14);
    turn(&mut ledger, 0, 14, 19);
    turn(&mut ledger, 1, 19, 124);
    ledger.taken_from_vm(VmIndex(1), 100 * MS, ms(124));
    turn(&mut ledger, 0, 124, 129);
    let account = &ledger.vms[0];
    assert_eq!(account.longest_blackout_ns, 105 * MS);
    assert_eq!(account.longest_blackout_taken_ns, 100 * MS);
    assert_eq!(account.longest_own_blackout_ns, 9 * MS);
}

#[test]
fn a_wait_that_began_while_the_host_had_the_core_is_the_host_s() {
    let mut ledger = ledger(&[1, 1]);
    turn(&mut ledger, 0, 0, 5);
    ledger.vm_turns_to(VmIndex(0), Standing::Halted, ms(5));
    turn(&mut ledger, 1, 5, 1010);
    ledger.taken_from_vm(VmIndex(1), 1000 * MS, ms(1010));
    // Its timer was due at 500 ms, which was noticed after the stall.
    ledger.vm_turns_to(VmIndex(0), Standing::Waiting, ms(500));
    turn(&mut ledger, 0, 1011, 1012);
    let account = &ledger.vms[0];
    assert_eq!(account.longest_blackout_ns, 511 * MS);
    assert_eq!(account.longest_blackout_taken_ns, 510 * MS);
}

#[test]
fn a_wait_that_began_before_the_host_s_last_two_takings_had_both() {
    let mut ledger = ledger(&[1, 1]);
    turn(&mut ledger, 0, 0, 5);
    ledger.vm_turns_to(VmIndex(0), Standing::Halted, ms(5));
    // The other one is chosen at 5 ms; the host takes most of the hand-over to it, and a part of
    // its turn.
    ledger.core_turns_to(Activity::Switching, ms(45));
    ledger.taken_from_no_vm(39 * MS, ms(45));
    turn(&mut ledger, 1, 45, 50);
    ledger.taken_from_vm(VmIndex(1), MS, ms(50));
    // Only now the loop sees that the first one's timer was due during the hand-over.
    ledger.vm_turns_to(VmIndex(0), Standing::Waiting, ms(15));
    turn(&mut ledger, 0, 50, 51);
    let account = &ledger.vms[0];
    assert_eq!(account.longest_blackout_ns, 35 * MS);
    assert_eq!(account.longest_blackout_taken_ns, 31 * MS);
    assert_eq!(account.longest_own_blackout_ns, 4 * MS);
}

#[test]
fn a_vm_is_due_its_weight_among_those_that_have_work() {
    let mut ledger = ledger(&[1, 3]);
    turn(&mut ledger, 0, 0, 8);
    ledger.vm_turns_to(VmIndex(1), Standing::Halted, ms(8));
    turn(&mut ledger, 0, 8, 18);
    ledger.vm_turns_to(VmIndex(1), Standing::Waiting, ms(18));
    turn(&mut ledger, 1, 18, 22);
    ledger.close(ms(22));
    let due = |vm: usize| ledger.vms[vm].due_ns.next_multiple_of(1000);
    assert_eq!((due(0), due(1)), (2 * MS + 10 * MS + MS, 6 * MS + 3 * MS));
    assert_eq!(ledger.vms[1].wanted_ns(), 12 * MS);
}

#[test]
fn a_budget_takes_no_part_in_what_weights_are_due() {
    let budget = Share::Budget { run_ns: 2 * MS, period_ns: 10 * MS };
    let mut ledger = Ledger::new(
        &[budget, Share::Weight(2), Share::Weight(2)].map(|share| (share, 1)),
        1,
        ms(0),
    );
    turn(&mut ledger, 0, 0, 2);
    turn(&mut ledger, 1, 2, 10);
    ledger.close_periods(ms(10));
    ledger.close(ms(10));
    let due = |vm: usize| ledger.vms[vm].due_ns.next_multiple_of(1000);
    assert_eq!((due(0), due(1), due(2)), (0, 4 * MS, 4 * MS));
    let budget = ledger.vms[0].budget.as_ref().expect("it has one");
    assert_eq!((budget.met, budget.missed, budget.received_ppm()), (1, 0, Some(200_000)));
}

#[test]
fn what_the_host_took_while_it_wrote_output_is_not_the_console_s() {
    let mut ledger = ledger(&[1]);
    turn(&mut ledger, 0, 0, 5);
    ledger.core_turns_to(Activity::Console, ms(5));
    ledger.core_turns_to(Activity::Switching, ms(9));
    ledger.taken_from_no_vm(3 * MS, ms(9));
    turn(&mut ledger, 0, 9, 14);
    ledger.close(ms(14));
    assert_eq!((ledger.console_ns, ledger.taken_ns, ledger.switching_ns), (MS, 3 * MS, 0));
    assert_eq!(ledger.core_sum_ns(), 14 * MS);
}

#[test]
fn vcpus_divide_what_their_vm_had_and_wait_for_each_other() {
    let vms = [(Share::Weight(1), 2), (Share::Weight(1), 1)];
    let mut ledger = Ledger::new(&vms, 1, ms(0));
    let firsts: Vec<VcpuIndex> = VcpuIndex::firsts([2, 1].into_iter()).collect();
    let (first, second, other) = (firsts[0], firsts[0].sibling(1), firsts[1]);
    let turn = |ledger: &mut Ledger, vcpu: VcpuIndex, begin: u64, end: u64| {
        ledger.begin_turn(vcpu, 0, ms(begin));
        ledger.guest_ran(vcpu.vm(), ms(begin), (end - begin) * MS);
        ledger.end_turn(vcpu.vm(), ms(end), ms(end));
        ledger.ran(vcpu.vm(), (end - begin) * MS);
        ledger.waits(vcpu, ms(end));
    };
    turn(&mut ledger, first, 0, 3);
    turn(&mut ledger, second, 3, 5);
    ledger.vcpu_turns_to(second, Standing::Halted, ms(5));
    assert_eq!(ledger.vms[0].standing(), Standing::Waiting, "one of its vCPUs could run");
    ledger.switches += 1;
    turn(&mut ledger, other, 5, 10);
    ledger.switches += 1;
    turn(&mut ledger, first, 10, 12);
    ledger.vcpu_turns_to(first, Standing::Halted, ms(12));
    assert_eq!(ledger.vms[0].standing(), Standing::Halted);
    ledger.vcpu_turns_to(second, Standing::Waiting, ms(14));
    turn(&mut ledger, second, 16, 20);
    ledger.close(ms(20));
    let of = |id: usize| {
        let vcpu = &ledger.vms[0].vcpus[id];
        let times = [vcpu.guest_ns, vcpu.running_ns, vcpu.waiting_ns, vcpu.halted_ns];
        (times.map(|ns| ns / MS), vcpu.longest_blackout_ns / MS, vcpu.turns)
    };
    assert_eq!(of(0), ([5, 5, 7, 8], 7, 2));
    assert_eq!(of(1), ([6, 6, 5, 9], 3, 2));
    assert_eq!((ledger.waited_ns(first), ledger.waited_ns(other)), (7 * MS, 15 * MS));
    // The VM itself waits only while none of them runs; choosing the second after the first, from
    // 14 to 16 ms, is the VM's own.
    let vm = &ledger.vms[0];
    assert_eq!((vm.guest_ns, vm.waiting_ns, vm.halted_ns, vm.turns), (11 * MS, 5 * MS, 2 * MS, 4));
    assert_eq!((vm.vmm_ns, ledger.switching_ns), (2 * MS, 2 * MS));
    assert_eq!(vm.longest_blackout_ns, 5 * MS);
    assert_eq!((ledger.sibling_switches, ledger.check(20 * MS)), (2, Ok(())));
}
