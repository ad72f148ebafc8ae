//! Leaves the guest as often as it can: N writes to COM1's scratch register, which do nothing.
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
    // SAFETY: writes a scratch register; three instructions a round, since they may be interpreted.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: out dx, al", "dec rcx", "jnz 2b", "3:",
            in("dx") SCRATCH_PORT, in("al") 0_u8, inout("rcx") exits => _,
            options(nomem, nostack));
    }
    console::Line::new().text("exit_storm: ").decimal(exits).text(" exits").print();
    power::off(0)
}
