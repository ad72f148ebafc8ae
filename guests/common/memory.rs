//! The memory functions compiled code calls. Written in assembly because a Rust loop would be
//! turned back into a call of itself; eight bytes at a time because an interpreted ring 0 pays for
//! each iteration of a string instruction.

use core::arch::global_asm;

global_asm!(
    "
    .section .text.memory_functions, \"ax\"
    .global memcpy, memmove, memset, memcmp, bcmp

memcpy:                             // (destination, source, length) -> destination
    mov rax, rdi
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov ecx, edx
    and ecx, 7
    rep movsb
    ret

memmove:
    mov rcx, rdi
    sub rcx, rsi                    // destination - source, wrapping
    cmp rcx, rdx
    jae memcpy                      // no overlap that a forward copy would spoil
    mov rax, rdi
    mov rcx, rdx
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret

memset:                             // (destination, byte, length) -> destination
    mov r8, rdi
    movzx eax, sil
    mov rcx, 0x0101010101010101
    imul rax, rcx
    mov rcx, rdx
    shr rcx, 3
    rep stosq
    mov ecx, edx
    and ecx, 7
    rep stosb
    mov rax, r8
    ret

memcmp:                             // (left, right, length) -> sign of the first difference
bcmp:
    mov rcx, rdx
    xor eax, eax
    cmp rcx, rcx                    // length zero compares equal
    repe cmpsb
    je 2f
    movzx eax, byte ptr [rdi - 1]
    movzx ecx, byte ptr [rsi - 1]
    sub ecx, eax
    mov eax, ecx
2:  ret
"
);
