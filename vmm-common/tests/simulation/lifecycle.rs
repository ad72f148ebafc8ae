//! One of three VMs is paused, restarted and stopped at random moments; its neighbours keep their
//! shares, their bounds and every byte between them.

use crate::cpu::Cpu;
use crate::seed::{Random, for_each_seed};
use crate::shares::{longest_wait_ns, spinner};
use crate::station::{self, End, Habit, Mail, Orders};
use crate::world::{Operator, Software, VmSetup, World, lossless};
use std::cell::Cell;
use std::rc::Rc;
use vmm_common::Instant;
use vmm_common::control::VmRequest;
use vmm_common::index::VmIndex;
use vmm_common::plan::SerialPlan;

const MS: u64 = 1_000_000;
/// The VM that is paused and restarted.
const VICTIM: usize = 2;

/// A guest that computes, sleeps, prints, and never ends.
fn restless(cpu: Cpu, random: Random, lives: Rc<Cell<u64>>) -> Software {
    lives.set(lives.get() + 1);
    let program = async move {
        loop {
            cpu.compute(random.within(1_000, 2_000_000)).await;
            match random.below(4) {
                0 => cpu.out_string(0x3f8, b"victim\n").await,
                1 => drop(cpu.in_string(0x80, 3).await),
                2 => drop(cpu.inb(0x3fd).await),
                _ => cpu.outb(0x80, 1).await,
            }
        }
    };
    (Box::pin(program), Box::new(|vector| panic!("a guest without interrupts gets {vector:#x}")))
}

/// What an operator asks of the victim, at random moments; the last thing is to stop.
fn operator(random: &Random, mut left: u64, restarts: Rc<Cell<u64>>) -> Operator {
    let random = random.fork();
    let (mut due, mut is_first) = (Instant::ZERO, true);
    Box::new(move |system, host, now| {
        if now < due {
            return;
        }
        due = now.after_ns(random.within(100_000, 20 * MS));
        left = left.saturating_sub(1);
        let request = match (left, random.below(3)) {
            _ if std::mem::take(&mut is_first) => VmRequest::Restart,
            (0, _) => VmRequest::Stop,
            (_, 0) => VmRequest::Restart,
            (_, _) => VmRequest::PauseOrResume,
        };
        let is_done = system.carry_out(VmIndex(VICTIM), request, host).is_ok();
        restarts.set(restarts.get() + u64::from(is_done && request == VmRequest::Restart));
    })
}

/// Neighbours with `setups`, and the victim.
fn world(random: &Random, slice_ns: u64, mut setups: Vec<VmSetup>) -> (World, [Rc<Cell<u64>>; 2]) {
    let counts = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
    let [lives, restarts] = counts.clone();
    let software = {
        let random = random.fork();
        move |cpu| restless(cpu, random.fork(), lives.clone())
    };
    let software = Rc::new(software);
    let again = software.clone();
    let mut victim = VmSetup::new(move |cpu| software(cpu));
    victim.again = Some(again);
    setups.push(victim);
    let links =
        if setups[0].serial[1] == SerialPlan::Link(0) { vec![lossless("wire")] } else { vec![] };
    let mut world = World::new(random, slice_ns, setups, links);
    world.operator = Some(operator(random, random.within(3, 30), restarts));
    (world, counts)
}

#[test]
fn neighbours_of_a_vm_that_is_paused_and_restarted_keep_their_shares() {
    let sums = Cell::new((0, 0));
    for_each_seed(500, |random| {
        let slice_ns = random.pick(&[500_000, MS]);
        let lasts_ns = 600 * slice_ns;
        let spins = |_| {
            let random = random.fork();
            VmSetup::new(move |cpu| spinner(cpu, lasts_ns, random))
        };
        let (mut world, [lives, restarts]) = world(random, slice_ns, (0..2).map(spins).collect());
        world.run(20 * lasts_ns);
        assert!((0..VICTIM).all(|vm| world.is_success(vm)), "{:?}", world.host.endings);
        assert!(lives.get() <= 1 + restarts.get() && lives.get() >= 1);
        // With the jump of a VM that wakes: one that is resumed or restarted does.
        let bound_ns = world.plan.worst_blackout_ns(0).max(longest_wait_ns(&world, 0));
        for vm in 0..VICTIM {
            let account = &world.system.ledger.vms[VmIndex(vm)];
            let (due_ns, had_ns) = (account.due_ns, account.core_ns());
            let most_ns = due_ns / 100 + 2 * slice_ns;
            assert!(due_ns.abs_diff(had_ns) <= most_ns, "VM {vm} had {had_ns} of {due_ns} ns");
            assert!(account.longest_blackout_ns <= bound_ns, "{}", account.longest_blackout_ns);
            assert_eq!((account.held_ns, account.restarts), (0, 0));
        }
        assert_eq!(world.system.ledger.vms[VmIndex(VICTIM)].restarts, restarts.get());
        let (all_lives, all_restarts) = sums.get();
        sums.set((all_lives + lives.get(), all_restarts + restarts.get()));
    });
    // Each seed has some; a restart may follow another before its guest runs.
    let (lives, restarts) = sums.get();
    assert!(restarts > 0 && lives > restarts / 2, "{restarts} restarts, {lives} lives");
    println!("{restarts} restarts, {lives} lives");
}

#[test]
fn neighbours_of_a_vm_that_is_paused_and_restarted_lose_no_byte() {
    for_each_seed(500, |random| {
        let streams: Vec<Vec<u8>> = (0..2)
            .map(|end| (0..400).map(|_| (end << 6) | random.below(64) as u8).collect())
            .collect();
        let mails: Vec<Rc<Mail>> = (0..2).map(|_| Rc::default()).collect();
        let setup = |end: usize| {
            let orders = Orders {
                habit: Habit::Polls,
                com: 2,
                divisor: Some(1),
                has_strings: random.flip(),
                expects: streams[1 - end].len(),
                end: End::WhenDone,
            };
            let (mail, random) = (mails[end].clone(), random.fork());
            mail.to_send.borrow_mut().extend(&streams[end]);
            let mut setup = VmSetup::new(move |cpu| station::software(cpu, orders, mail, random));
            setup.serial[1] = SerialPlan::Link(0);
            setup
        };
        let (mut world, _) = world(random, MS, (0..2).map(setup).collect());
        world.run(40_000 * MS);
        for end in 0..2 {
            assert!(world.is_success(end), "{:?}", world.host.endings);
            assert_eq!(*mails[end].received.borrow(), streams[1 - end], "at {end}");
        }
    });
}
