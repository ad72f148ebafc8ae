//! Interrupts for the single-purpose guests: all a handler does is note the vector, so that
//! everything else is ordinary code. In most guests they come only while it halts. An exception
//! ends the machine. (The guest OS has its own, os/kernel/trap.rs.)

use super::descriptors::{self, Caller, FIRST_INTERRUPT, VECTORS};
use super::{console, power};
use core::arch::{asm, global_asm};

/// An exception's vector plus this is the machine's status.
const STATUS_EXCEPTION: u32 = 128;
const STUB_BYTES: u64 = 16;

global_asm!(
    "
    .section .text.interrupts, \"ax\"
    .balign 16
interrupt_stubs:
    .set vector, 0
    .rept 64
    .balign 16
    .if vector < 32
    mov edi, vector
    jmp exception_entry
    .else
    mov byte ptr [noted_vector], vector
    iretq
    .endif
    .set vector, vector + 1
    .endr

exception_entry:                    // the error code, if any, stays on the stack: no way back
    mov rsi, [rsp]
    mov rdx, [rsp + 8]
    and rsp, -16
    call {exception}

    .section .bss.interrupts, \"aw\", @nobits
noted_vector: .skip 1
    .section .text, \"ax\"
    ",
    exception = sym exception,
);

unsafe extern "C" {
    static interrupt_stubs: u8;
    static mut noted_vector: u8;
}

/// Sends all vectors here.
pub fn initialise() {
    let stubs = &raw const interrupt_stubs as u64;
    for vector in 0..VECTORS {
        descriptors::set_gate(vector, stubs + vector as u64 * STUB_BYTES, Caller::Hardware);
    }
    descriptors::load();
}

/// Lets interrupts come at any instruction.
pub fn enable() {
    // SAFETY: the handlers preserve all registers; images are built without a red zone.
    unsafe { asm!("sti") }
}

/// Lets them come no more.
pub fn disable() {
    // SAFETY: nothing waits for one.
    unsafe { asm!("cli") }
}

/// The vector of the interrupt that came since the last call, if one did. To be asked before the
/// EOI is sent: another interrupt would overwrite it.
pub fn take_noted() -> Option<u64> {
    let noted = &raw mut noted_vector;
    // SAFETY: volatile, because a handler writes it; no other does until this one's service has
    // ended.
    let vector = unsafe { noted.read_volatile() };
    if vector == 0 {
        return None;
    }
    // SAFETY: as above. (Where there was none, one may just come.)
    unsafe { noted.write_volatile(0) };
    Some(vector.into())
}

/// Halts until an interrupt and gives its vector.
pub fn halt_until_interrupt() -> u64 {
    // SAFETY: the handlers preserve all registers; images are built without a red zone.
    unsafe { asm!("sti", "hlt", "cli") }
    let noted = &raw const noted_vector;
    // SAFETY: interrupts are off, so no handler writes it now; volatile, because a handler did.
    u64::from(unsafe { noted.read_volatile() })
}

extern "C" fn exception(vector: u64, first: u64, second: u64) -> ! {
    let mut line = console::Line::new();
    line.text("exception ").decimal(vector).text(", stack ").hexadecimal(first, 16);
    line.text(" ").hexadecimal(second, 16).print();
    debug_assert!(vector < FIRST_INTERRUPT);
    power::off(STATUS_EXCEPTION + vector as u32)
}
