//! The local APIC: priorities against sets, the timer against itself in other steps.

use std::collections::BTreeSet;

use crate::seed::{Random, for_each_seed};
use devices::lapic::{LocalApic, TscClock};
use devices::time::MachineTime;

const NOW: MachineTime = MachineTime::ZERO;
const TPR: u64 = 0x80;
const PPR: u64 = 0xA0;
const EOI: u64 = 0xB0;
const SVR: u64 = 0xF0;
const TIMER: u64 = 0x320;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3E0;
const VECTOR: u8 = 0xF0;

/// Divide configuration values and what they divide by.
const DIVIDERS: [(u32, u64); 8] =
    [(11, 1), (0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128)];

fn enabled(tsc: TscClock) -> LocalApic {
    let mut apic = LocalApic::new(0, tsc);
    apic.mmio_write(SVR, 0x1FF, NOW);
    apic
}

fn any_tsc(random: &Random) -> TscClock {
    TscClock { hz: 1 + random.below(5_000_000_000), offset: random.below(1 << 40) }
}

#[derive(Default)]
struct Model {
    requested: BTreeSet<u8>,
    in_service: Vec<u8>,
    levels: BTreeSet<u8>,
    task: u8,
}

impl Model {
    fn deliverable(&self) -> Option<u8> {
        let busy = self.in_service.last().map_or(0, |vector| vector / 16);
        self.requested.last().copied().filter(|vector| vector / 16 > busy.max(self.task / 16))
    }
}

#[test]
fn local_apic_delivers_what_the_model_delivers() {
    for_each_seed(3000, |random| {
        let mut apic = enabled(TscClock { hz: 1, offset: 0 });
        let mut model = Model::default();
        for _ in 0..200 {
            let vector = 16 + random.below(240) as u8;
            match random.below(6) {
                0 | 1 => {
                    let is_level = random.flip();
                    assert_eq!(apic.accept(vector, is_level), model.requested.insert(vector));
                    model.levels.remove(&vector);
                    if is_level {
                        model.levels.insert(vector);
                    }
                }
                2 => {
                    model.task = if random.flip() { vector } else { 0 };
                    apic.mmio_write(TPR, u32::from(model.task), NOW);
                }
                3 | 4 => {
                    let expected = model.deliverable();
                    assert_eq!(apic.acknowledge(), expected);
                    model.in_service.extend(expected);
                    expected.map(|vector| model.requested.remove(&vector));
                }
                _ => {
                    apic.mmio_write(EOI, 0, NOW);
                    let ended = model.in_service.pop();
                    let forwarded = ended.filter(|vector| model.levels.contains(vector));
                    assert_eq!(apic.take_eoi(), forwarded);
                }
            }
            assert_eq!(apic.has_interrupt(), model.deliverable().is_some());
            let busy = model.in_service.last().map_or(0, |vector| vector & 0xF0);
            let priority = if model.task >> 4 >= busy >> 4 { model.task } else { busy };
            assert_eq!(apic.mmio_read(PPR, NOW), u32::from(priority));
        }
    });
}

/// Advances, takes the timer's interrupt if it came, and ends it; 1 if it came.
fn take_tick(apic: &mut LocalApic, owed: &mut u64, now: MachineTime) -> u64 {
    apic.advance(now);
    *owed += apic.take_timer_ticks().count;
    if *owed > 0 && apic.is_timer_free() {
        apic.request_timer_tick();
        *owed -= 1;
    }
    match apic.acknowledge() {
        Some(vector) => {
            assert_eq!(vector, VECTOR);
            apic.mmio_write(EOI, 0, now);
            1
        }
        None => 0,
    }
}

