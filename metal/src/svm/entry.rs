//! The switch itself: into the guest, and back.
//!
//! The global interrupt flag is clear from CLGI to STGI, but for the guest's run: VMRUN sets it and
//! #VMEXIT clears it. The host's IF is 1 meanwhile: with V_INTR_MASKING it enables physical
//! interrupts, which are intercepted, to exit; the host's handler takes one at STGI,
//! when the guest's registers are saved.
//!
//! ```text
//! VMRUN, #VMEXIT    RAX RSP RIP RFLAGS, CR0-4, EFER, DR6-7, ES CS SS DS, GDTR IDTR
//! VMLOAD, VMSAVE    FS GS LDTR TR, KERNEL_GS_BASE, STAR LSTAR CSTAR SFMASK, SYSENTER's
//! here              the other general registers, x87, XMM0-15, MXCSR
//! ```

use crate::General;
use crate::extended_state::{FxArea, MXCSR};
use core::arch::naked_asm;

unsafe extern "C" {
    static svm_behind_vmrun: u8;
}

/// The instruction after VMRUN, where the host resumes at an exit.
pub fn behind_vmrun() -> u64 {
    &raw const svm_behind_vmrun as u64
}

/// Runs the guest of `guest_vmcb` until it exits, and takes the interrupts pending then.
///
/// # Safety
/// SVM is enabled. Both addresses are physical ones of frames; the guest's is a VMCB which
/// intercepts all by which the guest could reach what is not its own, `host_vmcb` is scratch.
/// Nothing else refers to any of the four meanwhile. IF is 0, and every gate of the IDT has a
/// handler that returns.
#[rustfmt::skip] // one column of comments
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn enter(
    general: *mut General,
    guest_vmcb: u64,
    host_vmcb: u64,
    fx: *mut FxArea,
) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rcx",                 // [rsp + 16]  fx
        "push rdx",                 // [rsp + 8]   host_vmcb
        "push rdi",                 // [rsp]       general
        "clgi",                     // nothing interrupts from here on
        "sti",                      // but physical interrupts end the guest's run
        "mov rax, rdx",
        "vmsave rax",               // host's FS, GS, TR, LDTR, SYSCALL's MSRs
        "fxrstor64 [rcx]",
        "mov rax, rsi",
        "mov rcx, [rdi + 8]",
        "mov rdx, [rdi + 16]",
        "mov rbx, [rdi + 24]",
        "mov rbp, [rdi + 40]",
        "mov rsi, [rdi + 48]",
        "mov r8, [rdi + 64]",
        "mov r9, [rdi + 72]",
        "mov r10, [rdi + 80]",
        "mov r11, [rdi + 88]",
        "mov r12, [rdi + 96]",
        "mov r13, [rdi + 104]",
        "mov r14, [rdi + 112]",
        "mov r15, [rdi + 120]",
        "mov rdi, [rdi + 56]",
        "vmload rax",
        "vmrun rax",                // RAX, RSP and RFLAGS are the host's again behind it
        ".global svm_behind_vmrun",
        "svm_behind_vmrun:",
        "vmsave rax",
        "mov rax, [rsp]",           // general
        "mov [rax + 8], rcx",
        "mov [rax + 16], rdx",
        "mov [rax + 24], rbx",
        "mov [rax + 40], rbp",
        "mov [rax + 48], rsi",
        "mov [rax + 56], rdi",
        "mov [rax + 64], r8",
        "mov [rax + 72], r9",
        "mov [rax + 80], r10",
        "mov [rax + 88], r11",
        "mov [rax + 96], r12",
        "mov [rax + 104], r13",
        "mov [rax + 112], r14",
        "mov [rax + 120], r15",
        "mov rax, [rsp + 8]",       // host_vmcb
        "vmload rax",
        "mov rax, [rsp + 16]",      // fx
        "fxsave64 [rax]",
        "mov dword ptr [rsp], {mxcsr}",
        "ldmxcsr [rsp]",            // the host's: all exceptions masked
        "cld",
        "stgi",                     // what has waited is taken here
        "nop",
        "cli",
        "add rsp, 24",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        mxcsr = const MXCSR,
    );
}
