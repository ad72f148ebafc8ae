//! Interprocessor interrupts against a list of who is named, built member by member from the text
//! of the manual (SDM vol. 3, 11.6.2 and 11.12.10) without bit arithmetic on sets.

use std::collections::BTreeSet;

use crate::seed::{Random, for_each_seed};
use devices::lapic::bus::{carry_commands, deliver};
use devices::lapic::{LocalApic, StartEvent, TscClock};
use devices::message::{DeliveryMode, Message};
use devices::time::MachineTime;

const NOW: MachineTime = MachineTime::ZERO;
const TPR: u64 = 0x80;
const EOI: u64 = 0xB0;
const LDR: u64 = 0xD0;
const DFR: u64 = 0xE0;
const SVR: u64 = 0xF0;
const ESR: u64 = 0x280;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;

/// How a processor's APIC has been programmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    Flat { logical_id: u8 },
    Cluster { cluster: u8, members: u8 },
    UnknownModel,
    X2,
}

#[derive(Clone, Copy, Debug)]
struct Programmed {
    mode: Mode,
    is_enabled: bool,
    is_waiting: bool,
    task_class: u8,
}

/// Members whose bit is set in the lowest `width` bits.
fn members(bits: u32, width: u32) -> BTreeSet<u32> {
    (0..width).filter(|bit| bits / 2_u32.pow(*bit) % 2 == 1).collect()
}

fn share_one(left: u32, right: u32, width: u32) -> bool {
    !members(left, width).is_disjoint(&members(right, width))
}

/// Whether the APIC with that ID is named by a destination.
fn is_named(id: u32, mode: Mode, destination: u32, is_logical: bool, is_device: bool) -> bool {
    let is_broadcast = match mode {
        Mode::Off => return false,
        Mode::X2 => destination == 0xFFFF_FFFF || is_device && destination == 0xFF,
        Mode::Flat { .. } | Mode::Cluster { .. } | Mode::UnknownModel => destination == 0xFF,
    };
    if is_broadcast {
        return true;
    }
    match (is_logical, mode) {
        (false, _) => destination == id,
        (true, Mode::Flat { logical_id }) => share_one(destination, logical_id.into(), 8),
        (true, Mode::Cluster { cluster, members }) => {
            destination / 16 == u32::from(cluster) && share_one(destination, members.into(), 4)
        }
        (true, Mode::X2) => {
            destination / 0x1_0000 == id / 16 && members(destination, 16).contains(&(id % 16))
        }
        (true, Mode::Off | Mode::UnknownModel) => false,
    }
}

fn any_mode(random: &Random) -> Mode {
    match random.below(8) {
        0 => Mode::Off,
        1 => Mode::UnknownModel,
        2 | 3 => Mode::Flat { logical_id: random.any() as u8 },
        4 | 5 => {
            Mode::Cluster { cluster: random.below(4) as u8 * 5, members: random.below(16) as u8 }
        }
        _ => Mode::X2,
    }
}

/// The APIC of processor `index`, programmed at random.
fn any_apic(random: &Random, index: u8, mode: Mode) -> (LocalApic, Programmed) {
    let mut apic = LocalApic::new(index, TscClock { hz: 1, offset: 0 });
    let mut programmed = Programmed {
        mode,
        is_enabled: random.below(4) != 0 && mode != Mode::Off,
        is_waiting: index != 0,
        task_class: random.pick(&[0, 0, 3]),
    };
    let ldr_and_dfr = match mode {
        Mode::Flat { logical_id } => (logical_id, 0xFFFF_FFFF),
        Mode::Cluster { cluster, members } => (cluster * 16 + members, 0x0FFF_FFFF),
        Mode::Off | Mode::UnknownModel | Mode::X2 => (0xFF, 0x1FFF_FFFF),
    };
    apic.mmio_write(LDR, u32::from(ldr_and_dfr.0) << 24, NOW);
    apic.mmio_write(DFR, ldr_and_dfr.1, NOW);
    apic.mmio_write(SVR, 0xFF + if programmed.is_enabled { 0x100 } else { 0 }, NOW);
    apic.mmio_write(TPR, u32::from(programmed.task_class) * 16, NOW);
    if random.below(4) != 0 {
        let start_up = Message {
            vector: 0,
            destination: 0xFF,
            is_logical: false,
            delivery_mode: DeliveryMode::StartUp,
            is_level: false,
        };
        deliver(std::slice::from_mut(&mut apic), &start_up);
        apic.take_start_event();
        programmed.is_waiting = false;
    }
    match mode {
        Mode::Off => apic.set_base(apic.base() - 0x800).expect("any state may be disabled"),
        Mode::X2 => apic.set_base(apic.base() + 0x400).expect("xAPIC to x2APIC is legal"),
        Mode::Flat { .. } | Mode::Cluster { .. } | Mode::UnknownModel => {}
    }
    (apic, programmed)
}

