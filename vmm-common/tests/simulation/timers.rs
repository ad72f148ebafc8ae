//! Guests that set a timer and halt, next to guests that spin: the timer's interrupt comes, not
//! early and no later than its deadline and the others' turns.

use crate::cpu::{Cpu, Expected, Program};
use crate::hardware::{Controller, DATA_READY, Serial};
use crate::seed::{Random, for_each_seed};
use crate::shares::{longest_wait_ns, spinner};
use crate::world::{Software, VmSetup, World, tsc_at};
use std::cell::Cell;
use std::rc::Rc;
use vmm_common::Instant;
use vmm_common::plan::Share;

const MS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000 * MS;
const SLICES_NS: [u64; 3] = [200_000, MS, 5 * MS];
const APIC_TIMER_VECTOR: u8 = 0x70;
const PIT_TICK_NS: u64 = 839;

/// A timer to sleep on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    ApicOneShot,
    ApicTscDeadline,
    PitOneShot,
    HpetOneShot,
    RtcPeriodic,
}

const TIMERS: [Timer; 5] = [
    Timer::ApicOneShot,
    Timer::ApicTscDeadline,
    Timer::PitOneShot,
    Timer::HpetOneShot,
    Timer::RtcPeriodic,
];

/// A guest that waits for its timer a number of times.
#[derive(Debug)]
struct Sleeper {
    cpu: Cpu,
    controller: Controller,
    timer: Timer,
    /// It computes until it is interrupted, rather than halt.
    is_busy: bool,
    times: u64,
    random: Random,
}

/// A guest that sleeps so many times on a random timer.
pub fn sleeper(cpu: Cpu, times: u64, random: Random) -> Software {
    let (controller, timer) = (Controller::random(&random), random.pick(&TIMERS));
    Sleeper { cpu, controller, timer, is_busy: random.flip(), times, random }.software()
}

impl Sleeper {
    fn software(self) -> Software {
        let sleeper = Rc::new(self);
        let main = sleeper.clone();
        let handler = move |vector| -> Program {
            let sleeper = sleeper.clone();
            Box::pin(async move { sleeper.interrupt(vector).await })
        };
        (Box::pin(async move { main.main().await }), Box::new(handler))
    }

    async fn main(&self) {
        self.initialize().await;
        for _ in 0..self.times {
            self.arm().await;
            if self.random.flip() {
                // The timer may expire while the guest takes no interrupt.
                self.cpu.compute(self.random.below(200_000)).await;
            }
            self.cpu.enable_interrupts().await;
            while self.cpu.expected_interrupt().is_some() {
                if self.is_busy {
                    self.cpu.compute(self.random.within(100, 50_000)).await;
                } else {
                    // Without a race: CLI, look, STI and HLT.
                    self.cpu.disable_interrupts().await;
                    if self.cpu.expected_interrupt().is_some() {
                        self.cpu.enable_interrupts().await;
                        self.cpu.halt().await;
                    }
                }
            }
            self.cpu.disable_interrupts().await;
            self.cpu.compute(self.random.below(20_000)).await;
        }
        self.cpu.power_off(0).await;
    }

    /// Only the timer's own line is open, and what else might tick is left alone or silent.
    async fn initialize(&self) {
        let irqs: &[u8] = match self.timer {
            Timer::ApicOneShot | Timer::ApicTscDeadline => &[],
            Timer::PitOneShot => &[0],
            Timer::HpetOneShot | Timer::RtcPeriodic => &[8],
        };
        self.controller.initialize(&self.cpu, irqs).await;
        self.controller.enable_local_apic(&self.cpu).await;
        self.controller.write_apic(&self.cpu, 0x3e0, 0xb).await;
        if self.timer == Timer::RtcPeriodic {
            // 1024 Hz, on.
            for (register, value) in [(0x0a, 0x26), (0x0b, 0x42)] {
                self.cpu.outb(0x70, register).await;
                self.cpu.outb(0x71, value).await;
            }
        }
    }

