//! A timer's interrupts amid #GPs: neither may cost the other, though both may come due at one
//! instruction.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;
#[path = "shared/refused.rs"]
mod refused;

use common::timer::Timer;
use common::{boot, clock, console, cpu, interrupts, power};

const DEFAULT_TICKS: u64 = 500;
const PERIOD_NANOSECONDS: u64 = 1_000_000;
/// No processor has this one.
const REFUSED: u32 = 0x4000_5000;
/// Far more than there is time for in a period.
const MOST_FAULTS: u64 = 100_000;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    refused::skip_refused();
    let ticks = boot::number(0).unwrap_or(DEFAULT_TICKS);
    let mut timer = Timer::NONE;
    timer.initialise(clock::time_stamp_kilohertz());
    let is_right = (0..ticks).all(|_| {
        let now = cpu::time_stamp();
        timer.set_alarm(now + timer.cycles(PERIOD_NANOSECONDS), now);
        fault_until_tick(&mut timer)
    });
    let mut line = console::Line::new();
    line.text("faults: ").decimal(ticks).text(" ticks amid #GPs: ");
    line.text(if is_right { "all came" } else { "one is lost" }).print();
    power::off(u32::from(!is_right))
}

/// Whether the tick came, and every access was refused.
fn fault_until_tick(timer: &mut Timer) -> bool {
    interrupts::enable();
    let seen = (0..MOST_FAULTS).find_map(|_| {
        refused::read(REFUSED);
        let is_refused = refused::was_refused();
        match interrupts::take_noted() {
            Some(vector) => Some(is_refused && timer.acknowledge(vector)),
            None if is_refused => None,
            None => Some(false),
        }
    });
    interrupts::disable();
    seen == Some(true)
}
