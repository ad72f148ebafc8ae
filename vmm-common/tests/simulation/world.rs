//! A simulated target: the loop as every target drives it, and what must hold whatever the guests
//! do. A scenario describes its VMs, runs them and then checks what it alone can.
//!
//! | held in every run | by |
//! |---|---|
//! | no guest halts while an interrupt it would take waits | [`World::check_halted`] |
//! | the core idles only when all have halted, ended or used up their budget | [`World::idle`] |
//! | the ledger's accounts are the simulation's, to the nanosecond | [`World::finish`] |
//! | a VM that ended stays ended, and the end of all is Done | `Guest`, [`World::finish`] |
//! | every byte on a link is delivered, lost with a reason, or waits | [`World::check_links`] |

use crate::cpu::{Cpu, Program};
use crate::guest::{Guest, Habits};
use crate::place::{Clock, SimulatedHost};
use crate::seed::Random;
use devices::lapic::TscClock;
use devices::link::LinkEnd;
use devices::time::MachineTime;
use std::rc::Rc;
use vmm_common::Instant;
use vmm_common::boot::{Boot, Images};
use vmm_common::cpuid::CpuidResult;
use vmm_common::index::{LinkedPort, VcpuIndex, VmIndex};
use vmm_common::ledger::Standing;
use vmm_common::machine::{Machine, Surroundings};
use vmm_common::memory::NoMemory;
use vmm_common::plan::{
    BootKind, DeviceSet, ImageSource, LinkPlan, OnSwitch, Plan, SerialPlan, Share, VmPlan,
};
use vmm_common::registers::CpuState;
use vmm_common::scheduler::Next;
use vmm_common::seam::Host;
use vmm_common::switch_on::{self, Beginning, HostFacts};
use vmm_common::system::System;
use vmm_common::vm::Ending;

/// A guest is left so much later than its deadline, and the core wakes so much later, at most.
pub const MAX_OVERRUN_NS: u64 = 50_000;
/// What a turn may take besides: deciding, entering, leaving, the last exit.
pub const TURN_COST_NS: u64 = 2_000;
/// The guests' time-stamp counter.
pub const TSC: TscClock = TscClock { hz: 2_400_000_000, offset: 12_345 };
/// Its value; the machines' clocks never stand here.
pub const fn tsc_at(at: Instant) -> u64 {
    TSC.tsc_at(MachineTime::from_ns(at.as_ns()))
}
/// Why a simulation ends VMs that go on.
const OVER: &str = "the simulation is over";

/// A program and its interrupt handler.
pub type Software = (Program, Box<dyn Fn(u8) -> Program>);

/// One VM of a scenario.
pub struct VmSetup {
    pub share: Share,
    pub serial: [SerialPlan; 4],
    pub devices: DeviceSet,
    pub software: Box<dyn FnOnce(Cpu) -> Software>,
    /// What its other processors run each time they are started.
    pub others: Vec<Starter>,
    /// What its first processor runs when the VM is restarted.
    pub again: Option<Starter>,
}

/// What happens to VMs between turns.
pub type Operator = Box<dyn FnMut(&mut System<NoMemory>, &mut SimulatedHost, Instant)>;

/// What a processor runs from its start-up on.
pub type Starter = Rc<dyn Fn(Cpu) -> Software>;

/// One turn, as the simulation saw it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub vm: usize,
    pub begin: Instant,
    pub end: Instant,
}

/// Several guests on one simulated core.
pub struct World {
    pub plan: Plan,
    pub system: System<NoMemory>,
    pub guests: Vec<Guest>,
    pub host: SimulatedHost,
    pub clock: Rc<Clock>,
    pub turns: Vec<Turn>,
    pub idle_ns: u64,
    pub operator: Option<Operator>,
    begun: Instant,
    random: Random,
}

impl VmSetup {
    /// A VM of weight 1 with every device, a console on COM1 and nothing else.
    pub fn new(software: impl FnOnce(Cpu) -> Software + 'static) -> Self {
        use SerialPlan::{Absent, Console};
        Self {
            share: Share::Weight(1),
            serial: [Console, Absent, Absent, Absent],
            devices: DeviceSet { has_io_apic: true, has_hpet: true, has_local_apic: true },
            software: Box::new(software),
            others: Vec::new(),
            again: None,
        }
    }
}

