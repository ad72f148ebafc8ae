//! A raw image for the seed's way of booting: no header, loaded and entered at 2 MiB in flat 32-bit
//! protected mode (by the monitor or by a stub at 0x8000). Uses no stack and no descriptor table.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;

global_asm!(
    "
    .section .text32.start, \"ax\"
    .code32
    .global flat_start
flat_start:
    cli
    cld
    mov dx, 0x3F9                   // COM1: 115200 baud 8N1, FIFOs on, no interrupts
    mov al, 0
    out dx, al
    mov dx, 0x3FB
    mov al, 0x80
    out dx, al
    mov dx, 0x3F8
    mov al, 1
    out dx, al
    mov dx, 0x3F9
    mov al, 0
    out dx, al
    mov dx, 0x3FB
    mov al, 3
    out dx, al
    mov dx, 0x3FA
    mov al, 0xC7
    out dx, al
    mov esi, offset flat_text
2:  mov dx, 0x3FD
3:  in al, dx
    test al, 0x20                   // transmitter empty
    jz 3b
    lodsb
    test al, al
    jz 4f
    mov dx, 0x3F8
    out dx, al
    jmp 2b
4:  mov dx, 0x604                   // power off
    mov ax, 0x2000
    out dx, ax
5:  cli
    hlt
    jmp 5b
flat_text:
    .asciz \"flat: hello\\n\"
    .code64
    .section .text, \"ax\"
"
);

#[panic_handler]
fn panic(_information: &PanicInfo<'_>) -> ! {
    loop {}
}
