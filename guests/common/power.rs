//! How a guest ends its machine.

use super::cpu;
use core::arch::asm;

/// ACPI PM1a control of the machine; SLP_EN with sleep type 0 (what QEMU's q35 uses for S5).
const POWER_CONTROL_PORT: u16 = 0x604;
const SLEEP_ENABLE: u16 = 0x2000;
/// A 32-bit write here ends the machine with the value as its status (QEMU's isa-debug-exit).
const STATUS_PORT: u16 = 0xF4;

/// Ends the machine: an ordinary power-off for 0, otherwise with `status`.
pub fn off(status: u32) -> ! {
    if status == 0 {
        cpu::out16(POWER_CONTROL_PORT, SLEEP_ENABLE);
    } else {
        cpu::out32(STATUS_PORT, status);
    }
    halt_for_ever()
}

/// Faults without a handler: the processor shuts down, and the machine takes it for a reset.
pub fn triple_fault() -> ! {
    let no_gates = [0_u64; 2];
    // SAFETY: it is not safe: the processor finds no gate, no double-fault gate, and gives up.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const no_gates, options(noreturn)) }
}

/// Stops the processor with interrupts off.
pub fn halt_for_ever() -> ! {
    loop {
        // SAFETY: nothing is expected to run after this.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
