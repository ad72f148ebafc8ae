//! One behaviour of the clock a test.

use super::{MemorySizes, Rtc, alarm, calendar::DateTime};
use crate::time::MachineTime;

/// 2024-02-29 23:59:58 UTC, a Thursday.
const LEAP_DAY_END: u64 = 1_709_251_198;
const MIB: u64 = 1 << 20;
const NO_MEMORY: MemorySizes = MemorySizes { below_4_gib: 0, above_4_gib: 0 };

fn ms(ms: u64) -> MachineTime {
    MachineTime::from_ns(ms * 1_000_000)
}

fn read(rtc: &mut Rtc, index: u8, now: MachineTime) -> u8 {
    rtc.write(0x70, index, now);
    rtc.read(0x71, now)
}

fn write(rtc: &mut Rtc, index: u8, value: u8, now: MachineTime) {
    rtc.write(0x70, index, now);
    rtc.write(0x71, value, now);
}

/// Century, year, month, day, weekday, hour, minute, second.
fn shown(rtc: &mut Rtc, now: MachineTime) -> [u8; 8] {
    [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| read(rtc, index, now))
}

#[test]
fn the_date_is_shown_in_bcd_and_crosses_a_leap_day() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    let thursday = [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58];
    assert_eq!(shown(&mut rtc, ms(0)), thursday);
    assert_eq!(shown(&mut rtc, ms(999)), thursday);
    let friday = [0x20, 0x24, 0x03, 0x01, 6, 0x00, 0x00, 0x00];
    assert_eq!(shown(&mut rtc, ms(2000)), friday);
}

#[test]
fn register_b_chooses_binary_and_12_hours() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    write(&mut rtc, 0x0B, 0x04, ms(0));
    assert_eq!(shown(&mut rtc, ms(0)), [20, 24, 2, 29, 5, 0x80 | 11, 59, 58]);
    assert_eq!(read(&mut rtc, 4, ms(2000)), 12, "midnight is 12 AM");
    write(&mut rtc, 4, 0x80 | 12, ms(2000));
    write(&mut rtc, 0x0B, 0x06, ms(2000));
    assert_eq!(read(&mut rtc, 4, ms(2000)), 12, "12 PM is noon");
}

#[test]
fn a_guest_sets_the_time_with_set_and_it_runs_from_there() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    write(&mut rtc, 0x0B, 0x82, ms(300));
    for (index, value) in
        [(0x32, 0x19), (9, 0x99), (8, 0x12), (7, 0x31), (6, 6), (4, 0x23), (2, 0x59), (0, 0x59)]
    {
        write(&mut rtc, index, value, ms(400));
    }
    let eve = [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59];
    assert_eq!(shown(&mut rtc, ms(90_000)), eve, "held");
    write(&mut rtc, 0x0B, 0x02, ms(90_300));
    assert_eq!(shown(&mut rtc, ms(90_900)), eve);
    assert_eq!(shown(&mut rtc, ms(91_000)), [0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00]);
}

#[test]
fn the_weekday_is_the_guest_s_own_count() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    write(&mut rtc, 6, 1, ms(0));
    assert_eq!(read(&mut rtc, 6, ms(0)), 1);
    assert_eq!(read(&mut rtc, 6, ms(2000)), 2);
}

#[test]
fn update_in_progress_warns_before_the_second_ends() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    let before = |ns: u64| MachineTime::from_ns(1_000_000_000 - ns);
    assert_eq!(read(&mut rtc, 0x0A, before(244_001)), 0x26);
    assert_eq!(read(&mut rtc, 0x0A, before(244_000)), 0xA6);
    assert_eq!(read(&mut rtc, 0x0A, before(1)), 0xA6);
    assert_eq!(read(&mut rtc, 0x0A, before(0)), 0x26);
}

