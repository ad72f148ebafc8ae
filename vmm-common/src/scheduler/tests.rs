use super::{Next, Scheduler};
use crate::Instant;
use crate::index::{VcpuIndex, VmIndex};
use crate::plan::Share;
use alloc::vec;
use alloc::vec::Vec;

const MS: u64 = 1_000_000;

mod sibling_turns;
mod wake_ups;

/// A scheduler of VMs with one vCPU each.
fn scheduler_of(shares: &[Share], slice_ns: u64) -> Scheduler {
    let vms: Vec<(Share, u32)> = shares.iter().map(|share| (*share, 1)).collect();
    Scheduler::new(&vms, slice_ns)
}

fn only(vm: usize) -> VcpuIndex {
    VcpuIndex::only_of(VmIndex(vm))
}

/// The VM whose turn it is, and when that ends.
fn turn(next: Next) -> Option<(usize, Instant)> {
    match next {
        Next::Run { vcpu, until } => Some((vcpu.vm().0, until)),
        Next::Idle { .. } | Next::Done => None,
    }
}

fn runs(next: Next, vm: usize) -> bool {
    turn(next).is_some_and(|(next, _)| next == vm)
}

/// Runs all to the end of each turn for `turns` turns; returns what each got.
fn spin(scheduler: &mut Scheduler, vcpus: usize, turns: usize) -> Vec<u64> {
    let mut now = Instant::ZERO;
    let mut received = vec![0; vcpus];
    for _ in 0..turns {
        let Some((vcpu, until)) = turn(scheduler.next(now)) else { panic!("somebody can run") };
        let ran_ns = until.ns_since(now);
        scheduler.ran(only(vcpu), ran_ns);
        received[vcpu] += ran_ns;
        now = until;
    }
    received
}

#[test]
fn equal_weights_take_turns_of_one_slice_in_order() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 3], 5 * MS);
    let mut now = Instant::ZERO;
    for turn in 0..9 {
        let until = now.after_ns(5 * MS);
        assert_eq!(scheduler.next(now), Next::Run { vcpu: only(turn % 3), until });
        scheduler.ran(only(turn % 3), 5 * MS);
        now = until;
    }
}

#[test]
fn weights_divide_the_core_in_proportion() {
    let shares = [Share::Weight(1), Share::Weight(2), Share::Weight(4)];
    let mut scheduler = scheduler_of(&shares, 5 * MS);
    let received = spin(&mut scheduler, 3, 300);
    let total: u64 = received.iter().sum();
    for (weight, received) in [1, 2, 4].into_iter().zip(received) {
        let expected = total * weight / 7;
        assert!(received.abs_diff(expected) * 1000 < total, "{received} of {total}");
    }
}

#[test]
fn an_overrun_is_paid_back_from_the_next_quantum() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    assert!(runs(scheduler.next(Instant::ZERO), 0));
    scheduler.ran(only(0), 7 * MS);
    let now = Instant::from_ns(7 * MS);
    assert!(runs(scheduler.next(now), 1));
    scheduler.ran(only(1), 5 * MS);
    let now = Instant::from_ns(12 * MS);
    assert_eq!(scheduler.next(now), Next::Run { vcpu: only(0), until: Instant::from_ns(15 * MS) });
}

#[test]
fn a_halted_vcpu_saves_nothing_up() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    let mut now = Instant::ZERO;
    assert!(runs(scheduler.next(now), 0));
    scheduler.ran(only(0), MS);
    scheduler.halted(only(0), Instant::FAR_FUTURE);
    for _ in 0..10 {
        let Some((1, until)) = turn(scheduler.next(now)) else { panic!("only 1 can run") };
        scheduler.ran(only(1), until.ns_since(now));
        now = until;
    }
    let _ = scheduler.woken(only(0));
    assert_eq!(scheduler.next(now), Next::Run { vcpu: only(0), until: now.after_ns(5 * MS) });
}

#[test]
fn a_polling_vcpu_stands_back_until_somebody_else_ran() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    assert!(runs(scheduler.next(Instant::ZERO), 0));
    scheduler.ran(only(0), 1000);
    scheduler.yielded(only(0));
    let now = Instant::from_ns(1000);
    assert!(runs(scheduler.next(now), 1));
    scheduler.ran(only(1), 1000);
    scheduler.yielded(only(1));
    assert!(runs(scheduler.next(Instant::from_ns(2000)), 0));
}

#[test]
fn pollers_alone_on_the_core_poll_in_turn() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    scheduler.yielded(only(0));
    scheduler.yielded(only(1));
    assert!(matches!(scheduler.next(Instant::ZERO), Next::Run { .. }));
}

#[test]
fn the_core_idles_until_the_first_timer() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    scheduler.halted(only(0), Instant::from_ns(9 * MS));
    scheduler.halted(only(1), Instant::from_ns(3 * MS));
    let until = Instant::from_ns(3 * MS);
    assert_eq!(scheduler.next(Instant::ZERO), Next::Idle { until });
    assert!(runs(scheduler.next(until), 1));
}

