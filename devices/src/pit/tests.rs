//! The waveforms of the 8254 datasheet's mode diagrams, and the ways to read and write counts.

use super::Pit;
use crate::time::MachineTime;

const HZ: u64 = 1_193_182;

/// The middle of clock tick `tick`.
fn at(tick: u64) -> MachineTime {
    MachineTime::from_ns((2 * tick + 1) * 500_000_000 / HZ)
}

/// A PIT whose `channel` got `control` and `count` (low byte first) in tick 0.
fn programmed(channel: u16, control: u8, count: u16) -> Pit {
    let mut pit = Pit::new(at(0));
    pit.write(0x43, (channel as u8) << 6 | control, at(0));
    pit.write(0x40 + channel, count as u8, at(0));
    pit.write(0x40 + channel, (count >> 8) as u8, at(0));
    pit
}

fn wave(pit: &Pit, channel: usize, ticks: core::ops::Range<u64>) -> [u8; 16] {
    let mut wave = [b' '; 16];
    for (slot, tick) in wave.iter_mut().zip(ticks) {
        *slot = if pit.output(channel, at(tick)) { b'H' } else { b'_' };
    }
    wave
}

fn read_count(pit: &mut Pit, channel: u16, tick: u64) -> u16 {
    let low = pit.read(0x40 + channel, at(tick));
    u16::from_le_bytes([low, pit.read(0x40 + channel, at(tick))])
}

#[test]
fn mode_0_rises_once_count_plus_1_clocks_after_the_write() {
    let pit = programmed(0, 0x30, 4);
    assert_eq!(&wave(&pit, 0, 0..16), b"_____HHHHHHHHHHH");
}

#[test]
fn mode_2_is_low_for_the_last_clock_of_each_period() {
    let pit = programmed(0, 0x34, 3);
    assert_eq!(&wave(&pit, 0, 1..17), b"HH_HH_HH_HH_HH_H");
}

#[test]
fn mode_3_is_a_square_wave_with_the_longer_half_high() {
    assert_eq!(&wave(&programmed(0, 0x36, 4), 0, 1..17), b"HH__HH__HH__HH__");
    assert_eq!(&wave(&programmed(0, 0x36, 5), 0, 1..17), b"HHH__HHH__HHH__H");
}

#[test]
fn mode_4_is_low_for_one_clock_when_the_count_ends() {
    assert_eq!(&wave(&programmed(0, 0x38, 3), 0, 0..16), b"HHHH_HHHHHHHHHHH");
}

#[test]
fn modes_1_and_5_wait_for_a_gate_edge() {
    for (control, shape) in [(0x32, b"___HHHHHHHHHHHHH"), (0x3A, b"HHH_HHHHHHHHHHHH")] {
        let mut pit = programmed(2, control, 3);
        assert_eq!(&wave(&pit, 2, 1..17), b"HHHHHHHHHHHHHHHH");
        pit.write(0x61, 1, at(20));
        assert_eq!(&wave(&pit, 2, 21..37), shape);
        pit.write(0x61, 0, at(40));
        pit.write(0x61, 1, at(41));
        assert_eq!(&wave(&pit, 2, 42..58), shape, "triggered again");
    }
}

#[test]
fn a_low_gate_stops_mode_0_and_restarts_mode_2() {
    let mut pit = programmed(2, 0x30, 4);
    pit.write(0x61, 1, at(10));
    pit.write(0x61, 0, at(12));
    assert!(!pit.output(2, at(100)));
    pit.write(0x61, 1, at(100));
    assert_eq!(&wave(&pit, 2, 100..116), b"__HHHHHHHHHHHHHH");

    let mut pit = programmed(2, 0x34, 4);
    pit.write(0x61, 1, at(10));
    pit.write(0x61, 0, at(13));
    assert!(pit.output(2, at(14)), "OUT is high while the gate is low");
    pit.write(0x61, 1, at(20));
    assert_eq!(&wave(&pit, 2, 21..37), b"HHH_HHH_HHH_HHH_");
}

#[test]
fn a_new_count_waits_for_the_end_of_the_period_in_modes_2_and_3() {
    let mut pit = programmed(0, 0x34, 4);
    pit.write(0x40, 2, at(2));
    pit.write(0x40, 0, at(2));
    assert_eq!(&wave(&pit, 0, 1..17), b"HHH_H_H_H_H_H_H_");
    let mut pit = programmed(0, 0x36, 8);
    pit.write(0x40, 4, at(2));
    pit.write(0x40, 0, at(2));
    assert_eq!(&wave(&pit, 0, 1..17), b"HHHH__HH__HH__HH");
}

#[test]
fn a_new_count_in_mode_0_starts_again_and_its_first_byte_stops_the_old_one() {
    let mut pit = programmed(0, 0x30, 4);
    pit.write(0x40, 2, at(3));
    assert!(!pit.output(0, at(100)));
    pit.write(0x40, 0, at(100));
    assert_eq!(&wave(&pit, 0, 100..116), b"___HHHHHHHHHHHHH");
}

