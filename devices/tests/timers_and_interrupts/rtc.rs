//! The clock: deadlines are exact, and steps do not change the time or the flags.

use crate::seed::{Random, for_each_seed};
use devices::rtc::{MemorySizes, Rtc};
use devices::time::MachineTime;

fn read(rtc: &mut Rtc, index: u8, now: MachineTime) -> u8 {
    rtc.write(0x70, index, now);
    rtc.read(0x71, now)
}

fn write(rtc: &mut Rtc, index: u8, value: u8, now: MachineTime) {
    rtc.write(0x70, index, now);
    rtc.write(0x71, value, now);
}

/// A clock with random sources enabled, an alarm that comes within the hour, and a start that is
/// not on a second.
fn any_clock(random: &Random, now: MachineTime) -> Rtc {
    let mut rtc = Rtc::new(random.below(1 << 33), MemorySizes::default());
    write(&mut rtc, 0x0A, 0x20 | random.below(16) as u8, now);
    if random.flip() {
        write(&mut rtc, 0x0A, 0x70, now);
        write(&mut rtc, 0x0A, 0x20 | random.below(16) as u8, now);
    }
    write(&mut rtc, 5, 0xC0, now);
    write(&mut rtc, 3, random.pick(&[0xC0, 0x15, 0x59]), now);
    write(&mut rtc, 1, random.pick(&[0xC0, 0x00, 0x30]), now);
    let enabled = random.pick(&[0x10, 0x20, 0x30, 0x40, 0x50, 0x70]);
    write(&mut rtc, 0x0B, 0x02 | enabled, now);
    read(&mut rtc, 0x0C, now);
    rtc
}

/// Brings the clock to `now` and shows a period if one is owed, as an owner does.
fn advance(rtc: &mut Rtc, owed: &mut u64, now: MachineTime) {
    rtc.advance(now);
    *owed += rtc.take_ticks().count;
    if *owed > 0 && rtc.is_period_read() {
        rtc.show_period();
        *owed -= 1;
    }
}

#[test]
fn rtc_pin_rises_at_its_deadline_and_not_before() {
    for_each_seed(3000, |random| {
        let mut now = MachineTime::from_ns(random.below(1 << 40));
        let mut rtc = any_clock(random, now);
        for _ in 0..20 {
            let Some(deadline) = rtc.deadline() else { break };
            assert!(deadline > now && !rtc.pin());
            let mut late = rtc.clone();
            advance(&mut rtc, &mut 0, MachineTime::from_ns(deadline.as_ns() - 1));
            assert!(!rtc.pin(), "before the deadline");
            assert_eq!(rtc.deadline(), Some(deadline));
            advance(&mut rtc, &mut 0, deadline);
            assert!(rtc.pin(), "at the deadline");
            advance(&mut late, &mut 0, deadline.after_ns(random.below(1 << 32)));
            assert!(late.pin(), "after the deadline");
            now = deadline.after_ns(random.below(1 << random.below(33)));
            assert_eq!(read(&mut rtc, 0x0C, now) & 0x80, 0x80);
            rtc.take_ticks();
        }
    });
}

#[test]
fn no_period_is_lost_however_late_register_c_is_read() {
    for_each_seed(1000, |random| {
        let mut rtc = Rtc::new(0, MemorySizes { below_4_gib: 1 << 24, above_4_gib: 0 });
        // 1,024 Hz, its interrupt enabled from divider time 0 on.
        write(&mut rtc, 0x0A, 0x26, MachineTime::ZERO);
        write(&mut rtc, 0x0B, 0x42, MachineTime::ZERO);
        let (mut now, mut periods, mut owed) = (MachineTime::ZERO, 0, 0);
        for _ in 0..50 {
            now = now.after_ns(random.below(20_000_000));
            advance(&mut rtc, &mut owed, now);
            while rtc.pin() {
                periods += u64::from(read(&mut rtc, 0x0C, now) >> 6 & 1);
                assert!(!rtc.pin(), "the pin falls between two");
                advance(&mut rtc, &mut owed, now);
            }
        }
        assert_eq!(periods, now.as_ns() * 1024 / 1_000_000_000);
    });
}

#[test]
fn a_new_rate_drops_the_periods_of_the_old_one() {
    let mut rtc = Rtc::new(0, MemorySizes { below_4_gib: 1 << 24, above_4_gib: 0 });
    write(&mut rtc, 0x0A, 0x26, MachineTime::ZERO);
    write(&mut rtc, 0x0B, 0x42, MachineTime::ZERO);
    let second = MachineTime::from_ns(1_000_000_000);
    write(&mut rtc, 0x0A, 0x2F, second);
    let ticks = rtc.take_ticks();
    assert_eq!((ticks.count, ticks.period_ns, ticks.is_reprogrammed), (0, 0, true));
}

#[test]
fn rtc_shows_the_same_time_and_flags_in_any_steps() {
    for_each_seed(3000, |random| {
        let mut now = MachineTime::from_ns(random.below(1 << 40));
        let mut strolled = any_clock(random, now);
        let mut leapt = strolled.clone();
        for _ in 0..random.below(30) {
            now = now.after_ns(random.below(1 << random.below(40)));
            strolled.advance(now);
        }
        for index in 0..=0x0D {
            assert_eq!(read(&mut strolled, index, now), read(&mut leapt, index, now), "{index:#x}");
        }
    });
}

#[test]
fn rtc_survives_any_access() {
    for_each_seed(4000, |random| {
        let mut rtc = Rtc::new(
            random.any(),
            MemorySizes { below_4_gib: random.any(), above_4_gib: random.any() },
        );
        let mut now = MachineTime::ZERO;
        for _ in 0..200 {
            now = random.later(now);
            let index = random.pick(&[random.below(0x0E) as u8, 0x32, random.next() as u8]);
            match random.below(4) {
                0 | 1 => write(&mut rtc, index, random.any() as u8, now),
                2 => {
                    read(&mut rtc, index, now);
                    rtc.read(random.next() as u16, now);
                }
                _ => {
                    rtc.advance(now);
                    let is_later = |deadline| deadline > now || now == MachineTime::FAR_FUTURE;
                    assert!(rtc.deadline().is_none_or(is_later));
                }
            }
        }
    });
}
