//! One behaviour of the HPET a test. A tick is 100 ns.

use super::Hpet;
use crate::time::MachineTime;

const ENABLE: u64 = 1;
const LEGACY: u64 = 2;
const LEVEL: u64 = 1 << 1;
const INTERRUPT: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const VALUE_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;

fn at(tick: u64) -> MachineTime {
    MachineTime::from_ns(tick * 100)
}

fn route(pin: u64) -> u64 {
    pin << 9
}

/// An HPET enabled at tick 0 with timer 2 configured.
fn with_timer_2(configuration: u64, comparator: u64) -> Hpet {
    let mut hpet = Hpet::new();
    hpet.write(0x140, 8, configuration, at(0));
    hpet.write(0x148, 8, comparator, at(0));
    hpet.write(0x010, 8, ENABLE, at(0));
    hpet
}

#[test]
fn capabilities_give_the_period_the_legacy_bit_and_three_timers() {
    let value = Hpet::new().read(0x000, 8, at(0));
    assert_eq!(value >> 32, 100_000_000, "femtoseconds");
    assert_eq!(value & (1 << 15), 1 << 15);
    assert_eq!(value & (1 << 13), 1 << 13);
    assert_eq!((value >> 8) & 0x1F, 2);
    assert_eq!(value & 0xFF, 1);
}

#[test]
fn the_counter_runs_while_enabled_and_can_be_set_while_halted() {
    let mut hpet = Hpet::new();
    assert_eq!(hpet.read(0xF0, 8, at(50)), 0);
    hpet.write(0xF0, 8, 0x1_0000_0000, at(50));
    hpet.write(0x10, 8, ENABLE, at(60));
    assert_eq!(hpet.read(0xF0, 8, at(70)), 0x1_0000_000A);
    assert_eq!(hpet.read(0xF0, 4, at(70)), 0x0000_000A);
    assert_eq!(hpet.read(0xF4, 4, at(70)), 0x0000_0001);
    hpet.write(0x10, 8, 0, at(80));
    assert_eq!(hpet.read(0xF0, 8, at(1000)), 0x1_0000_0014);
}

#[test]
fn a_one_shot_timer_pulses_once() {
    let mut hpet = with_timer_2(INTERRUPT | route(20), 1000);
    assert_eq!(hpet.line(2), (Some(20), false));
    assert_eq!(hpet.deadline(), Some(at(1000)));
    hpet.advance(at(999));
    assert_eq!(hpet.take_ticks().map(|ticks| ticks.count), [0, 0, 0]);
    hpet.advance(at(5000));
    assert_eq!(hpet.take_ticks().map(|ticks| ticks.count), [0, 0, 1]);
    assert_eq!(hpet.take_ticks().map(|ticks| ticks.count), [0, 0, 0]);
}

#[test]
fn a_periodic_timer_pulses_every_period_however_late_it_is_asked() {
    let mut hpet = with_timer_2(INTERRUPT | PERIODIC | VALUE_SET | route(20), 1000);
    hpet.write(0x148, 8, 300, at(0));
    assert_eq!(hpet.read(0x148, 8, at(0)), 1000, "the second write is the period");
    hpet.advance(at(1000));
    assert_eq!(hpet.take_ticks().map(|ticks| ticks.count), [0, 0, 1]);
    assert_eq!(hpet.deadline(), Some(at(1300)));
    hpet.advance(at(2000));
    assert_eq!(hpet.take_ticks().map(|ticks| ticks.count), [0, 0, 3]);
    assert_eq!(hpet.read(0x148, 8, at(2000)), 2200);
}

#[test]
fn a_level_stays_until_its_status_bit_is_written() {
    let mut hpet = with_timer_2(INTERRUPT | LEVEL | route(16), 1000);
    hpet.advance(at(1000));
    assert_eq!(hpet.line(2), (Some(16), true));
    assert_eq!(hpet.deadline(), None, "the line is high already");
    assert_eq!(hpet.read(0x20, 8, at(1001)), 0b100);
    assert_eq!(hpet.take_ticks().map(|ticks| ticks.count), [0, 0, 0]);
    hpet.write(0x20, 8, 0b011, at(1001));
    assert_eq!(hpet.line(2), (Some(16), true));
    hpet.write(0x20, 8, 0b100, at(1001));
    assert_eq!(hpet.line(2), (Some(16), false));
}

