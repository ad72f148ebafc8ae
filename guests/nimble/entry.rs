//! From either entry to 64-bit Rust: the header behind the first jump, the boot tables, the
//! descriptors.
//!
//! A multiboot loader and a stub in real mode leave the same flat 32-bit protected mode, apart from
//! EAX and EBX, which are kept. Both leave a stack, too, by which 64-bit code is reached, as the
//! seed's kernel does it: there is one of its own only there. The boot tables have nothing but
//! pages of 1 GiB: the first 4 GiB at 0 and once more at [`HIGH_ALIAS`].
//!
//! The image provides `extern "C" fn guest_main() -> !`.

use core::arch::global_asm;

/// Selector of ring 0's 64-bit code; its data follows, as SYSCALL wants it.
pub const KERNEL_CODE: u16 = 0x10;
/// Selector of ring 3's data; its 64-bit code follows, as SYSRET wants it.
pub const USER_DATA: u16 = 0x2B;
/// Selector of ring 3's 64-bit code.
pub const USER_CODE: u16 = 0x33;
/// Selector of the task state segment, whose descriptor is yet to be written into `nimble_gdt`.
pub const TASK_STATE: u16 = 0x38;
/// Where the first 4 GiB are seen a second time.
pub const HIGH_ALIAS: u64 = 0xFFFF_FF80_0000_0000;
/// Written to CR0: PG, WP, NE, TS, MP, PE.
pub const CR0: u64 = 0x8001_002B;
/// Written to CR4: PGE, PAE.
pub const CR4: u64 = 0xA0;

global_asm!(
    "
    .section .text32.start, \"ax\"
    .code32
    .global nimble_start
nimble_start:                       // a raw image is entered at its first byte
    jmp nimble_entry
    .balign 4
nimble_header:
    .long 0x1BADB002, 0x00010003    // page-aligned modules, memory sizes, address fields
    .long -(0x1BADB002 + 0x00010003)
    .long nimble_header, image_start, image_load_end, image_bss_end, nimble_start

nimble_entry:
    cli
    cld
    mov ebp, eax
    mov edi, offset image_bss_start // a raw image has no bss that a loader could clear
    mov ecx, offset image_bss_end
    sub ecx, edi
    xor eax, eax
    rep stosb
    mov [multiboot_magic], ebp
    mov [multiboot_information], ebx
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb refuse_processor
    mov eax, 0x80000001
    cpuid
    test edx, 1 << 26               // PDPE1GB
    jz refuse_processor
    mov dword ptr [boot_pml4], offset boot_pdpt + 3
    mov dword ptr [boot_pml4 + 511 * 8], offset boot_pdpt + 3
    mov dword ptr [boot_pdpt], 0x00000083                       // 1 GiB, writable, present
    mov dword ptr [boot_pdpt + 8], 0x40000083
    mov dword ptr [boot_pdpt + 16], 0x80000083
    mov dword ptr [boot_pdpt + 24], 0xC000009B                  // uncached: devices
    mov eax, {cr4}
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xC0000080             // EFER: LME, NXE
    mov eax, 0x900
    xor edx, edx
    wrmsr
    mov eax, {cr0}
    mov cr0, eax
    lgdt [nimble_gdt_pointer]
    mov ecx, {kernel_code}
    push ecx                        // on the stack that the loader left
    mov ecx, offset entry64
    push ecx
    retf

    .section .text.entry64, \"ax\"
    .code64
entry64:
    mov eax, 0x18
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

    .section .data.nimble_gdt, \"aw\"
    .balign 16
    .global nimble_gdt
nimble_gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF        // 08 ring 0 code, 32-bit
    .quad 0x00AF9B000000FFFF        // 10 ring 0 code, 64-bit
    .quad 0x00CF93000000FFFF        // 18 ring 0 data
    .quad 0x00CFFB000000FFFF        // 20 ring 3 code, 32-bit
    .quad 0x00CFF3000000FFFF        // 28 ring 3 data
    .quad 0x00AFFB000000FFFF        // 30 ring 3 code, 64-bit
    .quad 0, 0                      // 38 task state segment
nimble_gdt_pointer:
    .short . - nimble_gdt - 1
    .quad nimble_gdt

    .section .bss.nimble_entry, \"aw\", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
    .skip 16384
boot_stack_top:
    .global multiboot_magic, multiboot_information
multiboot_magic: .skip 4
multiboot_information: .skip 4
    .section .text, \"ax\"
    ",
    cr0 = const CR0,
    cr4 = const CR4,
    kernel_code = const KERNEL_CODE,
);

// No pages of 1 GiB: said in 32-bit code, as there is no way into 64-bit code without them.
global_asm!(
    "
    .section .text32, \"ax\"
    .code32
refuse_processor:
    mov edx, 0x3FB                  // COM1: 115200 baud 8N1, FIFOs on
    mov al, 0x80
    out dx, al
    mov edx, 0x3F8
    mov al, 1
    out dx, al
    mov edx, 0x3F9
    mov al, 0
    out dx, al
    mov edx, 0x3FB
    mov al, 3
    out dx, al
    mov edx, 0x3FA
    mov al, 0xC7
    out dx, al
    mov esi, offset refusal
2:  lodsb
    test al, al
    jz 4f
    mov ah, al
    mov edx, 0x3FD
3:  in al, dx
    test al, 0x20                   // transmitter empty
    jz 3b
    mov edx, 0x3F8
    mov al, ah
    out dx, al
    jmp 2b
4:  mov edx, 0xF4
    mov eax, {status}
    out dx, eax
5:  cli
    hlt
    jmp 5b
refusal:
    .ascii \"nimble: missing: 1 GiB pages (CPUID 80000001, EDX bit 26), \"
    .asciz \"which the boot tables use\\n\"
    .code64
    .section .text, \"ax\"
    ",
    status = const STATUS_MISSING,
);

/// The status where the processor lacks what this guest needs.
const STATUS_MISSING: u32 = 2;
