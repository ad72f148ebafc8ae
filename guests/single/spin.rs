//! Never leaves the guest by itself: counts in ring 3 for N milliseconds (default 100), with the
//! word `loops` N loops however long they take, with the word `forever` for ever. Whatever takes
//! the core away from it is the monitor's doing.
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
    let number = boot::number(0).unwrap_or(DEFAULT_MS);
    let loops = if boot::has_word("loops") {
        ring3::run(count, number)
    } else if boot::has_word("forever") {
        console::Line::new().text("spin: for ever").print();
        ring3::run(spin, u64::MAX)
    } else {
        ring3::run(spin, number.saturating_mul(clock::time_stamp_kilohertz()))
    };
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

/// Two instructions a loop, whatever the clock says: the same work in every run.
extern "C" fn count(loops: u64) -> u64 {
    // SAFETY: touches nothing.
    unsafe {
        asm!("test {left}, {left}", "jz 3f", "2: dec {left}", "jnz 2b", "3:",
            left = inout(reg) loops => _, options(nomem, nostack));
    }
    loops
}