fn any_destination(random: &Random) -> u32 {
    let bits = random.any() as u32;
    let dense = random.next() as u32;
    let one = 1 << random.below(17);
    let id = random.below(17) as u32;
    random.pick(&[id, one, bits & 0xFF, dense & 0xFF, dense & 0xFFFF, bits, 0xFF, 0xFFFF_FFFF])
}

/// 1 to 16 processors, in modes of their own or often all in x2APIC mode.
fn any_machine(random: &Random) -> (Vec<LocalApic>, Vec<Programmed>) {
    let count = random.pick(&[1 + random.below(16) as u8, 16]);
    let is_x2 = random.below(4) == 0;
    let mode = |random| if is_x2 { Mode::X2 } else { any_mode(random) };
    (0..count).map(|index| any_apic(random, index, mode(random))).unzip()
}

/// What processors were seen to have got, which is taken from them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arrived {
    vector: BTreeSet<usize>,
    nmi: BTreeSet<usize>,
    init: BTreeSet<usize>,
    start_up: BTreeSet<usize>,
    refused: BTreeSet<usize>,
}

impl Arrived {
    fn take(apics: &mut [LocalApic], vector: u8) -> Self {
        let mut arrived = Self::default();
        for (index, apic) in apics.iter_mut().enumerate() {
            let note = |set: &mut BTreeSet<usize>| assert!(set.insert(index));
            if apic.is_requested(vector) {
                note(&mut arrived.vector);
            }
            if apic.take_nmi() {
                note(&mut arrived.nmi);
            }
            match apic.take_start_event() {
                Some(StartEvent::Init) => note(&mut arrived.init),
                Some(StartEvent::StartUp { vector: start }) => {
                    assert_eq!(start, vector);
                    note(&mut arrived.start_up);
                }
                None => {}
            }
            if errors(apic) & 0x40 != 0 {
                note(&mut arrived.refused);
            }
        }
        arrived
    }
}

fn errors(apic: &mut LocalApic) -> u32 {
    apic.mmio_write(ESR, 0, NOW);
    match apic.msr_write(0x828, 0, NOW) {
        Ok(()) => apic.msr_read(0x828, NOW).map_or(0, |errors| errors as u32),
        Err(_) if apic.base() & 0x800 == 0 => 0,
        Err(_) => apic.mmio_read(ESR, NOW),
    }
}

/// What must arrive if `named` get a message; `None` for `mode` is one that does nothing. One that
/// asks for the lowest priority gives the processors of which exactly one must get it.
fn expected(all: &[Programmed], named: &[usize], mode: Option<u8>, vector: u8) -> (Arrived, bool) {
    let some = |is_in: &dyn Fn(&Programmed) -> bool| {
        named.iter().copied().filter(|index| is_in(&all[*index])).collect::<BTreeSet<usize>>()
    };
    let enabled = some(&|one| one.is_enabled);
    let mut arrived = Arrived::default();
    match mode {
        Some(0 | 1) if vector < 16 => {
            arrived.refused = enabled.clone();
            return (arrived, mode == Some(1) && !enabled.is_empty());
        }
        Some(0) => arrived.vector = enabled,
        Some(1) => {
            let lowest = enabled.iter().map(|index| all[*index].task_class).min();
            arrived.vector = enabled
                .into_iter()
                .filter(|index| Some(all[*index].task_class) == lowest)
                .collect();
            return (arrived, true);
        }
        Some(4) => arrived.nmi = some(&|one| !one.is_waiting),
        Some(5) => arrived.init = some(&|_| true),
        Some(6) => arrived.start_up = some(&|one| one.is_waiting),
        _ => {}
    }
    (arrived, false)
}

fn check(found: Arrived, (wanted, is_one_of): (Arrived, bool), case: &str) {
    if !is_one_of || wanted.vector.is_empty() && wanted.refused.is_empty() {
        assert_eq!(found, wanted, "{case}");
        return;
    }
    assert_eq!(found.vector.len() + found.refused.len(), 1, "{case}: exactly one of {wanted:?}");
    if wanted.refused.is_empty() {
        assert!(found.vector.is_subset(&wanted.vector), "{case}: {found:?}, {wanted:?}");
    } else {
        assert!(found.refused.is_subset(&wanted.refused), "{case}: {found:?}, {wanted:?}");
    }
    assert!(found.nmi.is_empty() && found.init.is_empty() && found.start_up.is_empty());
}

