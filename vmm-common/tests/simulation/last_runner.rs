//! What a processor leaves behind that is the last one of its VM to run: the others, which have
//! halted, go on by what it sent them, and by timers that it has set.

use crate::cpu::{Cpu, Program};
use crate::hardware::Controller;
use crate::seed::{Random, for_each_seed};
use crate::world::{Software, VmSetup, World};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const LOCAL_APIC: u64 = 0xfee0_0000;
const INIT: u32 = 0x4500;
const START_UP: u32 = 0x4608;
const NMI: u32 = 0x4400;

/// What the processors share in their RAM.
#[derive(Default)]
struct Shared {
    /// The other processor has started.
    has_started: Cell<bool>,
    /// What comes next is the last that the first processor sends.
    is_last: Cell<bool>,
}

async fn command(cpu: &Cpu, to: u32, low: u32) {
    cpu.store(LOCAL_APIC + 0x310, to << 24).await;
    cpu.store(LOCAL_APIC + 0x300, low).await;
}

async fn start(cpu: &Cpu) {
    command(cpu, 1, INIT).await;
    command(cpu, 1, START_UP).await;
}

async fn wait_for_start(cpu: &Cpu, shared: &Shared) {
    while !shared.has_started.get() {
        cpu.compute(20 * US).await;
    }
}

async fn halt_for_good(cpu: &Cpu) {
    cpu.disable_interrupts().await;
    cpu.halt().await;
    unreachable!("an interrupt ends a halt with interrupts disabled");
}

/// Two processors: `first` runs on the bootstrap processor, `second` on the other one; `handle` is
/// the handler of both.
fn pair<A, B, H>(
    first: impl FnOnce(Cpu, Rc<Shared>) -> A + 'static,
    second: impl Fn(Cpu, Rc<Shared>) -> B + 'static,
    handle: impl Fn(Cpu, Rc<Shared>, u8) -> H + Copy + 'static,
) -> VmSetup
where
    A: Future<Output = ()> + 'static,
    B: Future<Output = ()> + 'static,
    H: Future<Output = ()> + 'static,
{
    let shared = Rc::<Shared>::default();
    let of_second = shared.clone();
    let with_handler = move |main: Program, cpu: Cpu, shared: Rc<Shared>| -> Software {
        (main, Box::new(move |vector| Box::pin(handle(cpu.clone(), shared.clone(), vector))))
    };
    let mut setup = VmSetup::new(move |cpu| {
        with_handler(Box::pin(first(cpu.clone(), shared.clone())), cpu, shared)
    });
    setup.others.push(Rc::new(move |cpu: Cpu| {
        of_second.has_started.set(true);
        let main = Box::pin(second(cpu.clone(), of_second.clone()));
        with_handler(main, cpu, of_second.clone())
    }));
    setup
}

fn expect_success(setup: impl Fn(&Random) -> VmSetup) {
    for_each_seed(200, |random| {
        let setup = setup(random);
        let mut world = World::new(random, random.pick(&[MS, 5 * MS]), vec![setup], Vec::new());
        world.run(2_000 * MS);
        world.expect_success();
    });
}

/// What the first processor sends many times, so that the jumps of its tenure are used up in the
/// end, and it halts before the other one has run.
async fn send_and_halt(cpu: &Cpu, shared: &Shared, random: &Random, modes: &[u32]) {
    let times = random.within(1, 12);
    for left in (0..times).rev() {
        cpu.compute(random.below(20 * US)).await;
        shared.is_last.set(left == 0);
        for low in modes {
            command(cpu, 1, *low).await;
        }
    }
    halt_for_good(cpu).await;
}

#[test]
fn a_processor_that_was_just_started_runs_though_its_starter_halts_for_good() {
    expect_success(|random| {
        let (of_first, of_second) = (random.fork(), random.fork());
        let first = |cpu: Cpu, shared: Rc<Shared>| async move {
            send_and_halt(&cpu, &shared, &of_first, &[INIT, START_UP]).await;
        };
        let second = move |cpu: Cpu, shared: Rc<Shared>| {
            let work_ns = of_second.below(60 * US);
            async move {
                if shared.is_last.get() {
                    cpu.power_off(0).await;
                }
                cpu.compute(work_ns).await;
                halt_for_good(&cpu).await;
            }
        };
        pair(first, second, |_, _, vector| async move { panic!("interrupt {vector:#x}") })
    });
}

#[test]
fn a_processor_that_was_just_sent_an_nmi_takes_it_though_its_sender_halts_for_good() {
    expect_success(|random| {
        let (of_first, work_ns) = (random.fork(), random.below(60 * US));
        let first = |cpu: Cpu, shared: Rc<Shared>| async move {
            start(&cpu).await;
            wait_for_start(&cpu, &shared).await;
            send_and_halt(&cpu, &shared, &of_first, &[NMI]).await;
        };
        let second = |cpu: Cpu, _| async move {
            cpu.disable_interrupts().await;
            loop {
                cpu.halt().await;
            }
        };
        pair(first, second, move |cpu: Cpu, shared: Rc<Shared>, vector| async move {
            assert_eq!(vector, 2);
            if shared.is_last.get() {
                cpu.power_off(0).await;
            }
            cpu.compute(work_ns).await;
        })
    });
}

/// One interrupt of the 8254's channel 0, after so many counts.
async fn set_8254(cpu: &Cpu, count: u16) {
    cpu.outb(0x43, 0x30).await;
    for byte in count.to_le_bytes() {
        cpu.outb(0x40, byte).await;
    }
}

#[test]
fn the_8259s_interrupts_come_to_a_processor_that_halts_while_another_one_runs() {
    expect_success(|random| {
        let count = random.within(100, 2_000) as u16;
        let first = move |cpu: Cpu, shared: Rc<Shared>| async move {
            start(&cpu).await;
            wait_for_start(&cpu, &shared).await;
            Controller::Pic.initialize(&cpu, &[0]).await;
            for _ in 0..10 {
                set_8254(&cpu, count).await;
                cpu.wait_for_interrupt().await;
            }
            cpu.power_off(0).await;
        };
        let second = |cpu: Cpu, _| async move {
            loop {
                cpu.outb(0x80, 0).await;
            }
        };
        pair(first, second, |cpu: Cpu, _, vector| async move {
            assert_eq!(vector, Controller::Pic.vector(0));
            Controller::Pic.end_of_interrupt(&cpu, vector).await;
        })
    });
}

#[test]
fn a_timer_set_by_a_processor_that_stops_itself_wakes_the_other_one() {
    const IO_APIC: Controller = Controller::IoApic { is_level: false, is_x2apic: false };
    expect_success(|random| {
        let count = random.within(100, 2_000) as u16;
        let first = |cpu: Cpu, _| async move {
            IO_APIC.initialize(&cpu, &[0]).await;
            start(&cpu).await;
            cpu.wait_for_interrupt().await;
            cpu.power_off(0).await;
        };
        let second = move |cpu: Cpu, _| async move {
            cpu.compute(MS).await;
            set_8254(&cpu, count).await;
            command(&cpu, 1, INIT).await;
            unreachable!("INIT stops it");
        };
        pair(first, second, |cpu: Cpu, _, vector| async move {
            IO_APIC.end_of_interrupt(&cpu, vector).await;
        })
    });
}
