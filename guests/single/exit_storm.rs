//! Leaves the guest as often as it can: N writes to COM1's scratch register, which do nothing, or
//! with the word `cpuid` N times CPUID.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::{boot, console, power};
use core::arch::asm;

const DEFAULT_EXITS: u64 = 200_000;
const SCRATCH_PORT: u16 = console::COM1 + 7;

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    let exits = boot::number(0).unwrap_or(DEFAULT_EXITS);
    if boot::has_word("cpuid") {
        identify(exits);
    } else {
        write_scratch(exits);
    }
    console::Line::new().text("exit_storm: ").decimal(exits).text(" exits").print();
    power::off(0)
}

/// Three instructions a round, since they may be interpreted, one of which is the exit.
fn write_scratch(exits: u64) {
    // SAFETY: writes a scratch register.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: out dx, al", "dec rcx", "jnz 2b", "3:",
            in("dx") SCRATCH_PORT, in("al") 0_u8, inout("rcx") exits => _,
            options(nomem, nostack));
    }
}

/// Four instructions a round, one of which is the exit.
fn identify(exits: u64) {
    // SAFETY: RBX, which the compiler keeps to itself, is put back.
    unsafe {
        asm!("mov r9, rbx", "test r8, r8", "jz 3f",
            "2: mov eax, 1", "cpuid", "dec r8", "jnz 2b", "3:", "mov rbx, r9",
            inout("r8") exits => _, out("r9") _, out("eax") _, out("ecx") _, out("edx") _,
            options(nomem, nostack));
    }
}
