//! Switches tasks as 80386 hardware does it: by CALL and IRET, by JMP, by a task gate for INT n,
//! and by one for an exception with an error code. 32-bit code with page tables of each task's own.
//!
//! A line for each step; one that is wrong says so with its letter and ends with status 1. Not
//! looked at: RFLAGS.RF in a faulting task's TSS, which QEMU's processor leaves clear.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;

global_asm!(
    "
    .section .multiboot, \"a\"
    .balign 4
multiboot_header:
    .long 0x1BADB002, 0x00010003    // page-aligned modules, memory sizes, address fields
    .long -(0x1BADB002 + 0x00010003)
    .long multiboot_header, image_start, image_load_end, image_bss_end, entry32

    .section .ring3.tasks, \"ax\" // whose code is not checked: there is text in it, and INT
    .code32
    .macro say text                 // EAX, EDX, ESI are lost
    call print
    .asciz \"\\text\"
    .endm
    .macro describe selector, place // the TSS's address in its descriptor
    mov eax, offset \\place
    mov [gdt + \\selector + 2], ax
    shr eax, 16
    mov [gdt + \\selector + 4], al
    mov [gdt + \\selector + 7], ah
    .endm
    .macro task place, begin, stack // what a new task begins with
    mov dword ptr [\\place + 0x1C], offset directory_of_tasks
    mov dword ptr [\\place + 0x20], offset \\begin
    mov dword ptr [\\place + 0x24], 2
    mov dword ptr [\\place + 0x38], offset \\stack
    mov dword ptr [\\place + 0x48], 0x10
    mov dword ptr [\\place + 0x4C], 0x08
    mov dword ptr [\\place + 0x50], 0x10
    mov dword ptr [\\place + 0x54], 0x10
    .endm

    .global entry32
entry32:
    cli
    cld
    mov esp, offset stack_of_main
    lgdt [gdt_pointer]
    .byte 0xEA                      // jmp far
    .long 2f
    .short 0x08
2:  mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov edx, 0x3FB                  // COM1: 8N1, FIFOs on
    mov al, 3
    out dx, al
    mov edx, 0x3FA
    mov al, 0xC7
    out dx, al
    mov dword ptr [directory_of_main], 0x83         // 4 MiB, writable
    mov dword ptr [directory_of_tasks], 0x83
    mov eax, 0x10                   // PSE
    mov cr4, eax
    mov eax, offset directory_of_main
    mov cr3, eax
    mov eax, 0x80000011             // PG, ET, PE
    mov cr0, eax
    describe 0x18, tss_main
    describe 0x20, tss_called
    describe 0x28, tss_gate
    describe 0x30, tss_fault
    describe 0x38, tss_jumped
    mov dword ptr [tss_main + 0x1C], offset directory_of_main
    task tss_called, called, stack_of_called
    task tss_gate, gated, stack_of_gate
    task tss_fault, faulted, stack_of_fault
    task tss_jumped, jumped, stack_of_jumped
    lidt [idt_pointer]
    mov eax, 0x18
    ltr ax

    mov ebx, 0x1234
    mov ecx, 2
2:  .byte 0x9A                      // call far, twice: the task goes on behind its IRET
    .long 0
    .short 0x20
    loop 2b
    cmp ebx, 0x1234
    mov al, 'A'
    jne wrong
    mov eax, cr3
    cmp eax, offset directory_of_main
    mov al, 'B'
    jne wrong
    smsw eax
    test al, 8                      // TS
    mov al, 'C'
    jz wrong
    test byte ptr [gdt + 0x20 + 5], 2               // no longer busy
    mov al, 'D'
    jnz wrong
    test byte ptr [gdt + 0x18 + 5], 2
    mov al, 'E'
    jz wrong
    say \"tasks: called and returned\\n\"
    .byte 0xCD, 0x30                // int 0x30
    say \"tasks: back from the gate\\n\"
    mov eax, 0x200
refused:
    .byte 0x8E, 0xD8                // mov ds, eax: #GP(0x200), which goes on behind it
    say \"tasks: back from the fault\\n\"
    .byte 0xEA
    .long 0
    .short 0x38
    test byte ptr [gdt + 0x38 + 5], 2
    mov al, 'F'
    jnz wrong
    say \"tasks: jumped back\\n\"
    mov edx, 0x604                  // power off
    mov eax, 0x2000
    out dx, ax
3:  hlt
    jmp 3b

called:
    mov eax, cr3
    cmp eax, offset directory_of_tasks
    mov al, 'G'
    jne wrong
    cmp word ptr [tss_called], 0x18 // the link
    mov al, 'H'
    jne wrong
    pushfd
    pop eax
    test eax, 0x4000                // NT
    mov al, 'I'
    jz wrong
    say \"tasks: called\\n\"
    iretd
    jmp called

gated:
    cmp esp, offset stack_of_gate   // no error code
    mov al, 'J'
    jne wrong
    say \"tasks: through the gate\\n\"
    iretd

faulted:
    pop eax
    cmp eax, 0x200
    mov al, 'K'
    jne wrong
    cmp dword ptr [tss_main + 0x20], offset refused
    mov al, 'L'
    jne wrong
    add dword ptr [tss_main + 0x20], 2
    say \"tasks: through the fault's gate\\n\"
    iretd

jumped:
    pushfd
    pop eax
    test eax, 0x4000
    mov al, 'M'
    jnz wrong
    test byte ptr [gdt + 0x18 + 5], 2
    mov al, 'N'
    jnz wrong
    say \"tasks: jumped\\n\"
    .byte 0xEA
    .long 0
    .short 0x18

wrong:                              // AL is the letter
    mov bl, al
    say \"tasks: wrong at \"
    mov edx, 0x3F8
    mov al, bl
    out dx, al
    mov al, 10
    out dx, al
    mov edx, 0xF4
    mov eax, 1
    out dx, eax
4:  hlt
    jmp 4b

print:                              // the text is behind the call
    pop esi
7:  mov edx, 0x3FD
5:  in al, dx
    test al, 0x20                   // transmitter empty
    jz 5b
    lodsb
    test al, al
    jz 6f
    mov edx, 0x3F8
    out dx, al
    jmp 7b
6:  jmp esi

    .section .data.tasks, \"aw\"
    .balign 16
gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF        // 08 code
    .quad 0x00CF93000000FFFF        // 10 data
    .quad 0x0000890000000067        // 18 main's TSS
    .quad 0x0000890000000067        // 20 called
    .quad 0x0000890000000067        // 28 by INT 0x30
    .quad 0x0000890000000067        // 30 by #GP
    .quad 0x0000890000000067        // 38 jumped to
gdt_pointer:
    .short . - gdt - 1
    .long gdt
idt:
    .fill 13, 8, 0
    .quad 0x0000850000300000        // task gate
    .fill 34, 8, 0
    .quad 0x0000850000280000        // 0x30
idt_pointer:
    .short . - idt - 1
    .long idt

    .section .bss.tasks, \"aw\", @nobits
    .balign 4096
directory_of_main: .skip 4096
directory_of_tasks: .skip 4096
    .skip 1024
stack_of_main:
    .skip 1024
stack_of_called:
    .skip 1024
stack_of_gate:
    .skip 1024
stack_of_fault:
    .skip 1024
stack_of_jumped:
tss_main: .skip 104
tss_called: .skip 104
tss_gate: .skip 104
tss_fault: .skip 104
tss_jumped: .skip 104
    .code64
    .section .text, \"ax\"
"
);

#[panic_handler]
fn panic(_information: &PanicInfo<'_>) -> ! {
    loop {}
}
