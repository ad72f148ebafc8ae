//! Processors of one VM that start, interrupt and restart each other, beside VMs that spin: no
//! interprocessor interrupt is lost or goes astray, however their turns fall.

use crate::cpu::{Cpu, Program};
use crate::seed::{Random, for_each_seed};
use crate::shares::spinner;
use crate::world::{Software, VmSetup, World};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use vmm_common::plan::Share;
use vmm_common::seam::ExitReason;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
/// Vector of the first processor's calls; the others' follow.
const CALLS: u8 = 0x50;
/// Vector of calls that only end a halt.
const WAKE: u8 = 0x7e;
const LOCAL_APIC: u64 = 0xfee0_0000;
const LIFETIMES: usize = 2;

/// What the processors of a VM share in their RAM.
struct Shared {
    processors: usize,
    calls: u32,
    random: Random,
    /// By receiver and sender.
    sent: RefCell<Vec<Vec<u32>>>,
    taken: RefCell<Vec<Vec<u32>>>,
    /// How often each processor was started, and has done all it has to.
    started: RefCell<Vec<usize>>,
    done: RefCell<Vec<usize>>,
    /// All have been started so often.
    life: Cell<usize>,
    is_over: Cell<bool>,
}

/// One processor.
struct Processor {
    shared: Rc<Shared>,
    id: usize,
    cpu: Cpu,
}

impl Shared {
    fn new(random: &Random) -> Rc<Self> {
        let processors = random.within(2, 6) as usize;
        let table = || RefCell::new(vec![vec![0; processors]; processors]);
        Rc::new(Self {
            processors,
            calls: random.within(1, 12) as u32,
            random: random.fork(),
            sent: table(),
            taken: table(),
            started: RefCell::new(vec![0; processors]),
            done: RefCell::new(vec![0; processors]),
            life: Cell::new(0),
            is_over: Cell::new(false),
        })
    }
}

impl Processor {
    async fn apic(&self, register: u64, value: u32) {
        self.cpu.store(LOCAL_APIC + register, value).await;
    }

    async fn command(&self, to: usize, low: u32) {
        self.apic(0x310, (to as u32) << 24).await;
        self.apic(0x300, low).await;
    }

    /// On, with a logical ID of its own in the flat model.
    async fn enable(&self) {
        self.cpu.disable_interrupts().await;
        self.apic(0xd0, 1 << (24 + self.id)).await;
        self.apic(0xf0, 0x1ff).await;
        self.shared.started.borrow_mut()[self.id] += 1;
    }

    /// Calls another one, once its last call has been taken: by its ID or by its logical ID.
    async fn call(&self, to: usize) {
        const LOGICAL: u32 = 1 << 11;
        self.wait(|shared| shared.sent.borrow()[to][self.id] == shared.taken.borrow()[to][self.id])
            .await;
        self.shared.sent.borrow_mut()[to][self.id] += 1;
        let vector = u32::from(CALLS) + self.id as u32;
        match self.shared.random.flip() {
            true => self.command(to, vector).await,
            false => self.command(1 << to, LOGICAL | vector).await,
        }
    }

    /// Waits until it is so: computes, spins, or halts until something comes.
    async fn wait(&self, is_so: impl Fn(&Shared) -> bool) {
        while !is_so(&self.shared) {
            match self.shared.random.below(4) {
                0 => self.cpu.compute(self.shared.random.below(50 * US)).await,
                1 => drop(self.cpu.exit(ExitReason::Pause).await),
                2 => self.cpu.wait_for_interrupt_unless(|| is_so(&self.shared)).await,
                _ => {
                    self.cpu.enable_interrupts().await;
                    self.cpu.compute(self.shared.random.below(5 * US)).await;
                    self.cpu.disable_interrupts().await;
                }
            }
        }
    }

    /// What every processor does in each of its lives.
    async fn live(&self) {
        for _ in 0..self.shared.calls {
            let to = self.shared.random.below(self.shared.processors as u64) as usize;
            let is_there = self.shared.started.borrow()[to] > 0;
            if to != self.id && is_there {
                self.call(to).await;
            }
            self.cpu.enable_interrupts().await;
            self.cpu.compute(self.shared.random.below(30 * US)).await;
            self.cpu.disable_interrupts().await;
        }
        self.wait(|shared| {
            (0..shared.processors)
                .all(|to| shared.sent.borrow()[to][self.id] == shared.taken.borrow()[to][self.id])
        })
        .await;
        self.shared.done.borrow_mut()[self.id] += 1;
    }

