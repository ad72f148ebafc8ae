//! A 32-bit kernel that writes the text screen at 0xB8000 and asks its loader for text mode:
//! `hello on 0xb8000`, 40 lines, by which it scrolls as kernels do, and what it finds of the cursor
//! and of the loader's information. At the end it powers off; with `[stay]` it says so on COM1 and
//! halts, for a look at its screen.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;

global_asm!(
    "
    .set SCREEN, 0xB8000
    .set ROW_BYTES, 160

    .section .multiboot, \"a\"
    .balign 4
header:                             // page-aligned modules, memory sizes, text mode, addresses
    .long 0x1BADB002, 0x00010007, -(0x1BADB002 + 0x00010007)
    .long header, image_start, image_load_end, image_bss_end, entry32
    .long 1, 80, 25, 0

    .section .text32, \"ax\"
    .code32
    .global entry32
entry32:
    cli
    cld
    mov esp, offset stack_end
    mov ebp, ebx
    mov edi, SCREEN                 // clear it
    mov ecx, 80 * 25
    mov ax, 0x0720
    rep stosw
    mov esi, offset hello
    call print
    mov ecx, 0
2:  mov esi, offset line            // line 00 to line 39
    call print
    mov eax, ecx
    mov bl, 10
    div bl
    add ax, 0x3030
    mov bl, ah
    call put
    mov al, bl
    call put
    call new_line
    inc ecx
    cmp ecx, 40
    jb 2b
    mov esi, offset cursor_text     // what the registers give back
    call print
    mov bl, 0x0E
    call read_crtc
    call hexadecimal
    mov bl, 0x0F
    call read_crtc
    call hexadecimal
    call new_line
    mov esi, offset text_mode       // does the loader say that there is a text screen?
    test dword ptr [ebp], 1 << 12
    jz 3f
    cmp dword ptr [ebp + 88], SCREEN
    jne 3f
    cmp dword ptr [ebp + 96], ROW_BYTES
    jne 3f
    cmp dword ptr [ebp + 100], 80
    jne 3f
    cmp dword ptr [ebp + 104], 25
    jne 3f
    cmp word ptr [ebp + 108], 0x0210
    je 4f
3:  mov esi, offset no_text_mode
4:  call print
    mov esi, offset glyphs          // code page 437
    call print
    mov esi, [ebp + 16]             // the command line's last word
5:  lodsb
    test al, al
    jnz 5b
    cmp dword ptr [esi - 5], 0x79617473     // stay
    jne 11f
    mov esi, offset stays           // on COM1, for who watches it
    mov dx, 0x3F8
    mov ecx, 6
    rep outsb
    jmp 6f
11: mov dx, 0x604                   // power off
    mov ax, 0x2000
    out dx, ax
6:  cli
    hlt
    jmp 6b

print:                              // the text at ESI; a line feed ends the line
    lodsb
    test al, al
    jz 7f
    cmp al, 10
    je 8f
    call put
    jmp print
8:  call new_line
    jmp print
7:  ret

put:                                // the character AL
    mov edi, [place]
    mov ah, 0x1F
    mov [SCREEN + edi * 2], ax
    inc dword ptr [place]
    jmp move_cursor

new_line:
    pushad
    mov eax, [place]
    xor edx, edx
    mov ecx, 80
    div ecx
    inc eax
    cmp eax, 25
    jb 9f
    mov esi, SCREEN + ROW_BYTES     // all rows go up by one
    mov edi, SCREEN
    mov ecx, 24 * ROW_BYTES / 4
    rep movsd
    mov ecx, ROW_BYTES / 4
    mov eax, 0x07200720
    rep stosd
    mov eax, 24
9:  mul dword ptr [columns]
    mov [place], eax
    popad

move_cursor:
    pushad
    mov ebx, [place]
    mov dx, 0x3D4
    mov al, 0x0E
    mov ah, bh
    out dx, ax                      // index and data at once
    mov al, 0x0F
    out dx, al
    inc dx
    mov al, bl
    out dx, al
    popad
    ret

read_crtc:                          // register BL to AL
    mov dx, 0x3D4
    mov al, bl
    out dx, al
    inc dx
    in al, dx
    ret

hexadecimal:                        // AL as two digits
    mov bh, al
    shr al, 4
    call digit
    mov al, bh
    and al, 15
digit:
    add al, 0x30
    cmp al, 0x3A
    jb put
    add al, 0x27
    jmp put

    .section .rodata.text_screen, \"a\"
hello: .asciz \"hello on 0xb8000\\n\"
line: .asciz \"line \"
cursor_text: .asciz \"cursor \"
text_mode: .asciz \"the loader says: text\\n\"
no_text_mode: .asciz \"the loader says nothing of text\\n\"
stays: .ascii \"stays\n\"
glyphs: .byte 0x01, 0xC9, 0xCD, 0xBB, 0xE1, 0
    .balign 4
columns: .long 80

    .section .bss.text_screen, \"aw\", @nobits
    .balign 16
place: .skip 4
    .balign 16
    .skip 4096
stack_end:
    .code64
    .section .text, \"ax\"
"
);

#[panic_handler]
fn panic(_information: &PanicInfo<'_>) -> ! {
    loop {}
}
