//! Does one thing N times that may leave the guest: writes to COM1's scratch register, which do
//! nothing, or what a word on the command line names. Loops are counted, as a bench counts what
//! they take.
#![no_std]
#![no_main]

#[path = "../common/mod.rs"]
mod common;

use common::interrupt_controller::LocalApic;
use common::{boot, console, interrupts, power};
use core::arch::asm;

const DEFAULT_EXITS: u64 = 200_000;
const STATUS_NO_APIC: u32 = 1;
const SCRATCH_PORT: u16 = console::COM1 + 7;
/// The 8259 pair's edge/level control registers, and two ports behind them that are absent.
const TRIGGER_PORT: u16 = 0x4d0;
const ABSENT_PORT: u16 = 0x1230;
/// x2APIC MSRs: end of interrupt, interrupt command.
const END_OF_INTERRUPT: u32 = 0x80b;
const COMMAND: u32 = 0x830;
/// To this processor, fixed, vector 49.
const COMMAND_SELF: u32 = 1 << 18 | 49;

/// A word, and what is done so many times.
type Storm = (&'static str, fn(u64));

/// The first one is done without a word.
const STORMS: [Storm; 10] = [
    ("scratch", |rounds| write_byte(SCRATCH_PORT, rounds)),
    ("cpuid", identify),
    ("cr8_read", read_cr8),
    ("cr8_write", write_cr8),
    ("absent", |rounds| read_wide(ABSENT_PORT, rounds)),
    ("pic_read", |rounds| read_wide(TRIGGER_PORT, rounds)),
    ("pic_write", |rounds| write_wide(TRIGGER_PORT, rounds)),
    ("wbinvd", write_back),
    ("eoi", end_interrupt),
    ("self_ipi", interrupt_self),
];

#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    console::initialise(console::COM1);
    interrupts::initialise();
    let exits = boot::number(0).unwrap_or(DEFAULT_EXITS);
    if LocalApic::enable().is_none() && (boot::has_word("eoi") || boot::has_word("self_ipi")) {
        console::Line::new().text("exit_storm: no local APIC").print();
        power::off(STATUS_NO_APIC);
    }
    let (_, storm) = STORMS.iter().find(|(word, _)| boot::has_word(word)).unwrap_or(&STORMS[0]);
    storm(exits);
    console::Line::new().text("exit_storm: ").decimal(exits).text(" exits").print();
    power::off(0)
}

/// Three instructions a round.
fn write_byte(port: u16, rounds: u64) {
    // SAFETY: writes a register that does nothing.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: out dx, al", "dec rcx", "jnz 2b", "3:",
            in("dx") port, in("al") 0_u8, inout("rcx") rounds => _,
            options(nomem, nostack));
    }
}

/// Three instructions a round.
fn read_wide(port: u16, rounds: u64) {
    // SAFETY: reads a port, which cannot touch memory.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: in eax, dx", "dec rcx", "jnz 2b", "3:",
            in("dx") port, out("eax") _, inout("rcx") rounds => _, options(nomem, nostack));
    }
}

/// Three instructions a round.
fn write_wide(port: u16, rounds: u64) {
    // SAFETY: all lines edge-triggered, as they are.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: out dx, eax", "dec rcx", "jnz 2b", "3:",
            in("dx") port, in("eax") 0_u32, inout("rcx") rounds => _, options(nomem, nostack));
    }
}

/// Four instructions a round.
fn identify(rounds: u64) {
    // SAFETY: RBX, which the compiler keeps to itself, is put back.
    unsafe {
        asm!("mov r9, rbx", "test r8, r8", "jz 3f",
            "2: mov eax, 1", "cpuid", "dec r8", "jnz 2b", "3:", "mov rbx, r9",
            inout("r8") rounds => _, out("r9") _, out("eax") _, out("ecx") _, out("edx") _,
            options(nomem, nostack));
    }
}

/// Three instructions a round.
fn read_cr8(rounds: u64) {
    // SAFETY: reads the task priority.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: mov rax, cr8", "dec rcx", "jnz 2b", "3:",
            out("rax") _, inout("rcx") rounds => _, options(nomem, nostack));
    }
}

/// Three instructions a round.
fn write_cr8(rounds: u64) {
    // SAFETY: writes the task priority, which stays 0.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: mov cr8, rax", "dec rcx", "jnz 2b", "3:",
            in("rax") 0_u64, inout("rcx") rounds => _, options(nomem, nostack));
    }
}

/// Three instructions a round.
fn write_back(rounds: u64) {
    // SAFETY: memory keeps what it holds.
    unsafe {
        asm!("test rcx, rcx", "jz 3f", "2: wbinvd", "dec rcx", "jnz 2b", "3:",
            inout("rcx") rounds => _, options(nostack));
    }
}

/// Three instructions a round.
fn end_interrupt(rounds: u64) {
    // SAFETY: no interrupt is in service.
    unsafe {
        asm!("test r8, r8", "jz 3f", "2: wrmsr", "dec r8", "jnz 2b", "3:",
            inout("r8") rounds => _, in("ecx") END_OF_INTERRUPT, in("eax") 0_u32, in("edx") 0_u32,
            options(nomem, nostack));
    }
}

/// Fourteen instructions a round, two of them the handler's.
fn interrupt_self(rounds: u64) {
    // SAFETY: the handler keeps all registers; images are built without a red zone.
    unsafe {
        asm!("test r8, r8", "jz 3f",
            "2: mov ecx, {command}", "mov eax, {to_self}", "xor edx, edx", "wrmsr",
            "sti", "nop", "cli",
            "mov ecx, {end}", "xor eax, eax", "wrmsr", "dec r8", "jnz 2b", "3:",
            command = const COMMAND, to_self = const COMMAND_SELF, end = const END_OF_INTERRUPT,
            inout("r8") rounds => _, out("ecx") _, out("eax") _, out("edx") _);
    }
}