    async fn arm(&self) {
        let ns = self.random.within(1, self.random.pick(&[1_000, 100_000, 3 * MS]));
        let (cpu, vector) = (&self.cpu, self.vector());
        let (low_ns, high_ns) = match self.timer {
            Timer::ApicOneShot => {
                self.controller.write_apic(cpu, 0x320, vector.into()).await;
                self.controller.write_apic(cpu, 0x380, ns as u32).await;
                (ns, ns)
            }
            Timer::ApicTscDeadline => {
                self.controller.write_apic(cpu, 0x320, u32::from(vector) | 2 << 17).await;
                let at = cpu.now().after_ns(ns);
                cpu.write_msr(0x6e0, tsc_at(at)).await;
                // Past already when the write took effect: at once.
                let ns = at.ns_since(cpu.handled_at());
                (ns.saturating_sub(1), ns + 1)
            }
            Timer::PitOneShot => {
                let ticks = (ns / PIT_TICK_NS).clamp(2, 0xffff);
                cpu.outb(0x43, 0x30).await;
                cpu.outb(0x40, ticks as u8).await;
                cpu.outb(0x40, (ticks >> 8) as u8).await;
                ((ticks - 1) * (PIT_TICK_NS - 2), (ticks + 2) * PIT_TICK_NS)
            }
            Timer::HpetOneShot => self.arm_hpet(ns).await,
            Timer::RtcPeriodic => {
                cpu.outb(0x70, 0x0c).await;
                cpu.inb(0x71).await;
                (0, SECOND_NS / 1024 + 1)
            }
        };
        let now = cpu.handled_at();
        let (earliest, latest) = (now.after_ns(low_ns), now.after_ns(high_ns));
        cpu.expect(Expected { earliest, latest, vector });
    }

    /// Timer 1, which in legacy replacement has the clock's line, edge-triggered.
    async fn arm_hpet(&self, ns: u64) -> (u64, u64) {
        let at = |register: u64| 0xfed0_0000 + register;
        let ticks = (ns / 100).max(1) as u32;
        self.cpu.store(at(0x010), 2).await;
        self.cpu.store(at(0x0f0), 0).await;
        self.cpu.store(at(0x0f4), 0).await;
        self.cpu.store(at(0x120), 0x104).await;
        self.cpu.store(at(0x128), ticks).await;
        self.cpu.store(at(0x010), 3).await;
        (u64::from(ticks - 1) * 100, u64::from(ticks + 1) * 100)
    }

    fn vector(&self) -> u8 {
        match self.timer {
            Timer::ApicOneShot | Timer::ApicTscDeadline => APIC_TIMER_VECTOR,
            Timer::PitOneShot => self.controller.vector(0),
            Timer::HpetOneShot | Timer::RtcPeriodic => self.controller.vector(8),
        }
    }

    async fn interrupt(&self, vector: u8) {
        assert_eq!(vector, self.vector());
        if self.timer == Timer::RtcPeriodic && self.cpu.expected_interrupt().is_none() {
            // The clock goes on ticking once register C is read, and only then.
            self.cpu.compute(10).await;
        }
        self.controller.end_of_interrupt(&self.cpu, vector).await;
    }
}

#[test]
fn a_timer_wakes_its_guest_within_the_others_turns() {
    for_each_seed(1_500, |random| {
        let sleepers = random.within(1, 3);
        let spinners = random.below(3);
        let share = |random: &Random| Share::Weight(random.pick(&[1, 1, 2, 5]));
        let sleeper = |_| {
            let (times, fork) = (random.within(1, 12), random.fork());
            let setup = VmSetup::new(move |cpu| sleeper(cpu, times, fork));
            VmSetup { share: share(random), ..setup }
        };
        let spinner = |_| {
            let fork = random.fork();
            let setup = VmSetup::new(move |cpu| spinner(cpu, 20 * MS, fork));
            VmSetup { share: share(random), ..setup }
        };
        let setups = (0..sleepers).map(sleeper).chain((0..spinners).map(spinner)).collect();
        let mut world = World::new(random, random.pick(&SLICES_NS), setups, Vec::new());
        world.run(20 * SECOND_NS);
        world.expect_success();
        for vm in 0..world.guests.len() {
            let (waits, bound_ns) = (world.guests[vm].waits, longest_wait_ns(&world, vm));
            assert!(waits.longest_ns <= bound_ns, "VM {vm}: {waits:?}, allowed: {bound_ns}");
            assert!(waits.longest_after_in_ns <= bound_ns, "VM {vm}: {waits:?}");
        }
    });
}