#[test]
fn timers_0_and_1_replace_the_legacy_interrupts_when_asked() {
    let mut hpet = Hpet::new();
    for timer in 0..3 {
        hpet.write(0x100 + 0x20 * timer, 8, INTERRUPT | route(23), at(0));
    }
    hpet.write(0x10, 8, ENABLE, at(0));
    let pins = |hpet: &Hpet| [0, 1, 2].map(|timer| hpet.line(timer).0);
    assert_eq!(pins(&hpet), [Some(23); 3]);
    assert_eq!(hpet.legacy_irq(0), None);
    hpet.write(0x10, 8, ENABLE | LEGACY, at(0));
    assert!(hpet.is_legacy_replacement());
    assert_eq!(pins(&hpet), [Some(2), Some(8), Some(23)]);
    assert_eq!([0, 1, 2].map(|timer| hpet.legacy_irq(timer)), [Some(0), Some(8), None]);
}

#[test]
fn a_route_the_timer_does_not_have_is_not_taken() {
    let mut hpet = with_timer_2(INTERRUPT, 1000);
    assert_eq!(hpet.line(2), (None, false));
    hpet.write(0x140, 8, INTERRUPT | route(17), at(0));
    hpet.write(0x140, 8, INTERRUPT | route(5), at(0));
    assert_eq!((hpet.read(0x140, 8, at(0)) >> 9) & 0x1F, 17);
    let routes = hpet.read(0x144, 4, at(0));
    assert_eq!(routes & (1 << 17), 1 << 17);
    assert_eq!(routes & (1 << 5), 0);
}

#[test]
fn in_32_bit_mode_the_comparator_matches_once_a_turn() {
    let mut hpet = with_timer_2(INTERRUPT | MODE_32 | route(20), 0xFFFF_FFFF_0000_0010);
    assert_eq!(hpet.read(0x148, 8, at(0)), 0x10);
    hpet.advance(at(0x10));
    assert_eq!(hpet.take_ticks().map(|ticks| ticks.count), [0, 0, 1]);
    assert_eq!(hpet.deadline(), Some(at(0x1_0000_0010)));
}

#[test]
fn disabling_stops_interrupts_and_drops_lines() {
    let mut hpet = with_timer_2(INTERRUPT | LEVEL | route(16), 10);
    hpet.advance(at(10));
    hpet.write(0x10, 8, 0, at(11));
    assert_eq!(hpet.line(2), (None, false));
    assert_eq!(hpet.deadline(), None);
}

#[test]
fn small_reads_give_their_bytes_and_misaligned_ones_nothing() {
    let mut hpet = Hpet::new();
    assert_eq!(hpet.read(0x001, 1, at(0)), 0xA2);
    assert_eq!(hpet.read(0x002, 2, at(0)), 0x8086);
    assert_eq!(hpet.read(0x004, 8, at(0)), 0);
    assert_eq!(hpet.read(0x002, 4, at(0)), 0);
    assert_eq!(hpet.read(0x000, 3, at(0)), 0);
    hpet.write(0x10, 1, ENABLE, at(0));
    assert_eq!(hpet.read(0x10, 8, at(0)), 0, "small writes are ignored");
}

#[test]
fn nimbos_order_of_writes_leaves_a_running_counter_without_interrupts() {
    let mut hpet = Hpet::new();
    hpet.write(0x10, 8, 0, at(0));
    for timer in 0..3 {
        let offset = 0x100 + 0x20 * timer;
        let value = hpet.read(offset, 8, at(0));
        hpet.write(offset, 8, value & !INTERRUPT, at(0));
    }
    hpet.write(0x10, 8, ENABLE | LEGACY, at(0));
    assert_eq!(hpet.read(0xF0, 8, at(100_000)), 100_000, "10 ms");
    assert_eq!(hpet.deadline(), None);
}
