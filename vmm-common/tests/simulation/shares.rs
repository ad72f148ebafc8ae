//! How the core is divided: spinning guests by weight, budgets kept and met, and no VM waiting
//! longer than the others' quanta. Measured by the turns, and the receipt must agree.

use crate::cpu::Cpu;
use crate::seed::{Random, for_each_seed};
use crate::timers::sleeper;
use crate::world::{MAX_OVERRUN_NS, Software, TURN_COST_NS, VmSetup, World};
use vmm_common::Instant;
use vmm_common::plan::Share;
use vmm_common::receipt::Receipt;

const MS: u64 = 1_000_000;
const ONE_PERCENT_PPM: u64 = 10_000;

/// A guest that computes and never halts, and powers off after `lasts_ns`.
pub fn spinner(cpu: Cpu, lasts_ns: u64, random: Random) -> Software {
    let program = async move {
        let end = cpu.now().after_ns(lasts_ns);
        while cpu.now() < end {
            cpu.compute(random.within(1_000, 400_000)).await;
            if random.once_in(4) {
                cpu.inb(0x80).await;
            }
        }
        cpu.power_off(0).await;
    };
    (Box::pin(program), Box::new(|vector| panic!("a guest without interrupts gets {vector:#x}")))
}

/// What each VM waits at most: the others' quanta, and what each turn takes besides.
pub fn longest_wait_ns(world: &World, vm: usize) -> u64 {
    let weight = |share: Share| match share {
        Share::Weight(weight) => u64::from(weight),
        Share::Budget { .. } => panic!("only weights bound a wait like this"),
    };
    let weights = world.plan.vms.iter().map(|vm| weight(vm.share));
    let (sum, count) = (weights.clone().sum::<u64>(), world.plan.vms.len() as u64);
    let others = sum - weight(world.plan.vms[vm].share);
    let quanta_ns = world.plan.slice_ns * count * others / sum;
    quanta_ns + (count - 1) * (MAX_OVERRUN_NS + TURN_COST_NS) + MAX_OVERRUN_NS + TURN_COST_NS
}

fn spinning(random: &Random, share: Share, lasts_ns: u64) -> VmSetup {
    let fork = random.fork();
    let setup = VmSetup::new(move |cpu| spinner(cpu, lasts_ns, fork));
    VmSetup { share, ..setup }
}

#[test]
fn spinning_guests_share_the_core_by_weight_within_one_percent() {
    for_each_seed(60, |random| {
        let vms = random.within(2, 5);
        let slice_ns = random.pick(&[500_000, MS]);
        // Long enough that one quantum more or less is well below a percent.
        let lasts_ns = 300 * vms * slice_ns;
        let share = |_| Share::Weight(random.pick(&[1, 1, 2, 3, 7]));
        let setups = (0..vms).map(share).map(|share| spinning(random, share, lasts_ns)).collect();
        let mut world = World::new(random, slice_ns, setups, Vec::new());
        let begin = world.clock.now();
        world.run(2 * vms * lasts_ns);
        world.expect_success();

        let end = begin.after_ns(lasts_ns);
        let received = |vm| world.core_ns(vm, begin, end);
        let total_ns: u64 = (0..world.guests.len()).map(received).sum();
        for vm in 0..world.guests.len() {
            let ppm = received(vm) * 1_000_000 / total_ns;
            let entitled_ppm = world.plan.entitled_ppm(vm);
            let error_ppm = ppm.abs_diff(entitled_ppm);
            assert!(error_ppm <= ONE_PERCENT_PPM, "VM {vm}: {ppm} of {entitled_ppm} ppm");
            let (waits, bound_ns) = (world.guests[vm].waits, longest_wait_ns(&world, vm));
            assert!(waits.longest_ns <= bound_ns, "VM {vm}: {waits:?}, allowed: {bound_ns}");
            let longest_ns = world.system.ledger.vms[vm].longest_blackout_ns;
            let promised_ns = world.plan.worst_blackout_ns(vm);
            assert!(longest_ns <= promised_ns, "VM {vm}: {longest_ns} of {promised_ns}");
        }
        let receipt = Receipt::new(&world.plan, &world.system, world.system.ledger.core_sum_ns());
        let error_ppm = receipt.share_error_ppm().expect("they spun at once for long enough");
        assert!(error_ppm <= ONE_PERCENT_PPM, "{receipt}");
    });
}