#[test]
fn hlt_ends_by_an_interrupt_that_the_guest_takes_and_not_by_a_masked_tick() {
    for_each_seed(50, |random| {
        let (controller, fork) = (Controller::random(random), random.fork());
        // The PIT ticks at 1 kHz into a masked line while the guest sleeps on its APIC timer.
        let software = move |cpu: Cpu| -> Software {
            let sleeper = Rc::new(Sleeper {
                cpu,
                controller,
                timer: Timer::ApicOneShot,
                is_busy: false,
                times: 0,
                random: fork,
            });
            let main = sleeper.clone();
            let program = async move {
                main.initialize().await;
                for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
                    main.cpu.outb(port, value).await;
                }
                main.controller.write_apic(&main.cpu, 0x320, APIC_TIMER_VECTOR.into()).await;
                main.controller.write_apic(&main.cpu, 0x380, 20_000_000).await;
                let slept_from = main.cpu.handled_at();
                main.cpu.enable_interrupts().await;
                main.cpu.halt().await;
                assert!(main.cpu.now().ns_since(slept_from) >= 20 * MS, "woken by a masked tick");
                main.cpu.power_off(0).await;
            };
            let handler = move |vector| -> Program {
                let sleeper = sleeper.clone();
                Box::pin(async move { sleeper.interrupt(vector).await })
            };
            (Box::pin(program), Box::new(handler))
        };
        let mut world = World::new(random, MS, vec![VmSetup::new(software)], Vec::new());
        world.run(SECOND_NS);
        world.expect_success();
        assert_eq!(world.guests[0].vectors, [APIC_TIMER_VECTOR]);
        assert!(world.clock.now() > Instant::from_ns(20 * MS));
    });
}

/// A guest that polls for a key in vain while the PIT ticks, and counts so many ticks.
fn ticking_poller(cpu: Cpu, ticks: u32, random: Random) -> Software {
    let controller = Controller::random(&random);
    let counted = Rc::new(Cell::new(0));
    let (handler_cpu, counter) = (cpu.clone(), counted.clone());
    let program = async move {
        let serial = Serial::com(cpu.clone(), 1);
        serial.initialize(None).await;
        controller.initialize(&cpu, &[0]).await;
        let [low, high] = (random.within(200, 3_000) as u16).to_le_bytes();
        for (port, value) in [(0x43, 0x34), (0x40, low), (0x40, high)] {
            cpu.outb(port, value).await;
        }
        cpu.enable_interrupts().await;
        while counted.get() < ticks {
            assert_eq!(serial.status().await & DATA_READY, 0);
        }
        cpu.power_off(0).await;
    };
    let handler = move |vector| -> Program {
        let (cpu, counter) = (handler_cpu.clone(), counter.clone());
        Box::pin(async move {
            counter.set(counter.get() + 1);
            controller.end_of_interrupt(&cpu, vector).await;
        })
    };
    (Box::pin(program), Box::new(handler))
}

#[test]
fn a_guest_that_polls_in_vain_does_not_sleep_through_its_ticks() {
    for_each_seed(200, |random| {
        let fork = random.fork();
        let setup = VmSetup::new(move |cpu| ticking_poller(cpu, 50, fork));
        let mut world = World::new(random, MS, vec![setup], Vec::new());
        world.run(SECOND_NS);
        world.expect_success();
        assert!(world.guests[0].entries < 60 * 200, "it burns the core");
    });
}
