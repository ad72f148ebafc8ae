//! Ticks that came due while the guest did not have the core, or kept the line masked.

use super::super::tests::{bare, full, unmask};
use crate::Instant;
use crate::machine::Machine;

const MS: u64 = 1_000_000;
const EOI_COMMAND: u32 = 0x20;
const APIC: u64 = 0xfee0_0000;
const IO_APIC: u64 = 0xfec0_0000;
const HPET: u64 = 0xfed0_0000;

fn ms(ms: u64) -> Instant {
    Instant::from_ns(ms * MS)
}

fn write(machine: &mut Machine, port: u16, value: u32, now: Instant) {
    assert_eq!(machine.out(port, 1, value, now), None);
}

/// The 8254 at 250 Hz: periods of 4 ms less 545 ns.
fn start_pit(machine: &mut Machine, now: Instant) {
    for (port, value) in [(0x43, 0x34), (0x40, 4772 & 0xff), (0x40, 4772 >> 8)] {
        write(machine, port, value, now);
    }
}

/// Enables the local APIC, masks LINT0, and lets `pin` of the I/O APIC bring vector 0x44.
fn route(machine: &mut Machine, pin: u32, now: Instant) {
    machine.mmio_write(APIC + 0xf0, 4, 0x1ff, now);
    machine.mmio_write(APIC + 0x350, 4, 0x1_0700, now);
    write_entry(machine, pin, 0x44, now);
}

fn write_entry(machine: &mut Machine, pin: u32, low: u64, now: Instant) {
    machine.mmio_write(IO_APIC, 4, u64::from(0x10 + 2 * pin), now);
    machine.mmio_write(IO_APIC + 0x10, 4, low, now);
}

/// Interrupts taken at `now` by a handler that masks IRQ 0 as it enters, as i8259.c of Linux and
/// the BSDs do.
fn taken_masked(machine: &mut Machine, now: Instant) -> usize {
    let mut ticks = 0;
    while machine.has_interrupt() {
        assert_eq!(machine.acknowledge(), Some(0x20));
        write(machine, 0x21, 0xff, now);
        write(machine, 0x20, EOI_COMMAND, now);
        assert!(!machine.has_interrupt(), "masked");
        write(machine, 0x21, 0xfe, now);
        ticks += 1;
    }
    ticks
}

/// Interrupts with vector `vector` of the local APIC taken at `now`.
fn taken_by_apic(machine: &mut Machine, vector: u8, now: Instant) -> usize {
    let mut ticks = 0;
    while let Some(taken) = machine.acknowledge() {
        assert_eq!(taken, vector);
        machine.mmio_write(APIC + 0xb0, 4, 0, now);
        ticks += 1;
    }
    ticks
}

#[test]
fn owed_ticks_of_the_8254_survive_the_mask_of_its_own_handler() {
    for mut machine in [bare(), full()] {
        unmask(&mut machine, 0);
        start_pit(&mut machine, ms(0));
        machine.advance(ms(21));
        assert_eq!(taken_masked(&mut machine, ms(21)), 5);
        machine.advance(ms(25));
        assert_eq!(taken_masked(&mut machine, ms(25)), 1);
        assert_eq!(machine.dropped_ticks(), 0);
    }
}

#[test]
fn ticks_that_come_due_while_the_line_is_masked_are_owed() {
    let mut machine = bare();
    unmask(&mut machine, 0);
    write(&mut machine, 0x21, 0xff, ms(0));
    start_pit(&mut machine, ms(0));
    for now in 1..100 {
        machine.advance(ms(now));
        assert!(!machine.has_interrupt());
    }
    write(&mut machine, 0x21, 0xfe, ms(100));
    assert_eq!(taken_masked(&mut machine, ms(100)), 25);
}

#[test]
fn a_new_count_or_control_word_drops_what_the_8254_owes() {
    let mut machine = bare();
    unmask(&mut machine, 0);
    start_pit(&mut machine, ms(0));
    machine.advance(ms(21));
    start_pit(&mut machine, ms(21));
    assert_eq!(taken_masked(&mut machine, ms(21)), 1, "the one that was pending");
    machine.advance(ms(26));
    assert_eq!(taken_masked(&mut machine, ms(26)), 1);
    // The counter latch command programs nothing.
    machine.advance(ms(40));
    write(&mut machine, 0x43, 0x00, ms(40));
    assert_eq!(taken_masked(&mut machine, ms(40)), 3);
}

#[test]
fn a_second_s_worth_is_owed_and_the_rest_is_counted() {
    let mut machine = bare();
    unmask(&mut machine, 0);
    start_pit(&mut machine, ms(0));
    machine.advance(ms(3000));
    assert_eq!(taken_masked(&mut machine, ms(3000)), 250);
    assert_eq!(machine.dropped_ticks(), 500);
}

#[test]
fn a_line_masked_for_good_at_the_8259_does_not_hold_up_the_io_apic() {
    let mut machine = full();
    unmask(&mut machine, 0);
    route(&mut machine, 2, ms(0));
    write(&mut machine, 0x21, 0xff, ms(0));
    start_pit(&mut machine, ms(0));
    machine.advance(ms(21));
    assert_eq!(taken_by_apic(&mut machine, 0x44, ms(21)), 5);
    machine.advance(ms(41));
    assert_eq!(taken_by_apic(&mut machine, 0x44, ms(41)), 5);
}