#[test]
fn lapic_timer_expires_as_often_in_any_steps_as_at_every_deadline() {
    for_each_seed(3000, |random| {
        let (bits, divisor) = random.pick(&DIVIDERS);
        let count = 1 + random.next() % (1 << random.below(32));
        let mode = random.below(2) as u32;
        let mut stepped = enabled(any_tsc(random));
        stepped.mmio_write(DIVIDE, bits, NOW);
        stepped.mmio_write(TIMER, mode << 17 | u32::from(VECTOR), NOW);
        stepped.mmio_write(INITIAL_COUNT, count as u32, NOW);
        let mut strolled = stepped.clone();
        let period_ns = count * divisor;
        let end = MachineTime::from_ns(random.below(period_ns * 100));

        let mut exact = 0;
        while let Some(deadline) = stepped.deadline().filter(|&deadline| deadline <= end) {
            assert_eq!(take_tick(&mut stepped, &mut 0, deadline), 1);
            exact += 1;
            assert_eq!(deadline.as_ns(), exact * period_ns);
            assert!(stepped.deadline().is_none_or(|next| next > deadline));
        }

        let mut now = NOW;
        let (mut seen, mut owed) = (0, 0);
        while now < end {
            now = now.after_ns(1 + random.below(period_ns * 3)).min(end);
            seen += take_tick(&mut strolled, &mut owed, now);
            assert!(strolled.deadline().is_none_or(|next| next > now));
            let left = match mode {
                1 => count - now.as_ns() % period_ns / divisor,
                _ => count.saturating_sub(now.as_ns() / divisor),
            };
            assert_eq!(u64::from(strolled.mmio_read(CURRENT_COUNT, now)), left);
        }
        while take_tick(&mut strolled, &mut owed, end) == 1 {
            seen += 1;
        }
        assert_eq!(seen, exact);
    });
}

#[test]
fn tsc_deadline_fires_at_the_first_nanosecond_that_reaches_it() {
    for_each_seed(5000, |random| {
        let tsc = any_tsc(random);
        let mut apic = enabled(tsc);
        apic.mmio_write(TIMER, 2 << 17 | u32::from(VECTOR), NOW);
        let target = tsc.offset + 1 + random.below(1 << 45);
        apic.set_tsc_deadline(target, NOW);
        let deadline = apic.deadline().expect("armed");
        let just_before = MachineTime::from_ns(deadline.as_ns() - 1);
        assert!(tsc.tsc_at(just_before) < target && tsc.tsc_at(deadline) >= target);
        assert_eq!(take_tick(&mut apic, &mut 0, just_before), 0);
        assert_eq!(take_tick(&mut apic, &mut 0, deadline), 1);
        assert_eq!((apic.deadline(), apic.tsc_deadline(deadline)), (None, 0));
    });
}

#[test]
fn local_apic_survives_any_access() {
    for_each_seed(4000, |random| {
        let tsc = TscClock { hz: random.any(), offset: random.any() };
        let mut apic = LocalApic::new(random.next() as u8, tsc);
        let mut now = NOW;
        for _ in 0..200 {
            now = random.later(now);
            let value = random.any();
            match random.below(9) {
                0 | 1 => apic.mmio_write(random.below(0x41) * 16, value as u32, now),
                2 => {
                    apic.mmio_read(random.pick(&[random.below(0x41) * 16, value]), now);
                }
                3 | 4 => {
                    let _ = apic.msr_write(0x800 + random.below(0x48) as u32, value, now);
                }
                5 => {
                    let _ =
                        apic.msr_read(random.pick(&[0x800 + value as u32 % 64, value as u32]), now);
                }
                6 => {
                    let legal = 0xFEE0_0100 | random.below(4) << 10;
                    let _ = apic.set_base(random.pick(&[legal, legal, legal, value]));
                }
                7 => {
                    apic.set_tsc_deadline(value, now);
                    apic.set_cr8(value as u8);
                    apic.accept(value as u8, random.flip());
                }
                _ => {
                    apic.advance(now);
                    let is_later = |deadline| deadline > now || now == MachineTime::FAR_FUTURE;
                    assert!(apic.deadline().is_none_or(is_later));
                    assert_eq!(apic.has_interrupt(), apic.acknowledge().is_some());
                    apic.take_eoi();
                    apic.take_timer_ticks();
                    apic.request_timer_tick();
                    let _ = apic.matches(value as u32, random.flip());
                }
            }
        }
    });
}