#[test]
fn the_first_update_is_half_a_second_after_the_divider_is_released() {
    for released in [10_200, 10_800] {
        let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
        write(&mut rtc, 0x0A, 0x76, ms(100));
        assert_eq!(read(&mut rtc, 0, ms(9000)), 0x58, "held");
        write(&mut rtc, 0x0A, 0x26, ms(released));
        assert_eq!(read(&mut rtc, 0, ms(released + 499)), 0x58);
        assert_eq!(read(&mut rtc, 0, ms(released + 500)), 0x59);
    }
}

#[test]
fn a_clock_held_by_the_guest_has_no_updates_and_no_alarms() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    for index in [1, 3, 5] {
        write(&mut rtc, index, 0xC0, ms(0));
    }
    write(&mut rtc, 0x0B, 0xA2, ms(0));
    assert_eq!(rtc.deadline(), None);
    assert_eq!(read(&mut rtc, 0x0C, ms(5000)) & 0x30, 0);
    write(&mut rtc, 0x0B, 0x22, ms(5000));
    assert_eq!(rtc.deadline(), Some(ms(6000)));
}

#[test]
fn the_update_interrupt_comes_every_second_and_register_c_clears_it() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    write(&mut rtc, 0x0B, 0x12, ms(0));
    assert_eq!(rtc.deadline(), Some(ms(1000)));
    rtc.advance(ms(1000));
    assert!(rtc.pin());
    assert_eq!(rtc.deadline(), None, "the pin is high already");
    assert_eq!(read(&mut rtc, 0x0C, ms(1100)) & 0x90, 0x90);
    assert!(!rtc.pin());
    assert_eq!(read(&mut rtc, 0x0C, ms(1100)) & 0x90, 0x00);
    assert_eq!(rtc.deadline(), Some(ms(2000)));
}

#[test]
fn flags_are_set_without_interrupts_too() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    rtc.advance(ms(5000));
    assert!(!rtc.pin());
    assert_eq!(rtc.deadline(), None);
    assert_eq!(read(&mut rtc, 0x0C, ms(5000)) & 0xD0, 0x50);
}

#[test]
fn the_periodic_interrupt_has_the_rate_of_register_a() {
    for (rate, period_ns) in [(6u8, 976_563u64), (15, 500_000_000), (1, 3_906_250), (3, 122_071)] {
        let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
        write(&mut rtc, 0x0A, 0x20 | rate, ms(0));
        write(&mut rtc, 0x0B, 0x42, ms(0));
        assert_eq!(rtc.deadline(), Some(MachineTime::from_ns(period_ns)), "rate {rate}");
    }
}

#[test]
fn the_alarm_matches_its_bytes_and_every_with_both_top_bits() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    write(&mut rtc, 5, 0xC0, ms(0));
    write(&mut rtc, 3, 0x00, ms(0));
    write(&mut rtc, 1, 0x05, ms(0));
    write(&mut rtc, 0x0B, 0x22, ms(0));
    assert_eq!(rtc.deadline(), Some(ms(7000)), "00:00:05");
    rtc.advance(ms(7000));
    assert_eq!(read(&mut rtc, 0x0C, ms(7000)) & 0xA0, 0xA0);
    assert_eq!(rtc.deadline(), Some(ms(7000 + 3_600_000)));
}

#[test]
fn an_alarm_that_is_no_time_never_comes() {
    let mut rtc = Rtc::new(LEAP_DAY_END, NO_MEMORY);
    write(&mut rtc, 5, 0x24, ms(0));
    write(&mut rtc, 0x0B, 0x22, ms(0));
    assert_eq!(rtc.deadline(), None);
}

