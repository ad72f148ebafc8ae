//! Wake-up preemption: two VMs exchange a byte by interrupts and HLT beside others that spin. The
//! answer comes long before the spinning VMs' turns are over, no VM waits for longer than was
//! promised, and shares and switches stay what they are.

use crate::cpu::{Cpu, Program};
use crate::hardware::{Controller, ON_DATA, Serial};
use crate::seed::{Random, for_each_seed};
use crate::shares::spinner;
use crate::timers::sleeper;
use crate::world::{Software, VmSetup, World, lossless};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use vmm_common::plan::{SerialPlan, Share};
use vmm_common::receipt::Receipt;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const SLICE_NS: u64 = 5 * MS;
const ROUNDS: usize = 100;

/// One end of the exchange.
struct Player {
    serial: Serial,
    controller: Controller,
    random: Random,
    /// The other end has programmed its UART, and bytes arrive.
    is_ready: Rc<Cell<bool>>,
    /// Bytes that came and were not taken yet.
    came: Cell<usize>,
    took_ns: Rc<RefCell<Vec<u64>>>,
}

impl Player {
    /// What an end computes for each byte.
    async fn work(&self) {
        self.serial.cpu.compute(self.random.below(20 * US)).await;
    }

    async fn initialize(&self) {
        self.controller.initialize(&self.serial.cpu, &[self.serial.irq]).await;
        self.serial.initialize(None).await;
        self.serial.enable_interrupts(ON_DATA).await;
    }

    async fn receive(&self) {
        while self.came.get() == 0 {
            self.serial.cpu.wait_for_interrupt().await;
        }
        self.came.set(self.came.get() - 1);
    }

    async fn ask(&self) {
        self.initialize().await;
        while !self.is_ready.get() {
            self.serial.cpu.compute(100 * US).await;
        }
        for _ in 0..ROUNDS {
            let begin = self.serial.cpu.now();
            self.serial.write(b'?').await;
            self.receive().await;
            let took_ns = self.serial.cpu.now().ns_since(begin);
            self.took_ns.borrow_mut().push(took_ns);
            self.work().await;
        }
        self.serial.cpu.power_off(0).await;
    }

    async fn answer(&self) {
        self.initialize().await;
        self.is_ready.set(true);
        for _ in 0..ROUNDS {
            self.receive().await;
            self.work().await;
            self.serial.write(b'!').await;
        }
        self.serial.cpu.power_off(0).await;
    }

    async fn interrupt(&self, vector: u8) {
        while self.serial.identify_interrupt().await != 1 {
            self.serial.read().await;
            self.came.set(self.came.get() + 1);
        }
        self.controller.end_of_interrupt(&self.serial.cpu, vector).await;
    }

    fn software(self, asks: bool) -> Software {
        let player = Rc::new(self);
        let main = player.clone();
        let handler = move |vector| -> Program {
            let player = player.clone();
            Box::pin(async move { player.interrupt(vector).await })
        };
        let program: Program = Box::pin(async move {
            match asks {
                true => main.ask().await,
                false => main.answer().await,
            }
        });
        (program, Box::new(handler))
    }
}

/// The two ends, and the list of what each round took.
fn pair(random: &Random) -> (Vec<VmSetup>, Rc<RefCell<Vec<u64>>>) {
    let took_ns = Rc::new(RefCell::new(Vec::new()));
    let is_ready = Rc::new(Cell::new(false));
    let setup = |asks: bool| {
        let (is_ready, took_ns, random) = (is_ready.clone(), took_ns.clone(), random.fork());
        let mut setup = VmSetup::new(move |cpu: Cpu| {
            let controller = Controller::random(&random);
            let (serial, came) = (Serial::com(cpu, 2), Cell::new(0));
            Player { serial, controller, random, is_ready, came, took_ns }.software(asks)
        });
        setup.serial[1] = SerialPlan::Link(0);
        setup
    };
    (vec![setup(true), setup(false)], took_ns)
}

