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
    xor ecx, ecx
    int 4
ring3_call:                         // (argument) -> result
    mov ecx, 1
    int 4
    ret

    .section .text.ring3, \"ax\"
ring3_gate:                         // of int 4: ring 0 again
    test ecx, ecx
    jnz ring3_serve
    mov rsp, [ring3_caller]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
ring3_serve:                        // for a moment: the result is in rax
    sub rsp, 8
    call [ring3_service]
    add rsp, 8
    iretq

    .section .bss.ring3, \"aw\", @nobits
    .balign 16
    .skip 16384
ring3_stack_top:
ring3_caller: .skip 8
ring3_service: .skip 8
    .skip 4096
ring3_entry_stack_top:
    .section .text, \"ax\"
    ",
    user_data = const USER_DATA,
    user_code = const USER_CODE,
);

unsafe extern "C" {
    static ring3_gate: u8;
    static mut ring3_service: Option<extern "C" fn(u64) -> u64>;
    static ring3_entry_stack_top: u8;
    static mut boot_pdpt: [u64; 512];
    static mut boot_directory: [u64; 512];
    static mut device_directory: [u64; 512];
    fn ring3_call(argument: u64) -> u64;
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
    descriptors::set_gate(RETURN_VECTOR, &raw const ring3_gate as u64, Caller::Ring3);
    descriptors::set_ring_0_stack(&raw const ring3_entry_stack_top as u64);
}

/// Opens the windows of virtio devices to ring 3, before its first code runs.
pub fn open_virtio() {
    const LAST_GIB: usize = 3;
    const WINDOWS: usize = 501; // 0xFEA0_0000
    // SAFETY: one store to a table entry, which stays valid.
    unsafe { boot_pdpt[LAST_GIB] |= USER };
    // SAFETY: as above.
    unsafe { device_directory[WINDOWS] |= USER };
}

/// What ring 0 does at [`call_ring_0`], with interrupts off.
pub fn set_service(service: extern "C" fn(u64) -> u64) {
    // SAFETY: nothing else has a reference to it, and ring 3 does not run now.
    unsafe { ring3_service = Some(service) }
}

/// Has ring 0 carry out its service; for code in ring 3.
pub fn call_ring_0(argument: u64) -> u64 {
    // SAFETY: the gate's code calls the service, which keeps the calling convention, and returns.
    unsafe { ring3_call(argument) }
}

/// Runs the function in ring 3, with interrupts on, and gives its result.
pub fn run(function: extern "C" fn(u64) -> u64, argument: u64) -> u64 {
    // SAFETY: `initialise` opened code, stack and gate; ring3_run keeps the calling convention.
    unsafe { ring3_run(function, argument) }
}