#[test]
fn owed_ticks_survive_a_mask_at_the_io_apic() {
    let mut machine = full();
    route(&mut machine, 2, ms(0));
    start_pit(&mut machine, ms(0));
    write_entry(&mut machine, 2, 0x1_0044, ms(1));
    machine.advance(ms(21));
    assert_eq!(machine.acknowledge(), None);
    write_entry(&mut machine, 2, 0x44, ms(21));
    assert_eq!(taken_by_apic(&mut machine, 0x44, ms(21)), 5);
}

#[test]
fn owed_ticks_of_the_local_apic_survive_a_mask() {
    let mut machine = full();
    machine.mmio_write(APIC + 0xf0, 4, 0x1ff, ms(0));
    machine.mmio_write(APIC + 0x3e0, 4, 0xb, ms(0));
    machine.mmio_write(APIC + 0x320, 4, 0x2_0040, ms(0));
    machine.mmio_write(APIC + 0x380, 4, 4 * MS, ms(0));
    machine.advance(ms(21));
    assert_eq!(taken_by_apic(&mut machine, 0x40, ms(21)), 5);
    machine.mmio_write(APIC + 0x320, 4, 0x3_0040, ms(21));
    machine.advance(ms(41));
    assert_eq!(machine.acknowledge(), None);
    machine.mmio_write(APIC + 0x320, 4, 0x2_0040, ms(41));
    assert_eq!(taken_by_apic(&mut machine, 0x40, ms(41)), 5);
    machine.advance(ms(61));
    machine.mmio_write(APIC + 0x380, 4, 4 * MS, ms(61));
    assert_eq!(taken_by_apic(&mut machine, 0x40, ms(61)), 1, "the one that was requested");
}

#[test]
fn owed_ticks_of_the_hpet_survive_a_mask() {
    let mut machine = full();
    route(&mut machine, 16, ms(0));
    // Periodic on pin 16, value and period 4 ms.
    machine.mmio_write(HPET + 0x100, 4, 16 << 9 | 1 << 6 | 1 << 3 | 1 << 2, ms(0));
    machine.mmio_write(HPET + 0x108, 8, 40_000, ms(0));
    machine.mmio_write(HPET + 0x10, 4, 1, ms(0));
    machine.advance(ms(10));
    write_entry(&mut machine, 16, 0x1_0044, ms(11));
    machine.advance(ms(21));
    assert_eq!(machine.acknowledge(), Some(0x44), "requested before the mask");
    machine.mmio_write(APIC + 0xb0, 4, 0, ms(21));
    assert_eq!(machine.acknowledge(), None);
    write_entry(&mut machine, 16, 0x44, ms(21));
    assert_eq!(taken_by_apic(&mut machine, 0x44, ms(21)), 4);
    machine.advance(ms(41));
    machine.mmio_write(HPET + 0x108, 8, 40_000, ms(41));
    assert_eq!(taken_by_apic(&mut machine, 0x44, ms(41)), 1, "the one that was requested");
}

#[test]
fn owed_periods_of_the_clock_come_one_by_one_as_register_c_is_read() {
    let mut machine = bare();
    unmask(&mut machine, 8);
    write(&mut machine, 0x21, 0xfb, ms(0));
    write(&mut machine, 0xa1, 0xfe, ms(0));
    // 16 Hz, its interrupt enabled.
    for (index, value) in [(0x0a, 0x2c), (0x0b, 0x42)] {
        write(&mut machine, 0x70, index, ms(0));
        write(&mut machine, 0x71, value, ms(0));
    }
    machine.advance(ms(510));
    let mut ticks = 0;
    while machine.acknowledge() == Some(0x28) {
        write(&mut machine, 0x70, 0x0c, ms(510));
        assert_eq!(machine.input(0x71, 1, ms(510)) & 0xc0, 0xc0);
        write(&mut machine, 0xa0, EOI_COMMAND, ms(510));
        write(&mut machine, 0x20, EOI_COMMAND, ms(510));
        ticks += 1;
    }
    assert_eq!(ticks, 8);
}

#[test]
fn a_one_shot_of_the_8254_programmed_by_its_handler_is_one_tick_each() {
    let mut machine = bare();
    unmask(&mut machine, 0);
    let program = |machine: &mut Machine, now| {
        for (port, value) in [(0x43, 0x30), (0x40, 4772 & 0xff), (0x40, 4772 >> 8)] {
            write(machine, port, value, now);
        }
    };
    program(&mut machine, ms(0));
    for tick in 1..=10 {
        machine.advance(ms(20 * tick));
        assert_eq!(machine.acknowledge(), Some(0x20));
        write(&mut machine, 0x21, 0xff, ms(20 * tick));
        write(&mut machine, 0x20, EOI_COMMAND, ms(20 * tick));
        program(&mut machine, ms(20 * tick));
        write(&mut machine, 0x21, 0xfe, ms(20 * tick));
        assert!(!machine.has_interrupt());
    }
    assert_eq!(machine.dropped_ticks(), 0);
}
