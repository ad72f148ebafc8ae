//! The PIT: its edges and deadlines against its output looked at in every clock.

use crate::seed::{Random, for_each_seed};
use devices::pit::Pit;
use devices::time::MachineTime;

const HZ: u64 = 1_193_182;

/// The middle of clock tick `tick`.
fn at(tick: u64) -> MachineTime {
    MachineTime::from_ns((2 * tick + 1) * 500_000_000 / HZ)
}

/// A random control word or count for channel 0, with counts small enough to see many periods.
fn touch(pit: &mut Pit, random: &Random, now: MachineTime) {
    match random.below(4) {
        0 => {
            let control = 0x30 | (random.below(6) as u8) << 1;
            pit.write(0x43, control, now);
            pit.write(0x40, random.below(40) as u8, now);
            pit.write(0x40, 0, now);
        }
        1 => {
            pit.write(0x40, 1 + random.below(40) as u8, now);
            pit.write(0x40, 0, now);
        }
        2 => {
            pit.read(0x40, now);
        }
        _ => pit.write(0x43, 0, now),
    }
}

#[test]
fn pit_edges_and_deadlines_are_those_of_the_output_seen_every_clock() {
    for_each_seed(3000, |random| {
        let mut pit = Pit::new(at(0));
        let mut tick = 0;
        touch(&mut pit, random, at(0));
        for _ in 0..20 {
            touch(&mut pit, random, at(tick));
            pit.take_ticks(at(tick));
            let end = tick + random.below(200);
            let levels: Vec<bool> = (tick..=end).map(|tick| pit.output(0, at(tick))).collect();
            let rises: Vec<u64> = (tick + 1..=end)
                .filter(|&at| {
                    let index = (at - tick) as usize;
                    !levels[index - 1] && levels[index]
                })
                .collect();

            let mut stepped = pit.clone();
            for &rise in &rises {
                let deadline = stepped.deadline().expect("an edge is to come");
                assert!(at(rise - 1) < deadline && deadline <= at(rise), "deadline of {rise}");
                let just_before = MachineTime::from_ns(deadline.as_ns() - 1);
                assert_eq!(stepped.take_ticks(just_before).count, 0);
                assert_eq!(stepped.take_ticks(deadline).count, 1);
            }
            assert!(stepped.deadline().is_none_or(|deadline| deadline > at(end)));

            let mut edges = 0;
            while tick < end {
                tick = (tick + 1 + random.below(60)).min(end);
                edges += pit.take_ticks(at(tick)).count as usize;
            }
            assert_eq!(edges, rises.len());
        }
    });
}

#[test]
fn pit_count_in_mode_2_is_what_is_left_of_the_period() {
    for_each_seed(3000, |random| {
        let count = 2 + random.below(65_535);
        let mut pit = Pit::new(at(0));
        pit.write(0x43, 0x34, at(0));
        pit.write(0x40, count as u8, at(0));
        pit.write(0x40, (count >> 8) as u8, at(0));
        let mut tick = 1;
        for _ in 0..20 {
            tick += random.below(count * 3);
            pit.write(0x43, 0x00, at(tick));
            let bytes = [pit.read(0x40, at(tick)), pit.read(0x40, at(tick))];
            let expected = (count - (tick - 1) % count) as u16;
            assert_eq!(u16::from_le_bytes(bytes), expected);
        }
    });
}

#[test]
fn pit_survives_any_access() {
    for_each_seed(4000, |random| {
        let mut pit = Pit::new(MachineTime::ZERO);
        let mut now = MachineTime::ZERO;
        for _ in 0..200 {
            now = random.later(now);
            let port = random.pick(&[0x40, 0x41, 0x42, 0x43, 0x43, 0x61, random.next() as u16]);
            match random.below(4) {
                0 | 1 => pit.write(port, random.next() as u8, now),
                2 => {
                    pit.read(port, now);
                }
                _ => {
                    pit.take_ticks(now);
                    let is_later = |deadline| deadline > now || now == MachineTime::FAR_FUTURE;
                    assert!(pit.deadline().is_none_or(is_later));
                    let _ = pit.output(random.below(4) as usize, now);
                }
            }
        }
    });
}
