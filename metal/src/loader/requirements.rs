//! Checks, in the loader's 32-bit mode, what the processor must have for the 64-bit program to
//! start at all: the first use of a missing feature would be a triple fault without a message. The
//! message goes to COM1, to the top of the text screen, and to the program that runs an emulator;
//! then the processor halts.

use core::arch::global_asm;

/// For messages of this file alone: [`crate::port`] cannot be used yet.
const MACHINE_REFUSED: u32 = 3;

global_asm!(
    "
    .section .rodata.requirements, \"a\"
    .balign 4
requirements:                           // leaf of CPUID, bit of EDX, what it is
    .long 1, 1 << 6, needs_pae
    .long 1, 1 << 5, needs_msr
    .long 1, 1 << 9, needs_apic
    .long 1, 1 << 24, needs_fxsr
    .long 1, 1 << 26, needs_sse2
    .long 0x80000001, 1 << 29, needs_long
    .long 0x80000001, 1 << 20, needs_nx
    .long 0
needs_cpuid: .asciz \"CPUID\"
needs_pae: .asciz \"physical address extension (CPUID 1, EDX bit 6)\"
needs_msr: .asciz \"model-specific registers (CPUID 1, EDX bit 5)\"
needs_apic: .asciz \"a local APIC, or firmware forbids it (CPUID 1, EDX bit 9)\"
needs_fxsr: .asciz \"FXSAVE and FXRSTOR (CPUID 1, EDX bit 24)\"
needs_sse2: .asciz \"SSE2 (CPUID 1, EDX bit 26)\"
needs_long: .asciz \"a 64-bit mode (CPUID 8000_0001h, EDX bit 29)\"
needs_nx: .asciz \"no-execute pages, or firmware forbids them (CPUID 8000_0001h, EDX bit 20)\"
lacks: .asciz \"tandem: the processor lacks \"
crlf: .asciz \"\\r\\n\"
refused_exit: .asciz \"tandem-exit: {refused}\\n\"
bochs_shutdown: .asciz \"Shutdown\"

    .section .text32, \"ax\"
    .code32
    .global check_requirements
check_requirements:                     // returns if all are met; changes all registers
    pushfd                              // CPUID exists if its flag can be changed (SDM vol. 1,
    pop eax                             // 3.4.3.3)
    mov ecx, eax
    xor eax, 1 << 21
    push eax
    popfd
    pushfd
    pop eax
    xor eax, ecx
    mov ebp, offset needs_cpuid
    jz 9f
    mov esi, offset requirements
2:  mov edi, [esi]
    test edi, edi
    jz 3f
    mov ebp, [esi + 8]
    mov eax, edi
    and eax, 0x80000000
    cpuid                               // the highest leaf of its kind
    cmp eax, edi
    jb 9f
    mov eax, edi
    cpuid
    test edx, [esi + 4]
    jz 9f
    add esi, 12
    jmp 2b
3:  ret

9:  mov edi, 0xb8000                    // text screen, top line
    mov edx, 0x3f9                      // COM1: 115200 baud, 8N1
    xor eax, eax
    out dx, al
    mov edx, 0x3fb
    mov al, 0x80
    out dx, al
    mov edx, 0x3f8
    mov al, 1
    out dx, al
    inc edx
    xor eax, eax
    out dx, al
    mov edx, 0x3fb
    mov al, 3
    out dx, al
    mov esi, offset lacks
    call 5f
    mov esi, ebp
    call 5f
    mov esi, offset crlf
    call 5f
    in al, 0xe9                         // Bochs's and QEMU's debug console answers so
    cmp al, 0xe9
    jne 8f
    mov esi, offset refused_exit
4:  lodsb
    test al, al
    jz 4f
    out 0xe9, al
    jmp 4b
4:  mov eax, {refused}
    out 0xf4, ax                        // QEMU's isa-debug-exit
    mov esi, offset bochs_shutdown
    mov edx, 0x8900
    mov ecx, 8
    rep outsb
8:  cli
    hlt
    jmp 8b

5:  lodsb                               // prints from ESI on, up to a zero
    test al, al
    jz 3b
    mov bl, al
    mov edx, 0x3fd
    mov ecx, 1000000                    // an absent port is not waited for for ever
6:  in al, dx
    test al, 0x20
    jnz 7f
    loop 6b
7:  mov al, bl
    mov edx, 0x3f8
    out dx, al
    cmp bl, 32
    jb 5b
    mov ah, 0x0f
    stosw
    jmp 5b
    .code64
    .section .text, \"ax\"
",
    refused = const MACHINE_REFUSED,
);
