//! What runs in ring 3. At another address than it is linked for, so nothing here names an address.
//!
//! A system call has its number in RAX and its arguments in RDI and RSI; its result is in RAX.

use core::arch::global_asm;

/// Ends the run.
pub const EXIT: u64 = 1;
/// Gives its argument.
pub const ECHO: u64 = 2;
/// Waits for a number of ticks.
pub const SLEEP: u64 = 3;
/// Writes COM1's interrupt enable register.
pub const SET_UART_INTERRUPTS: u64 = 4;
/// Writes a byte to COM1.
pub const PUT: u64 = 5;
/// Gives a byte that has come to COM1, or [`NOTHING`].
pub const GET: u64 = 6;
/// No byte.
pub const NOTHING: u64 = u64::MAX;

global_asm!(
    "
    .section .ring3, \"ax\"
user_calls:                         // (how often) exits with what is left, 0 if all were well
    push rdi
2:  mov rax, [rsp]
    .irp register, rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15
    add rax, 0x1234567
    mov \\register, rax
    .endr
    cld
    test rdi, 1
    jz 3f
    std
3:  mov eax, {echo}
    pushfq
    syscall
4:  push rcx
    push r11
    pushfq
    cld
    mov r11, [rsp + 24]             // the flags before
    cmp r11, [rsp]
    jne 5f
    cmp r11, [rsp + 8]
    jne 5f
    lea r11, [rip + 4b]
    cmp r11, [rsp + 16]
    jne 5f
    cmp rax, rdi
    jne 5f
    mov rax, [rsp + 32]
    .irp register, rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15
    add rax, 0x1234567
    cmp \\register, rax
    jne 5f
    .endr
    add rsp, 32
    dec qword ptr [rsp]
    jnz 2b
    pop rdi
    jmp user_exit
5:  mov rdi, [rsp + 32]
user_exit:
    mov eax, {exit}
    syscall
    ud2

user_spin:                          // never exits, counts in RAX
    inc rax
    jmp user_spin

user_sleep:                         // (ticks) for ever
    mov eax, {sleep}
    syscall
    jmp user_sleep

user_touch:                         // (page, pages) exits with the sum of what it wrote and read
    mov r8, rdi
    mov rcx, rsi
    xor r9d, r9d
2:  mov [r8 + 8], rcx               // is not there: a fault of a write
    add r9, [r8 + 4096]             // is not there: a fault of a read
    add r9, [r8 + 8]
    add r8, 8192
    sub rcx, 2
    ja 2b
    mov rdi, r9
    jmp user_exit

user_send:                          // (text, length)
    mov r12, rdi
    mov r13, rsi
    mov edi, 1
    mov eax, {set_interrupts}
    syscall
2:  movzx edi, byte ptr [r12]
    mov eax, {put}
    syscall
    inc r12
    dec r13
    jnz 2b
    xor edi, edi
    mov eax, {set_interrupts}
    syscall
    jmp user_exit

user_receive:                       // (buffer, its length) exits with the length of the line
    mov r12, rdi
    mov r13, rsi
    xor r14d, r14d
    mov edi, 1
    mov eax, {set_interrupts}
    syscall
2:  mov eax, {get}
    syscall
    cmp rax, -1
    je 2b
    cmp al, 10
    je 3f
    mov [r12 + r14], al
    inc r14
    cmp r14, r13
    jb 2b
3:  xor edi, edi
    mov eax, {set_interrupts}
    syscall
    mov rdi, r14
    jmp user_exit

user_invalid_instruction:
    ud2
user_division:
    xor eax, eax
    cdq
    div eax
user_privileged_instruction:
    hlt
user_port:
    in al, 0x21
user_selector:
    mov ds, edi
user_coprocessor:                   // CR0.TS is set
    fld1
user_not_canonical:
    mov rax, [rdi]
user_read:
    mov rax, [rdi]
user_write:
    mov [rdi], rax
user_jump:
    jmp rdi
user_single_step:
    pushfq
    or qword ptr [rsp], 0x100       // TF
    popfq
    nop
user_stepped:
    nop
    .section .text, \"ax\"
    ",
    exit = const EXIT,
    echo = const ECHO,
    sleep = const SLEEP,
    set_interrupts = const SET_UART_INTERRUPTS,
    put = const PUT,
    get = const GET,
);
