//! Running a function of the image in ring 3, where an interpreting KVM is at full speed. The first
//! 16 MiB become ring 3's too: there is no other program to protect.

use super::boot::{USER_CODE, USER_DATA};
use super::descriptors::{self, Caller};
use core::arch::{asm, global_asm};

const RETURN_VECTOR: usize = 4; // os/abi.rs says why this one
const LARGE_PAGES: usize = 8;
const USER: u64 = 4;

global_asm!(
    "
    .section .text.ring3, \"ax\"
ring3_run:                          // (function, argument) -> result
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [ring3_caller], rsp
    push {user_data}
    lea rax, [ring3_stack_top]
    push rax
    push 0x3202                     // interrupts on, IOPL 3: ports are allowed
    push {user_code}
    lea rax, [ring3_start]
    push rax
    mov rax, rdi
    mov rdi, rsi
    iretq

    .section .ring3, \"ax\"
ring3_start:
    call rax
    int 4

    .section .text.ring3, \"ax\"
ring3_return:                       // the gate of int 4: ring 0 again
    mov rsp, [ring3_caller]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

    .section .bss.ring3, \"aw\", @nobits
    .balign 16
    .skip 16384
ring3_stack_top:
ring3_caller: .skip 8
    .skip 8
    .skip 512
ring3_entry_stack_top:
    .section .text, \"ax\"
    ",
    user_data = const USER_DATA,
    user_code = const USER_CODE,
);

unsafe extern "C" {
    static ring3_return: u8;
    static ring3_entry_stack_top: u8;
    static mut boot_pdpt: [u64; 512];
    static mut boot_directory: [u64; 512];
    fn ring3_run(function: extern "C" fn(u64) -> u64, argument: u64) -> u64;
}

/// Opens the memory to ring 3. The interrupt gates must be loaded already.
pub fn initialise() {
    // SAFETY: one store to a table entry, which stays valid.
    unsafe { boot_pdpt[0] |= USER };
    let directory = &raw mut boot_directory;
    // SAFETY: the boot code's table, to which there is no other reference.
    let directory = unsafe { &mut *directory };
    for large_page in directory.iter_mut().take(LARGE_PAGES) {
        *large_page |= USER;
    }
    // SAFETY: reloads the same tables, so that the changes count.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) }
    descriptors::set_gate(RETURN_VECTOR, &raw const ring3_return as u64, Caller::Ring3);
    descriptors::set_ring_0_stack(&raw const ring3_entry_stack_top as u64);
}

/// Runs the function in ring 3, with interrupts on, and gives its result.
pub fn run(function: extern "C" fn(u64) -> u64, argument: u64) -> u64 {
    // SAFETY: `initialise` opened code, stack and gate; ring3_run keeps the calling convention.
    unsafe { ring3_run(function, argument) }
}
