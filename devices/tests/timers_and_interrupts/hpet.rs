//! The HPET: pulses in any steps against pulses at every deadline.

use crate::seed::for_each_seed;
use devices::hpet::Hpet;
use devices::time::MachineTime;

const INTERRUPT: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const VALUE_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;
const ROUTE_20: u64 = 20 << 9;

#[test]
fn hpet_pulses_as_often_in_any_steps_as_at_every_deadline() {
    for_each_seed(3000, |random| {
        let mut stepped = Hpet::new();
        let start = MachineTime::from_ns(random.below(1 << 40));
        let shift = random.below(20);
        let base = random.any();
        stepped.write(0xF0, 8, base, start);
        for timer in 0..3 {
            let kind = random.pick(&[0, PERIODIC | VALUE_SET]) | random.pick(&[0, MODE_32]);
            let first = base.wrapping_add((1 + random.below(1000)) << shift);
            stepped.write(0x100 + 0x20 * timer, 8, kind | INTERRUPT | ROUTE_20, start);
            stepped.write(0x108 + 0x20 * timer, 8, first, start);
            if kind & PERIODIC != 0 {
                let period = (100 + random.below(1000)) << shift;
                stepped.write(0x108 + 0x20 * timer, 8, period, start);
            }
        }
        stepped.write(0x10, 8, 1, start);
        let mut strolled = stepped.clone();
        let end = start.after_ns(random.below(1_000_000) << shift);

        let mut exact = [0; 3];
        while let Some(deadline) = stepped.deadline().filter(|&deadline| deadline <= end) {
            stepped.advance(MachineTime::from_ns(deadline.as_ns() - 1));
            assert_eq!(
                stepped.take_ticks().map(|ticks| ticks.count),
                [0; 3],
                "nothing before the deadline"
            );
            stepped.advance(deadline);
            let pulses = stepped.take_ticks().map(|ticks| ticks.count);
            assert!(pulses.contains(&1), "something at the deadline");
            assert!(stepped.deadline().is_none_or(|next| next > deadline));
            exact = [0, 1, 2].map(|timer| exact[timer] + pulses[timer]);
        }
        stepped.advance(end);

        let mut now = start;
        let mut seen = [0; 3];
        while now < end {
            now = now.after_ns((1 + random.below(300_000)) << shift).min(end);
            strolled.advance(now);
            let pulses = strolled.take_ticks().map(|ticks| ticks.count);
            seen = [0, 1, 2].map(|timer| seen[timer] + pulses[timer]);
            assert!(strolled.deadline().is_none_or(|next| next > now));
            let ticks = now.ns_since(start) / 100;
            assert_eq!(strolled.read(0xF0, 8, now), base.wrapping_add(ticks));
        }
        assert_eq!(seen, exact);
        for offset in [0x108, 0x128, 0x148] {
            assert_eq!(strolled.read(offset, 8, end), stepped.read(offset, 8, end));
        }
    });
}

#[test]
fn hpet_survives_any_access() {
    for_each_seed(4000, |random| {
        let mut hpet = Hpet::new();
        let mut now = MachineTime::ZERO;
        for _ in 0..200 {
            now = random.later(now);
            let offset = random.pick(&[0x10, 0x20, 0xF0, random.below(0x180) & !3, random.any()]);
            let size = random.pick(&[8, 8, 4, 4, 1, 2, random.next() as u8]);
            match random.below(3) {
                0 => hpet.write(offset, size, random.any(), now),
                1 => {
                    hpet.read(offset, size, now);
                }
                _ => {
                    hpet.advance(now);
                    let is_later = |deadline| deadline > now || now == MachineTime::FAR_FUTURE;
                    assert!(hpet.deadline().is_none_or(is_later));
                    let _ = hpet.line(random.below(5) as usize);
                    hpet.take_ticks();
                }
            }
        }
    });
}