impl World {
    pub fn new(random: &Random, slice_ns: u64, setups: Vec<VmSetup>, links: Vec<LinkPlan>) -> Self {
        let clock = Clock::new(random, setups.len());
        let begun = clock.now();
        let vms: Vec<_> = setups.iter().enumerate().map(|(vm, setup)| vm_plan(vm, setup)).collect();
        let networks = Vec::new();
        let on_switch = OnSwitch::default();
        let plan = Plan { slice_ns, on_switch, core: None, vms, links, networks };
        let surroundings =
            Surroundings { now: begun, epoch_seconds: 1, tsc: TSC, physical_address_bits: 40 };
        let machine = |vm: &VmPlan| (Machine::new(vm, surroundings.clone()), NoMemory);
        let machines = plan.vms.iter().map(machine).collect();
        let system = System::new(&plan, machines, 256, begun);
        let guests_of = |(vm, setup): (usize, VmSetup)| {
            let guest = |software: Option<Software>, starter: Option<Starter>| {
                let cpu = Cpu::new(clock.clone());
                let max_overrun_ns = random.pick(&[0, 1_000, MAX_OVERRUN_NS]);
                let habits = Habits { max_overrun_ns, is_batching: random.flip() };
                let (program, handler) = software.unwrap_or_else(not_started);
                let place = (vm, clock.clone(), random.fork());
                Guest::new(cpu, place, habits, (program, handler), starter)
            };
            let cpu = Cpu::new(clock.clone());
            let first = guest(Some((setup.software)(cpu.clone())), setup.again).with_cpu(cpu);
            let others = setup.others.into_iter().map(|starter| guest(None, Some(starter)));
            std::iter::once(first).chain(others).collect::<Vec<_>>()
        };
        let guests: Vec<_> = setups.into_iter().enumerate().flat_map(guests_of).collect();
        let beginnings = plan.vms.iter().map(|vm| beginning(vm, begun)).collect();
        let host = SimulatedHost::new(clock.clone(), beginnings);
        let (turns, random, operator) = (Vec::new(), random.fork(), None);
        Self { plan, system, guests, host, clock, turns, idle_ns: 0, operator, begun, random }
    }

    /// Runs the VMs until all have ended. Those that have not when `lasts_ns` have passed, or when
    /// nothing could ever happen again, is stopped.
    pub fn run(&mut self, lasts_ns: u64) {
        let horizon = self.begun.after_ns(lasts_ns);
        loop {
            if self.clock.now() >= horizon && !self.system.is_done() {
                self.system.stop(OVER, &mut self.host);
            }
            if let Some(operator) = &mut self.operator {
                operator(&mut self.system, &mut self.host, self.clock.now());
            }
            self.clock.decide();
            match self.system.next(&mut self.host) {
                Next::Run { vcpu, until } => self.turn(vcpu, until),
                Next::Idle { until } => self.idle(until, horizon),
                Next::Done => break,
            }
        }
        self.finish();
    }

    /// Whether VM `vm` ended by itself, as it wanted to.
    pub fn is_success(&self, vm: usize) -> bool {
        self.host.endings[vm] == Some(Ending::PowerOff { status: 0 })
    }

    #[track_caller]
    pub fn expect_success(&self) {
        for (vm, ending) in self.host.endings.iter().enumerate() {
            assert_eq!(*ending, Some(Ending::PowerOff { status: 0 }), "VM {vm}");
        }
    }

    fn turn(&mut self, vcpu: VcpuIndex, until: Instant) {
        let vm = vcpu.vm().0;
        assert!(until > self.clock.basis(), "a turn of no length");
        assert_eq!(self.host.endings[vm], None, "VM {vm} has ended and has a turn");
        let begin = self.clock.now();
        self.system.turn(vcpu, until, &mut self.guests[vcpu.position()], &mut self.host);
        self.turns.push(Turn { vm, begin, end: self.clock.now() });
        self.check_halted();
    }

    fn idle(&mut self, until: Instant, horizon: Instant) {
        assert!(until > self.clock.basis(), "idle for no time");
        for (vm, account) in self.system.ledger.vms.iter().enumerate() {
            let has_budget = matches!(self.plan.vms[vm].share, Share::Budget { .. });
            let may_idle =
                matches!(account.standing(), Standing::Halted | Standing::Held | Standing::Ended);
            assert!(may_idle || has_budget, "VM {vm} waits for an idle core");
        }
        let begin = self.clock.now();
        let next_key = self.host.next_key().unwrap_or(Instant::FAR_FUTURE);
        let wakes = until.min(next_key).min(horizon);
        let late_ns = self.random.below(self.random.pick(&[1, 1_000, MAX_OVERRUN_NS]));
        self.clock.sleep_until(wakes.after_ns(late_ns));
        self.idle_ns += self.clock.now().ns_since(begin);
    }