#[test]
fn an_interprocessor_interrupt_reaches_those_named_and_no_other() {
    for_each_seed(20_000, |random| {
        let (mut apics, all) = any_machine(random);
        let from = random.below(all.len() as u64) as usize;
        let is_x2 = all[from].mode == Mode::X2;
        let mode = random.below(8) as u8;
        let vector = random.pick(&[random.next() as u8, 0x80 + random.below(16) as u8]);
        let is_logical = random.flip();
        let shorthand = random.pick(&[0, 0, 0, 1, 2, 3]);
        let trigger = random.below(4) as u32;
        let wide = any_destination(random);
        let destination = if is_x2 { wide } else { wide % 256 };

        let low = shorthand << 18
            | trigger << 14
            | u32::from(is_logical) << 11
            | u32::from(mode) << 8
            | u32::from(vector);
        match all[from].mode {
            Mode::Off => {}
            Mode::X2 => {
                let value = u64::from(destination) << 32 | u64::from(low);
                apics[from].msr_write(0x830, value, NOW).expect("no reserved bit");
            }
            Mode::Flat { .. } | Mode::Cluster { .. } | Mode::UnknownModel => {
                apics[from].mmio_write(ICR_HIGH, destination << 24, NOW);
                apics[from].mmio_write(ICR_LOW, low, NOW);
            }
        }
        let reached = carry_commands(&mut apics, from);

        let is_sent = match (mode, shorthand) {
            _ if all[from].mode == Mode::Off => false,
            (0 | 1, _) if vector < 16 => false,
            (0 | 4, _) => true,
            (1 | 6, shorthand) => matches!(shorthand, 0 | 3),
            (5, shorthand) => matches!(shorthand, 0 | 3) && trigger != 0b10,
            (_, _) => false,
        };
        let named: Vec<usize> = (0..all.len())
            .filter(|index| match shorthand {
                _ if !is_sent || all[*index].mode == Mode::Off => false,
                0 => is_named(*index as u32, all[*index].mode, destination, is_logical, false),
                1 => *index == from,
                2 => true,
                _ => *index != from,
            })
            .collect();
        let is_arbitrated = mode == 1 && (shorthand == 3 || is_logical);
        let mode = if mode == 1 && !is_arbitrated { 0 } else { mode };
        let case = format!("{low:#x} to {destination:#x} from {from}: {all:?}");
        let has_send_error = errors(&mut apics[from]) & 0x20 != 0;
        let found = Arrived::take(&mut apics, vector);
        let someone: BTreeSet<usize> = [&found.vector, &found.nmi, &found.init, &found.start_up]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        assert!(someone.iter().all(|index| reached.contains(*index) || shorthand == 1), "{case}");
        assert!(reached.clone().all(|index| named.contains(&index)), "{case}");
        let is_illegal = matches!(low >> 8 & 7, 0 | 1) && vector < 16;
        let is_formed = shorthand == 0 || shorthand == 3 || low >> 8 & 7 == 0;
        assert_eq!(has_send_error, is_illegal && is_formed && all[from].mode != Mode::Off);
        check(found, expected(&all, &named, is_sent.then_some(mode), vector), &case);
    });
}

#[test]
fn a_message_of_a_device_reaches_those_named_and_no_other() {
    for_each_seed(20_000, |random| {
        let (mut apics, all) = any_machine(random);
        let bits = random.pick(&[0, 0, 0, 1, 1, 2, 4, 5, 7]);
        let message = Message {
            vector: random.pick(&[random.next() as u8, 0x80 + random.below(16) as u8]),
            destination: any_destination(random) & 0xFF,
            is_logical: random.flip(),
            delivery_mode: DeliveryMode::from_bits(bits).expect("a mode of the I/O APIC"),
            is_level: random.flip(),
        };
        let delivery = deliver(&mut apics, &message);
        let named: Vec<usize> = (0..all.len())
            .filter(|index| {
                let mode = all[*index].mode;
                is_named(*index as u32, mode, message.destination, message.is_logical, true)
            })
            .collect();
        let is_vectored = bits <= 1;
        let is_accepted = named.iter().any(|index| !is_vectored || all[*index].is_enabled);
        let case = format!("{message:?}: {all:?}");
        assert_eq!(delivery.is_accepted, is_accepted, "{case}");
        let bits = if bits == 1 && !message.is_logical { 0 } else { bits };
        let found = Arrived::take(&mut apics, message.vector);
        assert!(found.vector.iter().all(|index| delivery.reached.contains(*index)), "{case}");
        check(found, expected(&all, &named, Some(bits), message.vector), &case);
    });
}

#[test]
fn an_accepted_level_is_ended_by_each_that_took_it() {
    for_each_seed(3000, |random| {
        let (mut apics, _) = any_machine(random);
        let message = Message {
            vector: 0x40 + random.below(0xC0) as u8,
            destination: any_destination(random) & 0xFF,
            is_logical: random.flip(),
            delivery_mode: random.pick(&[DeliveryMode::Fixed, DeliveryMode::LowestPriority]),
            is_level: true,
        };
        let delivery = deliver(&mut apics, &message);
        let mut ends = 0;
        for (index, apic) in apics.iter_mut().enumerate() {
            let took = apic.acknowledge() == Some(message.vector);
            assert!(!took || delivery.reached.contains(index));
            apic.mmio_write(EOI, 0, NOW);
            let _ = apic.msr_write(0x80B, 0, NOW);
            assert_eq!(apic.take_eoi(), took.then_some(message.vector));
            ends += usize::from(took);
        }
        assert_eq!(ends > 0, delivery.is_accepted);
    });
}