#[test]
fn everybody_finished_is_the_end() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    scheduler.finished(VmIndex(0));
    assert!(runs(scheduler.next(Instant::ZERO), 1));
    scheduler.finished(VmIndex(1));
    assert_eq!(scheduler.next(Instant::ZERO), Next::Done);
}

#[test]
fn a_budget_is_granted_each_period_and_not_exceeded() {
    let budget = Share::Budget { run_ns: 2 * MS, period_ns: 10 * MS };
    let mut scheduler = scheduler_of(&[budget, Share::Weight(1)], 5 * MS);
    let received = spin(&mut scheduler, 2, 400);
    let total: u64 = received.iter().sum();
    assert!((received[0] * 5).abs_diff(total) < 20 * MS, "{received:?}");
}

#[test]
fn a_used_up_budget_leaves_the_core_idle_until_the_period_ends() {
    let budget = Share::Budget { run_ns: 2 * MS, period_ns: 10 * MS };
    let mut scheduler = scheduler_of(&[budget], 5 * MS);
    let Some((0, until)) = turn(scheduler.next(Instant::ZERO)) else { panic!("runs") };
    assert_eq!(until, Instant::from_ns(2 * MS));
    scheduler.ran(only(0), 2 * MS);
    assert_eq!(scheduler.next(until), Next::Idle { until: Instant::from_ns(10 * MS) });
}

#[test]
fn the_shorter_deadline_leads_among_budgets() {
    let shares = [
        Share::Budget { run_ns: 5 * MS, period_ns: 20 * MS },
        Share::Budget { run_ns: 5 * MS, period_ns: 10 * MS },
    ];
    let mut scheduler = scheduler_of(&shares, 5 * MS);
    assert!(runs(scheduler.next(Instant::ZERO), 1));
}

#[test]
fn an_overrun_budget_is_paid_back_in_the_next_period() {
    let budget = Share::Budget { run_ns: 2 * MS, period_ns: 10 * MS };
    let mut scheduler = scheduler_of(&[budget], 5 * MS);
    assert!(matches!(scheduler.next(Instant::ZERO), Next::Run { .. }));
    scheduler.ran(only(0), 3 * MS);
    let period_end = Instant::from_ns(10 * MS);
    assert_eq!(
        scheduler.next(period_end),
        Next::Run { vcpu: only(0), until: Instant::from_ns(11 * MS) }
    );
}

#[test]
fn debts_are_paid_off_in_turns_as_if_each_lap_were_walked() {
    // Quanta of 2, 4 and 9 ms; debts of 4 quanta, 1 and a half, and 2.
    let shares = [2, 4, 9].map(Share::Weight);
    let mut scheduler = scheduler_of(&shares, 5 * MS);
    for (vcpu, ran_ns) in [(0, 100 * MS), (1, 10 * MS), (2, 27 * MS)] {
        let next = scheduler.next(Instant::ZERO);
        assert!(runs(next, vcpu));
        scheduler.ran(only(vcpu), ran_ns);
    }
    // Debts after the second lap: 3 quanta, a half, 1. In the third vCPU 1 has half a quantum.
    let until = Instant::from_ns(2 * MS);
    assert_eq!(scheduler.next(Instant::ZERO), Next::Run { vcpu: only(1), until });
    scheduler.ran(only(1), 2 * MS);
    // vCPU 2 comes to 0 behind it, and in the fourth lap vCPU 0 is still in debt.
    for (vcpu, quantum_ns) in [(1, 4 * MS), (2, 9 * MS)] {
        let until = Instant::from_ns(quantum_ns);
        assert_eq!(scheduler.next(Instant::ZERO), Next::Run { vcpu: only(vcpu), until });
        scheduler.ran(only(vcpu), quantum_ns);
    }
}

#[test]
fn a_vcpu_owes_four_quanta_at_most() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    assert!(runs(scheduler.next(Instant::ZERO), 0));
    scheduler.ran(only(0), 3_000 * MS);
    let mut now = Instant::ZERO;
    let mut others_turns = 0;
    while let Some((1, until)) = turn(scheduler.next(now)) {
        scheduler.ran(only(1), until.ns_since(now));
        now = until;
        others_turns += 1;
    }
    assert_eq!(others_turns, 5);
}

#[test]
fn a_short_remainder_is_added_to_the_next_quantum() {
    let mut scheduler = scheduler_of(&[Share::Weight(1); 2], 5 * MS);
    assert!(runs(scheduler.next(Instant::ZERO), 0));
    scheduler.ran(only(0), 5 * MS - 30_000);
    assert!(runs(scheduler.next(Instant::ZERO), 1));
    scheduler.ran(only(1), 5 * MS);
    let until = Instant::from_ns(5 * MS + 30_000);
    assert_eq!(scheduler.next(Instant::ZERO), Next::Run { vcpu: only(0), until });
    // A longer one is a turn.
    scheduler.ran(only(0), 4 * MS);
    assert!(runs(scheduler.next(Instant::ZERO), 0));
}
