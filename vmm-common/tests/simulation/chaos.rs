//! Guests that do anything at all. They may end their own VM; they may not stop the loop, break its
//! accounts, or make a neighbour wait longer or lose a byte.

use crate::cpu::{Cpu, Instruction, Program};
use crate::hardware::Controller;
use crate::seed::{Random, for_each_seed};
use crate::shares::longest_wait_ns;
use crate::station::{self, End, Habit, Mail, Orders};
use crate::world::{Software, VmSetup, World, lossless};
use devices::link::LinkEnd;
use std::rc::Rc;
use vmm_common::plan::{DeviceSet, SerialPlan};
use vmm_common::seam::{ExitReason, Fault};

const MS: u64 = 1_000_000;
const CHAOS_LASTS_NS: u64 = 10 * MS;
/// When those who cannot go on are stopped.
const HORIZON_NS: u64 = 100 * MS;

/// Ports with something behind them.
const PORTS: [u16; 25] = [
    0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x3f8, 0x3f9,
    0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x2f8, 0x2f9, 0x2fa, 0x2fb, 0x2fc, 0x2fd,
];
/// Ports that may end the VM, given the right value.
const LAST_PORTS: [u16; 7] = [0x60, 0x64, 0x92, 0xf4, 0x604, 0xb004, 0xcf9];
const MSRS: [u32; 8] = [0x1b, 0x6e0, 0x80b, 0x80f, 0x830, 0x832, 0x838, 0x83e];
/// Local APIC registers that make something happen: ICR, timer, SVR, EOI, TPR, LINT0.
const APIC_REGISTERS: [u64; 8] = [0x300, 0x320, 0x380, 0x3e0, 0xf0, 0xb0, 0x80, 0x350];

/// Some order first, so that there is something to break.
async fn initialize(cpu: &Cpu, controller: Controller, random: &Random) {
    controller.initialize(cpu, &[0, 3, 4, 8]).await;
    controller.enable_local_apic(cpu).await;
    // A periodic timer of the local APIC and of the PIT; the clock's 8 kHz.
    let period = random.within(1, random.pick(&[100, 100_000, 1_000_000])) as u32;
    controller.write_apic(cpu, 0x3e0, 0xb).await;
    controller.write_apic(cpu, 0x320, 0x2_0070).await;
    controller.write_apic(cpu, 0x380, period).await;
    let [low, high] = (random.next() as u16 >> random.below(10)).to_le_bytes();
    let writes = [(0x43, 0x34), (0x40, low), (0x40, high), (0x70, 0x0b), (0x71, 0x42)];
    for (port, value) in writes {
        cpu.outb(port, value).await;
    }
    cpu.enable_interrupts().await;
}

fn software(cpu: Cpu, has_local_apic: bool, random: Random) -> Software {
    let random = Rc::new(random);
    let controller = if has_local_apic { Controller::random(&random) } else { Controller::Pic };
    let (handlers, handler_random) = (cpu.clone(), random.clone());
    let program = async move {
        let end = cpu.now().after_ns(CHAOS_LASTS_NS);
        if !random.once_in(4) {
            initialize(&cpu, controller, &random).await;
        }
        while cpu.now() < end {
            let instruction = any_instruction(&random);
            cpu.execute(instruction).await;
        }
        cpu.power_off(0).await;
    };
    let handler = move |vector| -> Program {
        let (cpu, random) = (handlers.clone(), handler_random.clone());
        Box::pin(async move {
            while random.once_in(3) {
                cpu.execute(any_instruction(&random)).await;
            }
            if !random.once_in(200) {
                cpu.exit(ExitReason::PortOut { port: 0x70, size: 1, value: 0x0c }).await;
                cpu.exit(ExitReason::PortIn { port: 0x71, size: 1 }).await;
                controller.try_end_of_interrupt(&cpu, vector).await;
            }
        })
    };
    (Box::pin(program), Box::new(handler))
}

fn any_instruction(random: &Random) -> Instruction {
    match random.below(100) {
        0..10 => Instruction::Compute(random.below(random.pick(&[100, 20_000, 200_000]))),
        10..25 => Instruction::EnableInterrupts,
        25 => Instruction::DisableInterrupts,
        26..28 => Instruction::SetTaskPriority(random.below(16) as u8),
        28..31 => {
            let bytes = (0..random.within(1, 40)).map(|_| random.next() as u8).collect();
            Instruction::OutString { port: any_port(random), bytes }
        }
        31..34 => {
            let count = random.within(1, 40) as usize;
            Instruction::InString { port: any_port(random), count }
        }
        34 if random.once_in(4) => Instruction::Halt,
        35 => Instruction::Exit(ExitReason::Pause),
        34 if random.once_in(100) => Instruction::Exit(ExitReason::Shutdown),
        34 if random.once_in(100) => {
            Instruction::Exit(ExitReason::Fault(Fault::Unexpected { exit: 7 }))
        }
        _ => Instruction::Exit(any_access(random)),
    }
}

fn any_port(random: &Random) -> u16 {
    match random.below(1_000) {
        0..10 => random.pick(&LAST_PORTS),
        10..100 => random.next() as u16,
        _ => random.pick(&PORTS),
    }
}

fn any_access(random: &Random) -> ExitReason {
    let (port, value) = (any_port(random), random.any());
    let size = random.pick(&[1, 1, 1, 2, 4]);
    let wide = random.pick(&[1, 2, 4, 4, 4, 8]);
    let index = if random.once_in(8) { random.any() as u32 } else { random.pick(&MSRS) };
    match random.below(8) {
        0..=1 => ExitReason::PortIn { port, size },
        2..=3 => ExitReason::PortOut { port, size, value: value as u32 },
        4 => ExitReason::MmioRead { address: any_address(random), size: wide },
        5..=6 => ExitReason::MmioWrite { address: any_address(random), size: wide, value },
        7 if random.flip() => ExitReason::MsrRead { index },
        _ => ExitReason::MsrWrite { index, value },
    }
}

