//! Exceptions and interrupts that are expected: the handler notes what was pushed, and goes on
//! at the address that the guest gave.

use crate::common::descriptors::{self, Caller};
use core::arch::global_asm;

global_asm!(
    "
    .section .text.trap, \"ax\"
trap_2:                             // the first one may be asked to send another to this processor
    cmp byte ptr [trap_sends_nmi], 0
    je 2f
    mov byte ptr [trap_sends_nmi], 0
    push rax
    mov eax, 0xfee00300
    mov dword ptr [rax], 0x44400
    pop rax
2:  push 0
    push 2
    jmp trap_entry
    .irp vector, 1, 6, 49
trap_\\vector:
    push 0                          // no error code
    push \\vector
    jmp trap_entry
    .endr
    .irp vector, 13, 14
trap_\\vector:
    push \\vector
    jmp trap_entry
    .endr

trap_entry:                         // vector, error code, RIP, CS, RFLAGS, RSP, SS
    push rax
    mov rax, [rsp + 8]
    mov [trap_noted], rax
    mov rax, [rsp + 16]
    mov [trap_noted + 8], rax
    mov rax, [rsp + 24]
    mov [trap_noted + 16], rax
    mov rax, [rsp + 40]
    mov [trap_noted + 24], rax
    inc qword ptr [trap_count]
    mov rax, [trap_resume]
    test rax, rax
    jz 2f
    mov [rsp + 24], rax
2:  and dword ptr [rsp + 40], ~0x100    // the trap of a single step is the last
    pop rax
    add rsp, 16
    iretq

    .section .bss.trap, \"aw\", @nobits
    .balign 8
trap_noted: .skip 32
    .global trap_count, trap_resume
trap_count: .skip 8
trap_resume: .skip 8
    .global trap_sends_nmi
trap_sends_nmi: .skip 8
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static trap_1: u8;
    static trap_2: u8;
    static trap_6: u8;
    static trap_13: u8;
    static trap_14: u8;
    static trap_49: u8;
    static mut trap_noted: [u64; 4];
    static mut trap_count: u64;
    static mut trap_resume: u64;
}

/// What the processor pushed.
#[derive(Clone, Copy)]
pub struct Trap {
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub rflags: u64,
}

/// Sends the exceptions that are expected here, and vector 49, to the handler.
pub fn catch() {
    let entries = [
        (1, &raw const trap_1),
        (2, &raw const trap_2),
        (6, &raw const trap_6),
        (13, &raw const trap_13),
        (14, &raw const trap_14),
        (49, &raw const trap_49),
    ];
    for (vector, entry) in entries {
        descriptors::set_gate(vector, entry as u64, Caller::Hardware);
    }
}

/// The next exception goes on there.
pub fn resume_at(address: u64) {
    let resume = &raw mut trap_resume;
    // SAFETY: only the handler reads it.
    unsafe { resume.write_volatile(address) };
}

/// The one exception or interrupt since the last call; None if there was none, or more than one.
pub fn take() -> Option<Trap> {
    take_last(1)
}

/// The last of the exceptions and interrupts since the last call; None unless there were `expected`
/// of them.
pub fn take_last(expected: u64) -> Option<Trap> {
    let (count, noted) = (&raw mut trap_count, &raw const trap_noted);
    // SAFETY: only the handler writes it, at instructions before this.
    let seen = unsafe { count.read_volatile() };
    // SAFETY: as above.
    unsafe { count.write_volatile(0) };
    resume_at(0);
    // SAFETY: as above.
    let [vector, error, rip, rflags] = unsafe { noted.read_volatile() };
    (seen == expected).then_some(Trap { vector, error, rip, rflags })
}
