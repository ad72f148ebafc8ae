//! The HPET, by accesses of 8 bytes only, and what is measured by it.

use crate::common::cpu;
use crate::report::{Verdict, expect};
use core::arch::asm;

/// Where it lies.
pub const ADDRESS: u64 = 0xFED0_0000;
/// The register that has the period, and the number of the last timer.
pub const CAPABILITIES: u64 = 0;
const CONFIGURATION: u64 = 0x10;
const COUNTER: u64 = 0xF0;
const FIRST_TIMER: u64 = 0x100;
const TIMER_STRIDE: u64 = 0x20;
/// The specification allows no period above 100 ns.
const LONGEST_PERIOD_FS: u64 = 100_000_000;
const ROUNDS: usize = 5;
const ROUND_NS: u64 = 10_000_000;
/// Tries: a preemption between two reads spoils one of them, hardly all.
const LOOKS: u32 = 5;

/// Reads a register.
pub fn read(register: u64) -> u64 {
    // SAFETY: the page is mapped, and a read of any of its registers is harmless.
    unsafe { cpu::read_device64(ADDRESS + register) }
}

fn write(register: u64, value: u64) {
    // SAFETY: the page is mapped, and nothing in it makes a device use RAM.
    unsafe { cpu::write_device64(ADDRESS + register, value) }
}

/// Starts the counter with legacy replacement, and no timer.
pub fn step() -> Verdict {
    const HAS_LEGACY: u64 = 1 << 15;
    const INTERRUPTS: u64 = 1 << 2;
    const ENABLED_AND_LEGACY: u64 = 3;
    let capabilities = read(CAPABILITIES);
    assert!(capabilities != u64::MAX && capabilities >> 32 != 0, "there is no HPET");
    expect("legacy replacement", HAS_LEGACY, capabilities & HAS_LEGACY)?;
    expect("a period that is too long", 0, u64::from(period_fs() > LONGEST_PERIOD_FS))?;
    write(CONFIGURATION, 0);
    let stopped = read(COUNTER);
    expect("a stopped counter", stopped, read(COUNTER))?;
    for timer in 0..=capabilities >> 8 & 0x1F {
        let register = FIRST_TIMER + timer * TIMER_STRIDE;
        let configuration = read(register) & !INTERRUPTS;
        write(register, configuration | INTERRUPTS);
        disable_interrupts(timer);
        expect("a timer's configuration", configuration, read(register))?;
    }
    write(CONFIGURATION, ENABLED_AND_LEGACY);
    expect("the configuration", ENABLED_AND_LEGACY, read(CONFIGURATION))?;
    wait(ROUND_NS);
    Ok(())
}

/// Clears a timer's enable bit where it is, by the one instruction that compilers make of it.
fn disable_interrupts(timer: u64) {
    // SAFETY: the page is mapped, and the timer raises no interrupt then.
    unsafe {
        asm!(
            "and qword ptr [{} + {} + 0x100], -5",
            in(reg) ADDRESS,
            in(reg) timer * TIMER_STRIDE,
            options(nostack)
        );
    }
}

/// The counter.
pub fn count() -> u64 {
    read(COUNTER)
}

/// Nanoseconds since the counter was at `start`.
pub fn nanoseconds_since(start: u64) -> u64 {
    nanoseconds(count().wrapping_sub(start))
}

/// Reads the counter in a tight loop for that long.
pub fn wait(nanoseconds: u64) {
    let ticks = nanoseconds * 1_000_000 / period_fs();
    let start = count();
    while count().wrapping_sub(start) < ticks {}
}

/// The rate in kHz of something that counts up: the median of 5 rounds of 10 ms.
pub fn measure_kilohertz(counter: impl Fn() -> u64) -> u64 {
    let mut rates = [0; ROUNDS];
    for rate in &mut rates {
        let (start, start_value) = moment(&counter);
        wait(ROUND_NS);
        let (end, end_value) = moment(&counter);
        let elapsed_ns = nanoseconds(end - start);
        *rate = (end_value - start_value) * 1_000_000 / elapsed_ns;
    }
    rates.sort_unstable();
    let [.., median, _, _] = rates;
    median
}

/// The HPET's counter and another one at the same time.
fn moment(counter: &impl Fn() -> u64) -> (u64, u64) {
    let mut best = (0, 0);
    let mut best_width = u64::MAX;
    for _ in 0..LOOKS {
        let before = count();
        let value = counter();
        let width = count() - before;
        if width < best_width {
            best = (before + width / 2, value);
            best_width = width;
        }
    }
    best
}

fn period_fs() -> u64 {
    read(CAPABILITIES) >> 32
}

fn nanoseconds(ticks: u64) -> u64 {
    ticks * period_fs() / 1_000_000
}
