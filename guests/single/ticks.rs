//! Counts the ticks of every periodic timer, halting for each, and compares their number with the
//! periods that passed: on a core that others use too, ticks come late, but none is lost, and none
//! is made up.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::interrupt_controller::{
    IRQ_BASE, LVT_PERIODIC, LocalApic, Register, TIMER_VECTOR, end_of_interrupt_8259,
    end_of_interrupt_8259_slave, initialise_8259, mask_8259, unmask_8259_slave,
};
use common::{boot, clock, console, cpu, interrupts, power};

const DEFAULT_TICKS: u64 = 500;
/// It may take so many times its ticks to catch up with those that are late.
const MOST_TIMES: u64 = 20;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let ticks = boot::number(0).unwrap_or(DEFAULT_TICKS);
    let kilohertz = clock::time_stamp_kilohertz();
    let is_right = [
        count("8254", ticks, 1000, kilohertz, IRQ_BASE, start_pit, end_of_interrupt_8259),
        count("clock", ticks, 512, kilohertz, IRQ_BASE + 8, start_clock, end_of_clock),
        count("HPET", ticks, 1000, kilohertz, IRQ_BASE, start_hpet, end_of_interrupt_8259),
        count("local APIC", ticks, 1000, kilohertz, TIMER_VECTOR, start_apic, end_of_apic),
    ];
    let failed = is_right.into_iter().filter(|is_right| !is_right).count();
    power::off(failed as u32)
}

/// Counts so many ticks of `hertz`, and on until none is late; whether there were as many as
/// periods. How fast the host is makes no difference: a lost tick stays lost however long this
/// waits.
fn count(
    name: &str,
    ticks: u64,
    hertz: u64,
    kilohertz: u64,
    vector: u64,
    start: fn(),
    end: fn(),
) -> bool {
    // It starts somewhere between the two, and the core may be taken there.
    let earliest = cpu::time_stamp();
    start();
    let latest = cpu::time_stamp();
    let periods_since = |began| (cpu::time_stamp() - began) * hertz / (kilohertz * 1000);
    let (mut seen, mut passed) = (0, 0);
    // The last period may have ended since the last tick was made.
    while seen < ticks || (seen + 1 < passed && seen < ticks * MOST_TIMES) {
        if interrupts::halt_until_interrupt() == vector {
            seen += 1;
            end();
        }
        passed = periods_since(latest);
    }
    // One more for the phase, and one for a period of the clock that ended before its interrupt was
    // enabled.
    let is_right = seen + 1 >= passed && seen <= periods_since(earliest) + 2;
    mask_8259();
    let mut line = console::Line::new();
    line.text("ticks: ").text(name).text(if is_right { " PASSED" } else { " FAILED" });
    if !is_right {
        line.text(": ").decimal(seen).text(" ticks in ").decimal(passed).text(" periods");
    }
    line.print();
    is_right
}

fn start_pit() {
    const CHANNEL_0: u16 = 0x40;
    const COMMAND: u16 = 0x43;
    const COUNT: u16 = 1193; // 1,193,182 Hz / 1193 = 1 kHz
    initialise_8259(!1);
    cpu::out8(COMMAND, 0x34); // channel 0, both bytes, mode 2: periodic
    cpu::out8(CHANNEL_0, COUNT as u8);
    cpu::out8(CHANNEL_0, (COUNT >> 8) as u8);
}

const CLOCK_INDEX: u16 = 0x70;
const CLOCK_DATA: u16 = 0x71;

fn start_clock() {
    initialise_8259(!(1 << 2));
    unmask_8259_slave(!1);
    cpu::out8(CLOCK_INDEX, 0x0A);
    cpu::out8(CLOCK_DATA, 0x27); // 512 Hz: an exit takes long in an emulator, and a tick takes six
    cpu::out8(CLOCK_INDEX, 0x0B);
    cpu::out8(CLOCK_DATA, 0x42); // periodic interrupt, 24 hours
    read_clock_cause();
}

fn read_clock_cause() {
    cpu::out8(CLOCK_INDEX, 0x0C);
    cpu::in8(CLOCK_DATA);
}

fn end_of_clock() {
    end_of_interrupt_8259_slave();
    read_clock_cause();
}

fn start_hpet() {
    const BASE: u64 = 0xFED0_0000;
    let write = |offset: u64, value: u64| {
        // SAFETY: the boot tables map the page; a timer interrupts and does nothing else.
        unsafe { cpu::write_device64(BASE + offset, value) }
    };
    // SAFETY: as above.
    let period_fs = unsafe { cpu::read_device64(BASE) } >> 32;
    let period = 1_000_000_000_000 / period_fs;
    initialise_8259(!1);
    write(0x10, 0);
    write(0xF0, 0);
    write(0x100, 1 << 6 | 1 << 3 | 1 << 2); // the value follows; periodic; interrupts
    write(0x108, period);
    write(0x108, period);
    write(0x10, 0b11); // in place of the 8254; run
}

fn start_apic() {
    const DIVIDE_BY_1: u32 = 0xB;
    const PERIOD: u32 = 1_000_000; // of the nanosecond clock that CPUID 0x15 states
    if let Some(apic) = LocalApic::enable() {
        apic.write(Register::DivideConfiguration, DIVIDE_BY_1);
        apic.write(Register::TimerVector, LVT_PERIODIC | TIMER_VECTOR as u32);
        apic.write(Register::InitialCount, PERIOD);
    }
}

fn end_of_apic() {
    if let Some(apic) = LocalApic::enable() {
        apic.write(Register::EndOfInterrupt, 0);
    }
}