#[test]
fn counts_go_down_by_one_or_in_mode_3_by_two() {
    let mut pit = programmed(0, 0x34, 1000);
    assert_eq!(read_count(&mut pit, 0, 1), 1000);
    assert_eq!(read_count(&mut pit, 0, 1000), 1);
    assert_eq!(read_count(&mut pit, 0, 1001), 1000);
    let mut pit = programmed(0, 0x36, 1000);
    assert_eq!(read_count(&mut pit, 0, 11), 980);
    assert_eq!(read_count(&mut pit, 0, 511), 980, "and again in the low half");
    let mut pit = programmed(0, 0x30, 5);
    assert_eq!(read_count(&mut pit, 0, 6), 0);
    assert_eq!(read_count(&mut pit, 0, 7), 0xFFFF, "mode 0 wraps");
}

#[test]
fn a_count_of_0_is_the_largest() {
    let mut pit = programmed(0, 0x34, 0);
    assert_eq!(read_count(&mut pit, 0, 1), 0);
    assert_eq!(read_count(&mut pit, 0, 2), 0xFFFF);
    pit.advance(at(2));
    let ns = pit.deadline().expect("mode 2 runs").as_ns();
    assert_eq!(ns, (65_537u64 * 1_000_000_000).div_ceil(HZ));
}

#[test]
fn bcd_counts_in_decimal() {
    let mut pit = programmed(0, 0x35, 0x1000);
    assert_eq!(read_count(&mut pit, 0, 2), 0x0999);
    let mut pit = programmed(0, 0x31, 0);
    assert_eq!(read_count(&mut pit, 0, 2), 0x9999);
}

#[test]
fn a_latched_count_stays_until_it_is_read() {
    let mut pit = programmed(0, 0x34, 0x1234);
    pit.write(0x43, 0x00, at(5));
    pit.write(0x43, 0x00, at(9));
    assert_eq!(read_count(&mut pit, 0, 100), 0x1234 - 4, "the second latch was ignored");
    assert_eq!(read_count(&mut pit, 0, 101), 0x1234 - 100);
}

#[test]
fn one_byte_access_reads_and_writes_that_byte_only() {
    let mut pit = Pit::new(at(0));
    pit.write(0x43, 0x14, at(0));
    pit.write(0x40, 0x80, at(0));
    assert_eq!((pit.read(0x40, at(1)), pit.read(0x40, at(2))), (0x80, 0x7F));
    pit.write(0x43, 0x24, at(10));
    pit.write(0x40, 0x80, at(10));
    assert_eq!((pit.read(0x40, at(11)), pit.read(0x40, at(12))), (0x80, 0x7F));
}

#[test]
fn read_back_gives_status_then_count() {
    let mut pit = programmed(0, 0x34, 0x0300);
    pit.write(0x43, 0xC2, at(11));
    assert_eq!(pit.read(0x40, at(50)), 0x80 | 0x34);
    assert_eq!(read_count(&mut pit, 0, 50), 0x0300 - 10);
    pit.write(0x43, 0x36, at(60));
    pit.write(0x43, 0xE2, at(60));
    assert_eq!(pit.read(0x40, at(60)), 0xC0 | 0x36, "null count until one is written");
}

#[test]
fn port_61_gates_channel_2_and_shows_it() {
    let mut pit = programmed(2, 0x30, 100);
    assert_eq!(pit.read(0x61, at(500)) & 0x2F, 0x00);
    pit.write(0x61, 0xFD, at(500));
    assert_eq!(pit.read(0x61, at(599)) & 0x2F, 0x0D);
    assert_eq!(pit.read(0x61, at(601)) & 0x2F, 0x2D);
    let first = pit.read(0x61, MachineTime::from_ns(1_000_000)) & 0x10;
    assert_ne!(pit.read(0x61, MachineTime::from_ns(1_015_085)) & 0x10, first, "refresh toggles");
}

#[test]
fn ticks_that_came_meanwhile_are_all_handed_out() {
    let mut pit = programmed(0, 0x34, 100);
    assert_eq!(pit.take_ticks(at(100)).count, 0);
    assert_eq!(pit.take_ticks(at(101)).count, 1);
    assert_eq!(pit.take_ticks(at(1001)).count, 9);
    assert_eq!(pit.take_ticks(at(1001)).count, 0);
}

#[test]
fn a_control_word_that_raises_the_output_is_an_edge() {
    let mut pit = programmed(0, 0x30, 1000);
    assert_eq!(pit.take_ticks(at(5)).count, 0);
    pit.write(0x43, 0x34, at(5));
    assert_eq!(pit.take_ticks(at(5)).count, 1);
}

#[test]
fn nothing_runs_until_it_is_programmed() {
    let mut pit = Pit::new(at(0));
    assert_eq!(pit.deadline(), None);
    assert_eq!(pit.take_ticks(MachineTime::FAR_FUTURE).count, 0);
    assert!(pit.output(0, MachineTime::FAR_FUTURE));
    assert!(!pit.output(3, at(0)));
}