fn any_address(random: &Random) -> u64 {
    let offset = random.below(0x400) & !(random.pick(&[0, 3, 7, 15]));
    match random.below(8) {
        0..=1 => 0xfec0_0000 + random.pick(&[0, 0x10, 0x40, offset]),
        2..=3 => 0xfed0_0000 + offset,
        4..=6 => 0xfee0_0000 + random.pick(&APIC_REGISTERS),
        _ => random.any(),
    }
}

/// Two stations on a link of their own, VMs 0 and 1, and chaos around them.
fn scenario(random: &Random) -> (World, Vec<Rc<Mail>>, Vec<Vec<u8>>) {
    let streams: Vec<Vec<u8>> =
        (0..2).map(|_| (0..random.within(1, 60)).map(|_| random.next() as u8).collect()).collect();
    let mails: Vec<Rc<Mail>> = (0..2).map(|_| Rc::default()).collect();
    let station = |end: usize| {
        let habit = match random.flip() {
            true => Habit::Polls,
            false => Habit::IsInterrupted(Controller::random(random)),
        };
        let (expects, has_strings) = (streams[1 - end].len(), random.flip());
        let orders =
            Orders { habit, com: 2, divisor: None, has_strings, expects, end: End::WhenDone };
        let (mail, fork) = (mails[end].clone(), random.fork());
        mail.to_send.borrow_mut().extend(&streams[end]);
        let mut setup = VmSetup::new(move |cpu| station::software(cpu, orders, mail, fork));
        setup.serial[1] = SerialPlan::Link(0);
        setup
    };
    let chaos = |_| {
        let fork = random.fork();
        let has_local_apic = !random.once_in(3);
        let mut setup = VmSetup::new(move |cpu| software(cpu, has_local_apic, fork));
        setup.serial[0] = random.pick(&[SerialPlan::Console, SerialPlan::Switched(1)]);
        setup.serial[1] = SerialPlan::Link(1);
        setup.serial[2] = SerialPlan::Unconnected;
        let (has_io_apic, has_hpet) = (random.flip(), random.flip());
        setup.devices = DeviceSet { has_io_apic, has_hpet, has_local_apic };
        setup
    };
    let chaotic = random.within(2, 3);
    let setups = (0..2).map(station).chain((0..chaotic).map(chaos)).collect();
    let mut other = lossless("other");
    other.is_lossy = random.once_in(3);
    other.baud = random.pick(&[None, None, Some(9600)]);
    let mut world =
        World::new(random, random.pick(&[100_000, MS]), setups, vec![lossless("own"), other]);
    for vm in 2..world.guests.len() {
        let at = world.clock.now().after_ns(MS);
        world.host.typing[vm].extend((0..200).map(|_| (at, random.next() as u8)));
    }
    (world, mails, streams)
}

#[test]
fn whatever_a_guest_does_its_neighbours_lose_neither_bytes_nor_time() {
    for_each_seed(400, |random| {
        let (mut world, mails, streams) = scenario(random);
        world.run(HORIZON_NS);
        for end in 0..2 {
            let received = mails[end].received.borrow();
            assert!(world.is_success(end), "{:?}", world.host.endings);
            assert_eq!(*received, streams[1 - end], "at {end}");
            let statistics = world.system.wires[0].link.statistics(LinkEnd(end));
            assert_eq!(statistics.lost_total(), 0);
            let (waits, bound_ns) = (world.guests[end].waits, longest_wait_ns(&world, end));
            assert!(waits.longest_ns <= bound_ns, "VM {end}: {waits:?}, allowed: {bound_ns}");
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for_each_seed(60, |random| {
        let seed = random.next();
        let run = || {
            let (mut world, ..) = scenario(&Random::new(seed));
            world.run(HORIZON_NS);
            world
        };
        let (first, second) = (run(), run());
        assert_eq!(first.turns, second.turns);
        assert!(first.system.trace.events().eq(second.system.trace.events()), "the traces differ");
        assert_eq!(first.host.printed, second.host.printed);
        assert_eq!(first.host.endings, second.host.endings);
        let receipt = |world: &World| format!("{:?}", world.system.ledger);
        assert_eq!(receipt(&first), receipt(&second));
    });
}

#[test]
fn these_guests_leave_for_every_reason_there_is() {
    let mut exits = [0; ExitReason::KINDS.len()];
    let (mut batched, mut interrupts, mut nmis) = (0, 0, 0);
    for seed in 0..100 {
        let (mut world, ..) = scenario(&Random::new(seed));
        world.run(HORIZON_NS);
        for (guest, account) in world.guests.iter().zip(&world.system.ledger.vms) {
            exits.iter_mut().zip(account.exits).for_each(|(sum, count)| *sum += count);
            batched += account.batched;
            interrupts += account.interrupts;
            nmis += guest.vectors.iter().filter(|vector| **vector == 2).count();
        }
    }
    // No debugger has them.
    let kinds = ExitReason::KINDS.iter().zip(exits).filter(|(name, _)| **name != "debug");
    for (name, count) in kinds {
        assert!(count > 0, "no guest is left for this: {name}");
    }
    assert!(batched > 1_000 && interrupts > 1_000 && nmis > 0, "{batched} {interrupts} {nmis}");
}
