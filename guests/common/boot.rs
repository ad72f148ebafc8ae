//! From the loader to 64-bit Rust: the multiboot 1 header, page tables, long mode.
//!
//! The header carries the address fields (flag 16), so any multiboot loader can load the flat file
//! and QEMU does not mind that the code is 64-bit. The loader clears the bss. The tables use 2 MiB
//! pages only and are written entry by entry, because most of them stays empty and each store
//! costs. After this code:
//!
//! | virtual                  | physical       |                                                 |
//! |--------------------------|----------------|-------------------------------------------------|
//! | 0 to 128 MiB             | same           | RAM, ring 0                                     |
//! | 1 GiB to 2 GiB           | nothing yet    | `user_directory`: ring 3, filled by the image   |
//! | 0xFEA0_0000              | same, uncached | virtio devices, from the middle on              |
//! | 0xFEC0_0000, 0xFEE0_0000 | same, uncached | IOAPIC and HPET in the first, local APIC second |
//!
//! The image provides `extern "C" fn guest_main() -> !`.

use core::arch::global_asm;

#[allow(unused_imports, reason = "each image uses its own part")]
pub use super::command_line::{
    command_line, end, has_word, memory_end, memory_ranges, modules, number, split_word, value,
    values,
};

/// Selector of ring 0's code segment.
pub const KERNEL_CODE: u16 = 0x08;
/// Selector of ring 3's data segment, with the requested privilege level.
pub const USER_DATA: u16 = 0x1B;
/// Selector of ring 3's 64-bit code segment, with the requested privilege level.
pub const USER_CODE: u16 = 0x23;
/// Selector of the task state segment, whose descriptor the image writes into `boot_gdt`.
pub const TASK_STATE: u16 = 0x28;

global_asm!(
    "
    .section .multiboot, \"a\"
    .balign 4
multiboot_header:
    .long 0x1BADB002, 0x00010003    // page-aligned modules, memory sizes, address fields
    .long -(0x1BADB002 + 0x00010003)
    .long multiboot_header, image_start, image_load_end, image_bss_end, entry32

    .section .text32, \"ax\"
    .code32
    .global entry32
entry32:
    cli
    cld
    mov esp, offset boot_stack_top
    mov [multiboot_magic], eax
    mov [multiboot_information], ebx
    mov dword ptr [boot_pml4], offset boot_pdpt + 7             // present, writable, user
    mov dword ptr [boot_pdpt], offset boot_directory + 3        // first GiB: ring 0
    mov dword ptr [boot_pdpt + 8], offset user_directory + 7    // second GiB: ring 3
    mov dword ptr [boot_pdpt + 24], offset device_directory + 3 // last GiB below 4 GiB
    mov dword ptr [device_directory + 501 * 8], 0xFEA0009B      // 2 MiB, uncached
    mov dword ptr [device_directory + 502 * 8], 0xFEC0009B
    mov dword ptr [device_directory + 503 * 8], 0xFEE0009B
    mov edi, offset boot_directory
    mov eax, 0x83                                               // 2 MiB, present, writable
2:  mov [edi], eax
    add edi, 8
    add eax, 0x200000
    cmp eax, 0x8000083
    jb 2b
    mov eax, 0x620                  // PAE, and OSFXSR, OSXMMEXCPT for SSE in ring 3
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xC0000080             // EFER.LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, 0x80010033             // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    .byte 0xEA                      // jmp far 0x08:entry64, in no assembler's dialect
    .long entry64
    .short 0x08

    .section .text.entry64, \"ax\"
    .code64
entry64:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, offset boot_stack_top
    xor ebp, ebp
    call guest_main
    ud2

    .section .data.boot_gdt, \"aw\"
    .balign 16
    .global boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF        // 08 ring 0 code, 64-bit
    .quad 0x00CF93000000FFFF        // 10 ring 0 data
    .quad 0x00CFF3000000FFFF        // 18 ring 3 data
    .quad 0x00AFFB000000FFFF        // 20 ring 3 code, 64-bit
    .quad 0, 0                      // 28 task state segment
boot_gdt_pointer:
    .short . - boot_gdt - 1
    .quad boot_gdt

    .section .bss.boot_tables, \"aw\", @nobits
    .balign 4096
    .global boot_pml4, boot_pdpt, boot_directory, user_directory, device_directory
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_directory: .skip 4096
user_directory: .skip 4096
device_directory: .skip 4096
    .skip 16384
    .global boot_stack_top
boot_stack_top:
    .global multiboot_magic, multiboot_information
multiboot_magic: .skip 4
multiboot_information: .skip 4
    .section .text, \"ax\"
"
);