    async fn boot(&self) {
        const INIT: u32 = 0x4500;
        const START_UP: u32 = 0x4608;
        const ALL_OTHERS: u32 = 0b11 << 18;
        self.enable().await;
        let others = 1..self.shared.processors;
        for life in 1..=LIFETIMES {
            for id in others.clone() {
                self.command(id, INIT).await;
                self.command(id, START_UP).await;
                // To a processor that runs it means nothing.
                self.command(id, START_UP).await;
                self.wait(|shared| shared.started.borrow()[id] == life).await;
            }
            self.shared.life.set(life);
            self.command(0, ALL_OTHERS | u32::from(WAKE)).await;
            self.live().await;
            self.wait(|shared| shared.done.borrow()[1..].iter().all(|done| *done == life)).await;
            self.wait(|shared| *shared.sent.borrow() == *shared.taken.borrow()).await;
        }
        self.shared.is_over.set(true);
        self.cpu.power_off(0).await;
    }

    /// Lives, and then takes calls until the bootstrap processor stops it.
    async fn serve(&self) {
        self.enable().await;
        self.command(0, WAKE.into()).await;
        // INIT drops what is pending: no calls while it may still come.
        self.wait(|shared| shared.life.get() == shared.started.borrow()[self.id]).await;
        self.live().await;
        // The bootstrap processor may halt until then.
        self.command(0, WAKE.into()).await;
        loop {
            self.cpu.wait_for_interrupt().await;
        }
    }

    async fn interrupt(&self, vector: u8) {
        if vector != WAKE {
            let from = usize::from(vector - CALLS);
            self.shared.taken.borrow_mut()[self.id][from] += 1;
            let counts = (self.shared.taken.borrow()[self.id][from], from);
            assert_eq!(counts.0, self.shared.sent.borrow()[self.id][from], "from {from}");
        }
        self.apic(0xb0, 0).await;
        if vector != WAKE {
            // The sender may halt until its call has been taken.
            self.command(usize::from(vector - CALLS), WAKE.into()).await;
        }
    }

    fn software(self) -> Software {
        let processor = Rc::new(self);
        let main = processor.clone();
        let handler = move |vector| -> Program {
            let processor = processor.clone();
            Box::pin(async move { processor.interrupt(vector).await })
        };
        let program: Program = Box::pin(async move {
            match main.id {
                0 => main.boot().await,
                _ => main.serve().await,
            }
        });
        (program, Box::new(handler))
    }
}

fn setup(random: &Random) -> (VmSetup, Rc<Shared>) {
    let shared = Shared::new(random);
    let first = shared.clone();
    let software = move |cpu| Processor { shared: first, id: 0, cpu }.software();
    let mut setup = VmSetup::new(software);
    for id in 1..shared.processors {
        let shared = shared.clone();
        let start = move |cpu| Processor { shared: shared.clone(), id, cpu }.software();
        setup.others.push(Rc::new(start));
    }
    setup.share = Share::Weight(random.within(1, 3) as u32);
    (setup, shared)
}

#[test]
fn no_interprocessor_interrupt_is_lost_however_turns_fall() {
    for_each_seed(1_000, |random| {
        let (first, shared) = setup(random);
        let (second, other) = setup(random);
        let mut setups = vec![first, second];
        if random.flip() {
            let spins = random.fork();
            setups.push(VmSetup::new(move |cpu| spinner(cpu, 20 * MS, spins)));
        }
        let slice_ns = random.pick(&[MS, 5 * MS]);
        let mut world = World::new(random, slice_ns, setups, Vec::new());
        world.run(20_000 * MS);
        for (vm, shared) in [shared, other].into_iter().enumerate() {
            let (started, done) = (shared.started.borrow(), shared.done.borrow());
            let (sent, taken) = (shared.sent.borrow(), shared.taken.borrow());
            assert!(world.is_success(vm), "VM {vm}: {started:?} {done:?} {sent:?} {taken:?}");
            assert!(shared.is_over.get() && *sent == *taken);
            assert!(started[1..].iter().all(|lives| *lives == LIFETIMES));
        }
    });
}