fn spins(random: &Random, weight: u32, lasts_ns: u64) -> VmSetup {
    let fork = random.fork();
    let setup = VmSetup::new(move |cpu| spinner(cpu, lasts_ns, fork));
    VmSetup { share: Share::Weight(weight), ..setup }
}

fn expect_promises_kept(world: &World) {
    for (vm, account) in world.system.ledger.vms.iter().enumerate() {
        let (longest_ns, promised_ns) =
            (account.longest_own_blackout_ns, world.plan.worst_blackout_ns(vm));
        assert!(longest_ns <= promised_ns, "VM {vm}: {longest_ns} of {promised_ns}");
    }
}

#[test]
fn a_byte_and_its_answer_by_interrupts_do_not_wait_for_a_slice() {
    for_each_seed(60, |random| {
        let (mut setups, took_ns) = pair(random);
        let spinners = random.within(1, 3);
        setups.extend((0..spinners).map(|_| spins(random, 1, 400 * MS)));
        let mut world = World::new(random, SLICE_NS, setups, vec![lossless("wire")]);
        world.run(20_000 * MS);
        world.expect_success();
        expect_promises_kept(&world);
        let mut took_ns = took_ns.take();
        took_ns.sort_unstable();
        let median_ns = took_ns[ROUNDS / 2];
        assert!(median_ns <= 500 * US, "{median_ns} ns in the median: {took_ns:?}");
    });
}

#[test]
fn vms_that_sleep_keep_no_vm_from_its_share_and_switches_are_few() {
    for_each_seed(60, |random| {
        let lasts_ns = 2_000 * MS;
        let weights: Vec<u32> = (0..random.within(2, 3)).map(|_| random.pick(&[1, 2, 3])).collect();
        let mut setups: Vec<_> =
            weights.iter().map(|weight| spins(random, *weight, 2 * lasts_ns)).collect();
        for _ in 0..random.within(1, 3) {
            let fork = random.fork();
            setups.push(VmSetup::new(move |cpu| sleeper(cpu, u64::MAX, fork)));
        }
        let mut world = World::new(random, SLICE_NS, setups, Vec::new());
        let begin = world.clock.now();
        world.run(lasts_ns);
        expect_promises_kept(&world);
        let end = begin.after_ns(lasts_ns);
        // The spinning VMs divide what is left by their weights.
        let received: Vec<u64> =
            (0..weights.len()).map(|vm| world.core_ns(vm, begin, end)).collect();
        let (sum, total_ns) = (weights.iter().sum::<u32>(), received.iter().sum::<u64>());
        for (weight, ns) in weights.iter().zip(&received) {
            let due_ns = total_ns * u64::from(*weight) / u64::from(sum);
            assert!(ns.abs_diff(due_ns) * 100 <= total_ns, "{ns} of {due_ns}");
        }
        // What one turn of a spinning VM may be divided into, and the turns of those that sleep.
        let turns: u64 = world.turns.len() as u64;
        let laps = total_ns / (SLICE_NS * u64::from(sum)) * weights.len() as u64;
        assert!(turns <= laps * (2 * 32 + 1 + 3) * 2, "{turns} turns in {laps} quanta");
        let receipt = Receipt::new(&world.plan, &world.system, world.system.ledger.core_sum_ns());
        assert!(receipt.share_error_ppm().is_none_or(|ppm| ppm <= 10_000), "{receipt}");
    });
}

#[test]
fn what_the_host_takes_is_in_no_wait_of_a_vm_that_slept() {
    for_each_seed(60, |random| {
        let mut setups = vec![spins(random, 1, 60_000 * MS)];
        for _ in 0..random.within(1, 2) {
            let fork = random.fork();
            setups.push(VmSetup::new(move |cpu| sleeper(cpu, u64::MAX, fork)));
        }
        let mut world = World::new(random, SLICE_NS, setups, Vec::new());
        world.clock.stall_once_in(random.pick(&[20, 100, 1_000]));
        world.run(20_000 * MS);
        expect_promises_kept(&world);
    });
}
