//! Sleeps and wakes: halts through N ticks of a 1 kHz timer. The PIT is periodic; with the word
//! `apic`, the local APIC (or whatever timer there is) is asked for each tick.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::interrupt_controller::{IRQ_BASE, end_of_interrupt_8259, initialise_8259};
use common::timer::Timer;
use common::{boot, clock, console, cpu, interrupts, power};

const DEFAULT_TICKS: u64 = 500;
const TICK_NS: u64 = 1_000_000;
const PIT_CHANNEL_0: u16 = 0x40;
const PIT_COMMAND: u16 = 0x43;
const PIT_COUNT: u16 = 1193; // 1,193,182 Hz / 1193 = 1 kHz

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let ticks = boot::number(0).unwrap_or(DEFAULT_TICKS);
    let name = if boot::has_word("apic") { with_alarms(ticks) } else { with_pit(ticks) };
    let mut line = console::Line::new();
    line.text("hlt_loop: ").decimal(ticks).text(" ticks of ").text(name).print();
    power::off(0)
}

fn with_pit(ticks: u64) -> &'static str {
    initialise_8259(!1);
    cpu::out8(PIT_COMMAND, 0x34); // channel 0, both bytes, mode 2: periodic
    cpu::out8(PIT_CHANNEL_0, PIT_COUNT as u8);
    cpu::out8(PIT_CHANNEL_0, (PIT_COUNT >> 8) as u8);
    let mut seen = 0;
    while seen < ticks {
        if interrupts::halt_until_interrupt() == IRQ_BASE {
            seen += 1;
            end_of_interrupt_8259();
        }
    }
    "the PIT"
}

fn with_alarms(ticks: u64) -> &'static str {
    let mut timer = Timer::NONE;
    timer.initialise(clock::time_stamp_kilohertz());
    let tick = timer.cycles(TICK_NS);
    let mut due = cpu::time_stamp() + tick;
    let mut seen = 0;
    while seen < ticks {
        let now = cpu::time_stamp();
        if now >= due {
            due = now + tick; // late ticks are not caught up
            seen += 1;
            continue;
        }
        timer.set_alarm(due, now);
        let vector = interrupts::halt_until_interrupt();
        timer.acknowledge(vector);
    }
    timer.name()
}
