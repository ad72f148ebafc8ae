//! Interprocessor interrupts by the local APIC's interrupt command register, in both of its modes
//! (SDM vol. 3, 11.6 and 11.12.9).

use crate::common::cpu;
use crate::common::interrupt_controller::{
    APIC_BASE_MSR, APIC_ENABLED, APIC_X2, LocalApic, Register, SPURIOUS_VECTOR, X2APIC_MSRS,
};
use core::arch::asm;

const SOFTWARE_ENABLED: u32 = 1 << 8;
/// Interrupt command: the last one is still to be delivered (xAPIC mode).
const SEND_PENDING: u32 = 1 << 12;
const LEVEL_ASSERT: u32 = 1 << 14;
const LEVEL_TRIGGERED: u32 = 1 << 15;
const LOGICAL: u32 = 1 << 11;
/// Of this code alone: without [`LEVEL_ASSERT`].
const DEASSERT: u32 = 1 << 31;

/// What is sent: delivery mode, trigger mode and vector, bits of the command.
pub const LOWEST_PRIORITY: u32 = 1 << 8;
/// Reserved in the SDM; the first APICs read another one's register by it.
pub const REMOTE_READ: u32 = 3 << 8;
pub const NMI: u32 = 4 << 8;
pub const INIT: u32 = 5 << 8;
/// As Linux sends it: level-triggered.
pub const LEVEL_INIT: u32 = INIT | LEVEL_TRIGGERED;
/// What Linux sends behind that, its level off. It set arbitration ids once.
pub const INIT_DEASSERT: u32 = LEVEL_INIT | DEASSERT;
/// The vector is the number of the 4 KiB page where the processor starts in real mode.
pub const START_UP: u32 = 6 << 8;

/// The processors that it is sent to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// An APIC id; all ones are all processors.
    Physical(u32),
    /// What processors compare with their logical destination registers.
    Logical(u32),
    /// The shorthands.
    Itself,
    All,
    Others,
}

/// The local APIC of the processor that runs this, in the mode that it is in.
pub fn apic() -> LocalApic {
    if cpu::read_msr(APIC_BASE_MSR) & APIC_X2 == 0 { LocalApic::Memory } else { LocalApic::X2 }
}

pub fn has_x2apic() -> bool {
    cpu::cpuid(1).ecx >> 21 & 1 == 1
}

/// Switches to x2APIC mode.
pub fn enter_x2apic() {
    let base = cpu::read_msr(APIC_BASE_MSR) | APIC_ENABLED | APIC_X2;
    // SAFETY: the APIC's page is no RAM of this image.
    unsafe { cpu::write_msr(APIC_BASE_MSR, base) };
}

/// Lets the APIC take interrupts.
pub fn enable() {
    apic().write(Register::SpuriousVector, SOFTWARE_ENABLED | SPURIOUS_VECTOR);
}

/// Sends one interrupt.
pub fn send(what: u32, to: Destination) {
    send_by(apic(), what, to);
}

/// Sends one interrupt by an APIC that is known to be in this mode, which takes no look at it.
pub fn send_by(apic: LocalApic, what: u32, to: Destination) {
    let (destination, mode) = match to {
        Destination::Physical(id) => (id, 0),
        Destination::Logical(mask) => (mask, LOGICAL),
        Destination::Itself => (0, 1 << 18),
        Destination::All => (0, 2 << 18),
        Destination::Others => (0, 3 << 18),
    };
    let level = if what & DEASSERT == 0 { LEVEL_ASSERT } else { 0 };
    let command = what & !DEASSERT | mode | level;
    match apic {
        LocalApic::X2 => {
            let register = X2APIC_MSRS + Register::InterruptCommand as u32;
            // What it tells another processor is in memory before it is sent: WRMSR to an x2APIC
            // register does not wait for stores (SDM vol. 3, 11.12.3), a locked access does.
            // SAFETY: changes nothing but the order of accesses.
            unsafe { asm!("lock or dword ptr [rsp], 0") }
            // SAFETY: interrupts another processor, whose handlers keep what they interrupt.
            unsafe { cpu::write_msr(register, u64::from(destination) << 32 | u64::from(command)) };
        }
        LocalApic::Memory => {
            wait_until_sent(apic);
            apic.write(Register::InterruptDestination, destination << 24);
            apic.write(Register::InterruptCommand, command);
            wait_until_sent(apic);
        }
    }
}

fn wait_until_sent(apic: LocalApic) {
    while apic.read(Register::InterruptCommand) & SEND_PENDING != 0 {
        core::hint::spin_loop();
    }
}
