//! Bytes over links: each arrives once and in order, whether its ends poll or sleep.

use crate::hardware::Controller;
use crate::seed::{Random, for_each_seed};
use crate::station::{self, Death, End, Habit, Mail, Orders, PRINTED};
use crate::world::{VmSetup, World, lossless};
use devices::link::LinkEnd;
use std::rc::Rc;
use vmm_common::plan::SerialPlan;

const SECOND_NS: u64 = 1_000_000_000;
const SLICES_NS: [u64; 3] = [200_000, 1_000_000, 5_000_000];

/// Stations on one link, and their streams.
struct Scenario {
    world: World,
    streams: Vec<Vec<u8>>,
    mails: Vec<Rc<Mail>>,
    orders: Vec<Orders>,
}

/// Bytes of sender `end`: its number in the top two bits, random below.
fn stream(random: &Random, end: usize, len: usize) -> Vec<u8> {
    (0..len).map(|_| (end as u8) << 6 | (random.below(64) as u8)).collect()
}

fn habit(random: &Random) -> Habit {
    match random.flip() {
        true => Habit::Polls,
        false => Habit::IsInterrupted(Controller::random(random)),
    }
}

impl Scenario {
    /// `ends` stations; the one with this number dies early.
    fn new(random: &Random, ends: usize, dies: Option<usize>) -> Self {
        let most = random.pick(&[1, 20, 120]);
        let lens: Vec<usize> = (0..ends).map(|_| random.within(1, most) as usize).collect();
        let streams: Vec<_> = (0..ends).map(|end| stream(random, end, lens[end])).collect();
        let total: usize = lens.iter().sum();
        let is_switched = random.flip();
        let divisor = random.pick(&[None, Some(1), Some(12)]);
        let deaths =
            [Death::PowerOff, Death::Reset, Death::TripleFault, Death::Fault, Death::HaltForever];
        let order = |end: usize| Orders {
            habit: habit(random),
            com: if is_switched { 1 } else { 2 },
            divisor,
            has_strings: random.flip(),
            expects: total - lens[end] - dies.filter(|dead| *dead != end).map_or(0, |d| lens[d]),
            end: match dies {
                Some(dead) if dead == end => {
                    End::After(random.below(lens[end] as u64 + 1) as usize, random.pick(&deaths))
                }
                Some(_) | None => End::WhenDone,
            },
        };
        let orders: Vec<_> = (0..ends).map(order).collect();
        let mails: Vec<Rc<Mail>> = (0..ends).map(|_| Rc::default()).collect();
        let setup = |end: usize| {
            let (mail, random, order) = (mails[end].clone(), random.fork(), orders[end]);
            mail.to_send.borrow_mut().extend(&streams[end]);
            let mut setup = VmSetup::new(move |cpu| station::software(cpu, order, mail, random));
            if is_switched {
                setup.serial[0] = SerialPlan::Switched(0);
            } else {
                setup.serial[1] = SerialPlan::Link(0);
            }
            setup
        };
        let setups = (0..ends).map(setup).collect();
        let slice_ns = random.pick(&SLICES_NS);
        let world = World::new(random, slice_ns, setups, vec![lossless("wire")]);
        Self { world, streams, mails, orders }
    }

    /// What `end` received from `sender`, in order.
    fn received(&self, end: usize, sender: usize) -> Vec<u8> {
        let all = self.mails[end].received.borrow();
        all.iter().copied().filter(|byte| usize::from(byte >> 6) == sender).collect()
    }

    fn ends(&self) -> usize {
        self.mails.len()
    }

    fn check_consoles(&self) {
        for (vm, printed) in self.world.host.printed.iter().enumerate() {
            let is_dead = self.orders[vm].end != End::WhenDone;
            let whole = printed.chunks(PRINTED.len()).all(|line| line == PRINTED);
            assert!(whole || is_dead, "VM {vm} printed {:?}", String::from_utf8_lossy(printed));
        }
    }
}

#[test]
fn every_byte_on_a_lossless_link_arrives_once_and_in_order() {
    for_each_seed(1_500, |random| {
        let ends = random.within(2, 4) as usize;
        let mut scenario = Scenario::new(random, ends, None);
        scenario.world.run(20 * SECOND_NS);
        scenario.world.expect_success();
        let total: usize = scenario.streams.iter().map(Vec::len).sum();
        for end in 0..ends {
            let own = scenario.streams[end].len();
            assert_eq!(scenario.mails[end].received.borrow().len(), total - own, "at {end}");
            for sender in (0..ends).filter(|sender| *sender != end) {
                let stream = &scenario.streams[sender];
                assert_eq!(scenario.received(end, sender), *stream, "{sender} to {end}");
            }
            let statistics = scenario.world.system.wires[0].link.statistics(LinkEnd(end));
            assert_eq!((statistics.delivered, statistics.lost_total()), (own as u64, 0));
        }
        scenario.check_consoles();
    });
}

#[test]
fn peers_of_a_vm_that_ended_go_on() {
    for_each_seed(1_000, |random| {
        let ends = random.within(2, 4) as usize;
        let dead = random.below(ends as u64) as usize;
        let mut scenario = Scenario::new(random, ends, Some(dead));
        scenario.world.run(20 * SECOND_NS);
        for end in (0..scenario.ends()).filter(|end| *end != dead) {
            assert!(scenario.world.is_success(end), "{end}: {:?}", scenario.world.host.endings);
            let from_dead = scenario.received(end, dead);
            let stream = &scenario.streams[dead];
            assert!(stream.starts_with(&from_dead), "{dead} to {end}: {from_dead:?}");
        }
        scenario.check_consoles();
    });
}
