//! From the loader to 64-bit Rust: the multiboot 1 header with address fields (QEMU's `-kernel` and
//! GRUB both take a 64-bit ELF file with them), long mode, and the functions that the compiler
//! calls.
//!
//! The first tables identity-map 4 GiB, writable and executable; [`crate::paging`] replaces them
//! before other memory is touched.

use core::arch::global_asm;

global_asm!(
    "
    .section .multiboot, \"a\"
    .balign 4
multiboot_header:
    .long 0x1BADB002, 0x00010003    // page-aligned modules, memory map, address fields
    .long -(0x1BADB002 + 0x00010003)
    .long multiboot_header, image_begin, image_load_end, image_end, entry32

    .section .text32, \"ax\"
    .code32
    .global entry32
entry32:
    cli
    cld
    mov esp, offset boot_stack_top
    mov [boot_magic], eax
    mov [boot_information], ebx
    call check_requirements
    mov dword ptr [boot_pml4], offset boot_pdpt + 3
    mov edi, offset boot_pdpt
    mov eax, offset boot_directories + 3
    mov ecx, 4
2:  mov [edi], eax                  // four GiB
    add edi, 8
    add eax, 4096
    loop 2b
    mov edi, offset boot_directories
    mov eax, 0x83                   // 2 MiB, present, writable
    mov ecx, 2048
3:  mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop 3b
    mov eax, 0x620                  // PAE, OSFXSR, OSXMMEXCPT: Rust uses SSE
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xC0000080             // EFER: LME, NXE
    rdmsr
    or eax, 0x900
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
    mov edi, [boot_magic]
    mov esi, [boot_information]
    call loaded
    ud2

    .section .data.boot_gdt, \"aw\"
    .balign 16
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF        // 08 code, 64-bit
    .quad 0x00CF93000000FFFF        // 10 data
boot_gdt_pointer:
    .short . - boot_gdt - 1
    .quad boot_gdt

    .section .bss.guard, \"aw\", @nobits
    .balign 4096
    .global stack_guard
stack_guard: .skip 4096             // not mapped: an overflow is a page fault
    .skip 262144
    .global boot_stack_top
boot_stack_top:

    .section .bss.boot_tables, \"aw\", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_directories: .skip 16384
boot_magic: .skip 4
boot_information: .skip 4

    .section .text.memory, \"ax\"
    .global memcpy, memmove, memset, memcmp, bcmp
memcpy:
    mov rax, rdi
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov ecx, edx
    and ecx, 7
    rep movsb
    ret
memmove:
    mov rax, rdi
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jae memcpy
    lea rdi, [rdi + rdx - 1]        // the destination lies within the source: backwards
    lea rsi, [rsi + rdx - 1]
    mov rcx, rdx
    std
    rep movsb
    cld
    ret
memset:
    mov r8, rdi
    movzx eax, sil
    movabs rcx, 0x0101010101010101
    imul rax, rcx
    mov rcx, rdx
    shr rcx, 3
    rep stosq
    mov ecx, edx
    and ecx, 7
    rep stosb
    mov rax, r8
    ret
bcmp:
memcmp:
    xor eax, eax
    mov rcx, rdx
    test rcx, rcx
    jz 2f
    repe cmpsb
    je 2f
    movzx eax, byte ptr [rdi - 1]
    movzx ecx, byte ptr [rsi - 1]
    xchg eax, ecx
    sub eax, ecx
2:  ret
    .section .text, \"ax\"
"
);