#[test]
fn the_next_alarm_is_the_one_a_second_by_second_search_finds() {
    let fields = [None, Some(0), Some(1), Some(23), Some(59)];
    for hour in fields.into_iter().filter(|&hour| hour != Some(59)) {
        for (minute, second) in fields.iter().flat_map(|m| fields.iter().map(move |s| (*m, *s))) {
            let is_match = |at: u32| {
                hour.is_none_or(|hour| at / 3600 == hour)
                    && minute.is_none_or(|minute| at / 60 % 60 == minute)
                    && second.is_none_or(|second| at % 60 == second)
            };
            for start in (0..86_400).step_by(7_877).chain([86_399]) {
                let expected = (1..=86_400).find(|wait| is_match((start + wait) % 86_400));
                let found = alarm::seconds_to((hour, minute, second), start);
                assert_eq!(found, expected, "{hour:?}:{minute:?}:{second:?} after {start}");
            }
        }
    }
}

#[test]
fn dates_convert_both_ways_over_four_centuries() {
    for day in (-200_000..200_000i64).step_by(13) {
        let seconds = day * 86_400 + (day & 0xFFFF);
        assert_eq!(DateTime::from_unix(seconds).to_unix(), seconds);
    }
    let date = DateTime::from_unix(951_782_400);
    assert_eq!((date.century, date.year, date.month, date.day), (20, 0, 2, 29));
}

#[test]
fn memory_sizes_are_where_the_firmware_puts_them() {
    let bytes = |below_4_gib: u64, above_4_gib: u64, index: u8| {
        let mut rtc = Rtc::new(0, MemorySizes { below_4_gib, above_4_gib });
        [0, 1, 2].map(|n| read(&mut rtc, index + n, ms(0)))
    };
    let word = |ram: u64, index: u8| {
        let [low, high, _] = bytes(ram, 0, index);
        u16::from_le_bytes([low, high])
    };
    assert_eq!(word(16 * MIB, 0x15), 640);
    assert_eq!(word(16 * MIB, 0x17), 15 * 1024);
    assert_eq!(word(16 * MIB, 0x30), 15 * 1024);
    assert_eq!(word(16 * MIB, 0x34), 0);
    assert_eq!(word(80 * MIB, 0x34), 1024);
    assert_eq!(word(80 * MIB, 0x30), 0xFFFF);
    assert_eq!(word(u64::MAX, 0x34), 0xFFFF);
    assert_eq!(word(3584 * MIB, 0x34), 0xDF00);
    assert_eq!(bytes(3584 * MIB, 0, 0x5B), [0, 0, 0]);
    assert_eq!(bytes(3584 * MIB, 1536 * MIB, 0x5B), [0x00, 0x60, 0x00]);
    assert_eq!(bytes(3584 * MIB, 60 << 30, 0x5B), [0x00, 0x00, 0x0F]);
    assert_eq!(bytes(3584 * MIB, u64::MAX, 0x5B), [0xFF, 0xFF, 0xFF]);
}

#[test]
fn base_memory_ends_where_the_extended_bios_data_area_begins() {
    let mut rtc = Rtc::new(0, MemorySizes { below_4_gib: 16 * MIB, above_4_gib: 0 });
    rtc.set_base_memory_kib(0x26B);
    assert_eq!((read(&mut rtc, 0x15, ms(0)), read(&mut rtc, 0x16, ms(0))), (0x6B, 0x02));
    assert_eq!((read(&mut rtc, 0x14, ms(0)), read(&mut rtc, 0x17, ms(0))), (0x02, 0x00));
}

#[test]
fn the_rest_of_the_memory_keeps_what_is_written() {
    let mut rtc = Rtc::new(0, NO_MEMORY);
    write(&mut rtc, 0x0F, 0x5A, ms(0));
    write(&mut rtc, 0x7F, 0xA5, ms(0));
    assert_eq!(read(&mut rtc, 0x0F, ms(0)), 0x5A);
    assert_eq!(read(&mut rtc, 0xFF, ms(0)), 0xA5, "bit 7 masks NMI only");
    assert_eq!(read(&mut rtc, 0x0D, ms(0)), 0x80);
    assert_eq!(rtc.read(0x70, ms(0)), 0xFF);
}