#[test]
fn a_host_that_takes_the_core_takes_it_from_no_vm_more_than_from_another() {
    for_each_seed(60, |random| {
        let vms = random.within(2, 5);
        let lasts_ns = 20_000 * MS;
        let share = |_| Share::Weight(random.pick(&[1, 1, 2, 3]));
        let setups = (0..vms).map(share).map(|share| spinning(random, share, lasts_ns)).collect();
        let mut world = World::new(random, 5 * MS, setups, Vec::new());
        world.clock.stall_once_in(random.pick(&[100, 1_000, 10_000]));
        world.run(2 * lasts_ns);
        let receipt = Receipt::new(&world.plan, &world.system, world.system.ledger.core_sum_ns());
        // A reading of the clock stalls as the last end is noted, too.
        let seen_ns = receipt.taken_ns;
        let taken_ns = world.clock.taken_ns();
        assert!(seen_ns <= taken_ns && taken_ns - seen_ns <= 1_000 * MS, "{seen_ns} of {taken_ns}");
        for vm in &receipt.vms {
            let (own_ns, promised_ns) = (vm.longest_own_blackout_ns, vm.promised_blackout_ns);
            assert!(
                own_ns <= promised_ns,
                "{own_ns} ns where {promised_ns} was promised\n{receipt}"
            );
        }
        if let Some(error_ppm) = receipt.share_error_ppm() {
            assert!(error_ppm <= ONE_PERCENT_PPM, "{receipt}");
        }
    });
}

/// Budgets that leave a fifth of the core and more.
fn budgets(random: &Random) -> Vec<Share> {
    let count = random.within(1, 3);
    let budget = |_| {
        let period_ns = random.pick(&[5, 8, 10, 20]) * MS;
        let run_ns = period_ns * random.within(5, 80 / count) / 100;
        Share::Budget { run_ns, period_ns }
    };
    (0..count).map(budget).collect()
}

/// What the VM received in each whole period up to `end`, ns.
fn by_period(world: &World, vm: usize, period_ns: u64, end: Instant) -> Vec<u64> {
    let first = world.turns[0].begin.as_ns() / period_ns + 1;
    let at = |period: u64| Instant::from_ns(period * period_ns);
    let periods = first..end.as_ns() / period_ns;
    periods.map(|period| world.core_ns(vm, at(period), at(period + 1))).collect()
}

#[test]
fn a_budget_is_met_in_each_period_and_not_exceeded() {
    // A turn may overrun into a period, and the last turn of the period may overrun too.
    const SLACK_NS: u64 = 2 * (MAX_OVERRUN_NS + TURN_COST_NS);
    for_each_seed(150, |random| {
        let lasts_ns = 100 * MS;
        let shares = budgets(random);
        let weighted = (0..random.below(3)).map(|_| Share::Weight(random.pick(&[1, 4])));
        let all: Vec<_> = shares.iter().copied().chain(weighted).collect();
        let setups = all.iter().map(|share| spinning(random, *share, lasts_ns)).collect();
        let mut world = World::new(random, random.pick(&[MS, 5 * MS]), setups, Vec::new());
        let begin = world.clock.now();
        world.run(100 * lasts_ns);
        world.expect_success();
        for (vm, share) in all.iter().enumerate() {
            let Share::Budget { run_ns, period_ns } = *share else { continue };
            let received = by_period(&world, vm, period_ns, begin.after_ns(lasts_ns));
            for (period, ns) in received.into_iter().enumerate() {
                let off_ns = ns.abs_diff(run_ns);
                assert!(off_ns <= SLACK_NS, "VM {vm}, {period}: {ns} of {run_ns} in {period_ns}");
            }
        }
    });
}

#[test]
fn a_guest_that_sleeps_saves_no_budget_up() {
    const SLACK_NS: u64 = 2 * (MAX_OVERRUN_NS + TURN_COST_NS);
    for_each_seed(100, |random| {
        let shares = budgets(random);
        let setup = |share: &Share| {
            let (times, fork) = (random.within(1, 40), random.fork());
            let setup = VmSetup::new(move |cpu| sleeper(cpu, times, fork));
            VmSetup { share: *share, ..setup }
        };
        let spins = spinning(random, Share::Weight(1), 50 * MS);
        let setups = shares.iter().map(setup).chain([spins]).collect();
        let mut world = World::new(random, MS, setups, Vec::new());
        world.run(20_000 * MS);
        world.expect_success();
        for (vm, share) in shares.iter().enumerate() {
            let Share::Budget { run_ns, period_ns } = *share else { continue };
            for ns in by_period(&world, vm, period_ns, world.clock.now()) {
                assert!(ns <= run_ns + SLACK_NS, "VM {vm}: {ns} of {run_ns} in {period_ns}");
            }
        }
    });
}
