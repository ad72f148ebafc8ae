//! Never leaves the guest by itself: counts in ring 3 for N milliseconds (default 100), or for ever
//! with the word `forever`. Whatever takes the core away from it is the monitor's doing.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, clock, console, interrupt_controller, interrupts, power, ring3};
use core::arch::asm;

const DEFAULT_MS: u64 = 100;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    interrupt_controller::mask_8259();
    ring3::initialise();
    let cycles = if boot::has_word("forever") {
        console::Line::new().text("spin: for ever").print();
        u64::MAX
    } else {
        boot::number(0).unwrap_or(DEFAULT_MS).saturating_mul(clock::time_stamp_kilohertz())
    };
    let loops = ring3::run(spin, cycles);
    console::Line::new().text("spin: ").decimal(loops).text(" loops").print();
    power::off(0)
}

/// Counts in memory until the time-stamp counter has advanced that far, and looks at it (which may
/// be an exit) every 65,536 loops.
extern "C" fn spin(cycles: u64) -> u64 {
    let mut loops = 0_u64;
    // SAFETY: writes the counter it is given and reads the time-stamp counter.
    unsafe {
        asm!(
            "rdtsc",
            "shl rdx, 32",
            "lea r8, [rax + rdx]",          // start
            "2:",
            "mov ecx, 65536",
            "3:",
            "inc qword ptr [{loops}]",
            "dec ecx",
            "jnz 3b",
            "rdtsc",
            "shl rdx, 32",
            "add rax, rdx",
            "sub rax, r8",
            "cmp rax, {cycles}",
            "jb 2b",
            loops = in(reg) &raw mut loops,
            cycles = in(reg) cycles,
            out("rax") _, out("rcx") _, out("rdx") _, out("r8") _,
            options(nostack),
        );
    }
    loops
}