    /// After each turn: no VM sleeps while an interrupt that it would take waits.
    fn check_halted(&mut self) {
        let now = self.clock.now();
        let vms = VmIndex::first(self.system.vms.len());
        for vcpu in vms.flat_map(|vm| self.system.vcpus_of(vm)) {
            let (VmIndex(vm), guest) = (vcpu.vm(), &mut self.guests[vcpu.position()]);
            let is_ended = self.host.endings[vm].is_some();
            if is_ended || !guest.has_interrupts_enabled() {
                continue;
            }
            let machine = &self.system.vms[vm].machine;
            let has_interrupt = machine.events_for(vcpu.id()).has_interrupt;
            if has_interrupt && !machine.is_waiting_for_startup(vcpu.id()) {
                let standing = self.system.ledger.standing(vcpu);
                assert_ne!(standing, Standing::Halted, "{vcpu:?} sleeps through an interrupt");
                guest.note_pending(now);
            }
        }
    }

    /// Closes the accounts and holds them against the simulation's own.
    fn finish(&mut self) {
        assert!(self.system.is_done() && self.host.endings.iter().all(Option::is_some));
        let end = self.host.now();
        self.system.ledger.close(end);
        let ledger = &self.system.ledger;
        let elapsed_ns = end.ns_since(self.system.ledger.started());
        assert_eq!(ledger.core_sum_ns(), elapsed_ns, "the core's accounts");
        assert_eq!(ledger.check(elapsed_ns), Ok(()));
        for (vm, account) in ledger.vms.iter().enumerate() {
            let off_ns = account.waiting_ns + account.halted_ns + account.held_ns;
            let sum_ns = account.core_ns() + account.taken_ns + off_ns;
            assert_eq!(sum_ns, account.lifetime_ns, "accounts of VM {vm}: {account:?}");
            if ledger.taken_ns > 0 {
                continue;
            }
            assert_eq!(account.guest_ns, self.clock.guest_ns(vm), "guest time of VM {vm}");
            let turns_ns = self.core_ns(vm, Instant::ZERO, Instant::FAR_FUTURE);
            let off_ns = account.core_ns().abs_diff(turns_ns);
            // Switches between siblings are their VM's, and lie between turns.
            let cost_ns = if account.vcpus.is_empty() { TURN_COST_NS } else { 2 * TURN_COST_NS };
            assert!(off_ns <= account.turns * cost_ns, "core time of VM {vm}");
        }
        assert!(ledger.idle_ns.abs_diff(self.idle_ns) <= elapsed_ns / 100 + TURN_COST_NS, "idle");
        self.check_links();
    }

    fn check_links(&self) {
        for (wire, plan) in self.system.wires.iter().zip(&self.plan.links) {
            for (end, (vm, port)) in wire.ends.iter().enumerate() {
                let statistics = wire.link.statistics(LinkEnd(end));
                let LinkedPort::Com(com) = port else { unreachable!("it has serial ports alone") };
                let serial = self.system.vms[vm].machine.serial(com).expect("it is an end");
                let waits = serial.link_line().map_or(0, |line| line.in_flight()) as u64;
                let accounted = statistics.delivered + statistics.lost_total() + waits;
                assert_eq!(statistics.sent, accounted, "link {} of {vm:?}", plan.name);
            }
        }
    }

    /// Core time that `vm` had between two moments, by the turns.
    pub fn core_ns(&self, vm: usize, from: Instant, to: Instant) -> u64 {
        let own = self.turns.iter().filter(|turn| turn.vm == vm);
        own.map(|turn| turn.end.min(to).ns_since(turn.begin.max(from))).sum()
    }
}

/// What a VM begins with.
fn beginning(plan: &VmPlan, now: Instant) -> Beginning<'static> {
    let boot = Boot {
        kind: BootKind::Flat,
        pieces: Vec::new(),
        registers: CpuState::default(),
        base_memory_kib: 639,
    };
    let (plan, boot) = (Box::leak(Box::new(plan.clone())), Box::leak(Box::new(boot)));
    let facts = HostFacts { epoch_seconds: 1, tsc_hz: TSC.hz, has_tsc_deadline: false };
    let (_, machine) = switch_on::prepare(plan, boot, facts, |_, _| CpuidResult::default());
    Beginning::new(machine, Images::of(&[]), TSC, now)
}

/// The software of a processor that waits for its start-up IPI.
fn not_started() -> Software {
    let program = async { unreachable!("a processor runs that was not started") };
    (Box::pin(program), Box::new(|_| unreachable!("it takes an interrupt")))
}

fn vm_plan(vm: usize, setup: &VmSetup) -> VmPlan {
    let kernel = ImageSource::Builtin(String::from("simulated"));
    let VmSetup { devices, share, serial, .. } = setup;
    let (devices, share, serial) = (*devices, *share, *serial);
    let vcpu_count = 1 + setup.others.len() as u64;
    VmPlan {
        memory_bytes: 1 << 24,
        vcpu_count,
        devices,
        share,
        serial,
        ..VmPlan::plain(vm, kernel)
    }
}

/// A lossless link at whatever rate the guests program.
pub fn lossless(name: &str) -> LinkPlan {
    LinkPlan { name: String::from(name), baud: None, is_lossy: false, tap: None }
}
