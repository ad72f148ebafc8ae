//! Consoles: what a guest prints arrives whole and in order, and what is typed too, however fast.

use crate::cpu::{Cpu, Program};
use crate::hardware::{Controller, DATA_READY, ON_DATA, Serial};
use crate::seed::{Random, for_each_seed};
use crate::shares::spinner;
use crate::world::{Software, VmSetup, World, lossless};
use std::cell::RefCell;
use std::rc::Rc;
use vmm_common::plan::SerialPlan;

const MS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000 * MS;

/// A guest that reads so many keys and then prints them all.
struct Reader {
    serial: Serial,
    /// None: it polls.
    controller: Option<Controller>,
    has_strings: bool,
    expects: usize,
    keys: RefCell<Vec<u8>>,
    random: Random,
}

impl Reader {
    fn software(self) -> Software {
        let reader = Rc::new(self);
        let main = reader.clone();
        let handler = move |vector| -> Program {
            let reader = reader.clone();
            Box::pin(async move { reader.interrupt(vector).await })
        };
        (Box::pin(async move { main.main().await }), Box::new(handler))
    }

    async fn main(&self) {
        // Whatever was typed before the driver's reset of the FIFOs must wait for it.
        self.serial.cpu.compute(self.random.pick(&[1, 100_000, 3 * MS])).await;
        self.serial.initialize(None).await;
        match self.controller {
            None => self.poll().await,
            Some(controller) => self.sleep(controller).await,
        }
        let keys = self.keys.borrow().clone();
        for line in keys.chunks(100) {
            self.serial.print(line, self.has_strings).await;
            self.serial.cpu.compute(self.random.below(50_000)).await;
        }
        self.serial.cpu.power_off(0).await;
    }

    async fn poll(&self) {
        while self.keys.borrow().len() < self.expects {
            if self.serial.status().await & DATA_READY != 0 {
                let key = self.serial.read().await;
                self.keys.borrow_mut().push(key);
            }
            if self.random.once_in(20) {
                self.serial.cpu.compute(self.random.below(200_000)).await;
            }
        }
    }

    async fn sleep(&self, controller: Controller) {
        controller.initialize(&self.serial.cpu, &[self.serial.irq]).await;
        self.serial.enable_interrupts(ON_DATA).await;
        while self.keys.borrow().len() < self.expects {
            self.serial.cpu.wait_for_interrupt().await;
        }
        self.serial.enable_interrupts(0).await;
    }

    async fn interrupt(&self, vector: u8) {
        let controller = self.controller.expect("a guest that only polls is not interrupted");
        assert_eq!(vector, controller.vector(self.serial.irq));
        while self.serial.identify_interrupt().await != 0x01 {
            let key = self.serial.read().await;
            self.keys.borrow_mut().push(key);
        }
        controller.end_of_interrupt(&self.serial.cpu, vector).await;
    }
}

/// Keys for one VM: all at once, in bursts, or one at a time.
fn type_keys(world: &mut World, vm: usize, keys: &[u8], random: &Random) {
    let (gap_ns, burst) = random.pick(&[(0, 1), (100_000, 1), (2 * MS, 40), (5 * MS, 500)]);
    let mut at = world.clock.now().after_ns(random.pick(&[0, MS]));
    for burst in keys.chunks(burst) {
        world.host.typing[vm].extend(burst.iter().map(|key| (at, *key)));
        at = at.after_ns(random.below(gap_ns + 1));
    }
}

#[test]
fn thousands_of_keys_are_read_and_printed_whole_and_in_order() {
    for_each_seed(200, |random| {
        let readers = random.within(1, 3) as usize;
        // The seed's port: a console while its interrupts are off. It needs a peer.
        let is_switched = readers > 1 && random.flip();
        let keys: Vec<Vec<u8>> = (0..readers)
            .map(|_| (0..random.pick(&[1, 17, 300, 3000])).map(|_| random.next() as u8).collect())
            .collect();
        let reader = |vm: usize| {
            let controller = (!is_switched && random.flip()).then(|| Controller::random(random));
            let (expects, has_strings) = (keys[vm].len(), random.flip());
            let fork = random.fork();
            let software = move |cpu: Cpu| {
                let (serial, keys) = (Serial::com(cpu, 1), RefCell::default());
                Reader { serial, controller, has_strings, expects, keys, random: fork }.software()
            };
            let mut setup = VmSetup::new(software);
            if is_switched {
                setup.serial[0] = SerialPlan::Switched(0);
            }
            setup
        };
        let fork = random.fork();
        let spins = random.flip().then(|| VmSetup::new(move |cpu| spinner(cpu, 30 * MS, fork)));
        let setups = (0..readers).map(reader).chain(spins).collect();
        let links = if is_switched { vec![lossless("wire")] } else { Vec::new() };
        let mut world = World::new(random, random.pick(&[200_000, MS]), setups, links);
        for (vm, keys) in keys.iter().enumerate() {
            type_keys(&mut world, vm, keys, random);
        }
        world.run(60 * SECOND_NS);
        world.expect_success();
        for (vm, keys) in keys.iter().enumerate() {
            assert_eq!(world.host.printed[vm], *keys, "VM {vm}");
        }
    });
}

#[test]
fn a_guest_that_polls_in_vain_leaves_the_core_idle_and_still_sees_time_pass() {
    /// The longest nap of a guest that polls, twice.
    const LATE_NS: u64 = 16 * MS;
    for_each_seed(50, |random| {
        let lasts_ns = random.within(20, 500) * MS;
        let setup = VmSetup::new(move |cpu| -> Software {
            let program = async move {
                let serial = Serial::com(cpu.clone(), 1);
                serial.initialize(None).await;
                let end = cpu.now().after_ns(lasts_ns);
                while cpu.now() < end {
                    assert_eq!(serial.status().await & DATA_READY, 0);
                }
                assert!(cpu.now().ns_since(end) <= LATE_NS, "at {:?} of {end:?}", cpu.now());
                cpu.power_off(0).await;
            };
            (Box::pin(program), Box::new(|vector| panic!("it gets {vector:#x}")))
        });
        let mut world = World::new(random, MS, vec![setup], Vec::new());
        world.run(2 * SECOND_NS);
        world.expect_success();
        assert!(world.idle_ns > lasts_ns / 2, "idle for {} ns of {lasts_ns}", world.idle_ns);
    });
}
