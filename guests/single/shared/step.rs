//! A few bytes of code, executed with chosen registers.

use crate::common::global::Global;
use core::arch::global_asm;

const RET: u8 = 0xC3;
/// The most bytes.
pub const ROOM: usize = 15;

/// RAX, RCX, RDX, RBX, RSI, RDI, R8, RFLAGS around the code.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Registers(pub [u64; 8]);

static CODE: Global<[u8; ROOM + 1]> = Global::new([RET; ROOM + 1]);

global_asm!(
    "
    .section .text.take_step, \"ax\"
take_step:                          // (registers, code)
    push rbx
    push rbp
    push rdi
    mov rbp, rsi
    push qword ptr [rdi + 56]
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 16]
    mov rbx, [rdi + 24]
    mov rsi, [rdi + 32]
    mov r8, [rdi + 48]
    mov rdi, [rdi + 40]
    popfq
    call rbp
    pushfq
    cld
    mov rbp, [rsp + 8]              // registers
    mov [rbp], rax
    mov [rbp + 8], rcx
    mov [rbp + 16], rdx
    mov [rbp + 24], rbx
    mov [rbp + 32], rsi
    mov [rbp + 40], rdi
    mov [rbp + 48], r8
    pop rax
    mov [rbp + 56], rax
    pop rdi
    pop rbp
    pop rbx
    ret
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    fn take_step(registers: *mut Registers, code: *const u8);
}

/// Where the code is put.
#[allow(dead_code, reason = "for guests whose steps may fault")]
pub fn address() -> u64 {
    CODE.pointer() as u64
}

/// Executes the code and stores what it left in the registers.
///
/// # Safety
/// The code changes these registers alone, devices, and memory and state that this guest does
/// without; it ends within its last byte. Where it may fault, a handler goes on at that end.
pub unsafe fn run(code: &[u8], registers: &mut Registers) {
    // SAFETY: the only reference; the processor is not in there.
    let place = unsafe { &mut *CODE.pointer() };
    place.fill(RET);
    place[..code.len()].copy_from_slice(code);
    // SAFETY: the caller's promise; a RET follows the code.
    unsafe { take_step(registers, CODE.pointer().cast()) };
}
