//! The switch itself: into the guest, and back (SDM vol. 3, ch. 27 and 28).
//!
//! The hypervisor's own code uses the XMM registers and MXCSR, so that the guest's x87 and SSE
//! state is loaded last and saved first. The upper halves of vector registers keep the guest's
//! values.

use crate::General;
use crate::extended_state::{FxArea, MXCSR};
use core::arch::global_asm;

unsafe extern "C" {
    /// Enters the guest of the current VMCS; 0 after an exit, 1 if the entry instruction failed.
    pub(super) fn vmx_enter(general: *mut General, fx_area: *mut FxArea, is_launched: u64) -> u64;

    /// HOST_RIP, where the processor resumes after an exit. No code calls it.
    pub(super) fn vmx_exit_landing();
}

global_asm!(
    "
    .pushsection .rodata
    .balign 4
vmx_host_mxcsr:
    .long {mxcsr}
    .popsection

    .pushsection .text
    .balign 16
    .global vmx_enter
vmx_enter:
    push rbx                            # saves: mirrored at 4:
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rsi                            # [rsp + 8]: the FX area
    push rdi                            # [rsp]: the general registers
    mov eax, 0x6c14                     # HOST_RSP
    vmwrite rax, rsp
    jbe 3f
    fxrstor64 [rsi]                     # from here no Rust code: XMM are the guest's
    test edx, edx                       # launched before? MOV keeps the flags
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 16]
    mov rbx, [rdi + 24]
    mov rbp, [rdi + 40]                 # RSP is the VMCS's
    mov rsi, [rdi + 48]
    mov r8, [rdi + 64]
    mov r9, [rdi + 72]
    mov r10, [rdi + 80]
    mov r11, [rdi + 88]
    mov r12, [rdi + 96]
    mov r13, [rdi + 104]
    mov r14, [rdi + 112]
    mov r15, [rdi + 120]
    mov rdi, [rdi + 56]                 # the pointer goes last
    jnz 2f
    vmlaunch
    jmp 3f
2:
    vmresume
3:                                      # not entered: the guest's registers are as they were
    mov eax, 1
    jmp 4f

    .balign 16
    .global vmx_exit_landing
vmx_exit_landing:                       # RSP is HOST_RSP, RFLAGS is 2
    push rdi
    mov rdi, [rsp + 8]                  # the general registers
    mov [rdi], rax
    mov [rdi + 8], rcx
    mov [rdi + 16], rdx
    mov [rdi + 24], rbx
    mov [rdi + 40], rbp
    mov [rdi + 48], rsi
    pop qword ptr [rdi + 56]
    mov [rdi + 64], r8
    mov [rdi + 72], r9
    mov [rdi + 80], r10
    mov [rdi + 88], r11
    mov [rdi + 96], r12
    mov [rdi + 104], r13
    mov [rdi + 112], r14
    mov [rdi + 120], r15
    mov rsi, [rsp + 8]                  # the FX area
    fxsave64 [rsi]
    xor eax, eax
4:
    ldmxcsr [rip + vmx_host_mxcsr]
    pop rdi                             # restores: mirrored at the top
    pop rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    .popsection
",
    mxcsr = const MXCSR,
);
