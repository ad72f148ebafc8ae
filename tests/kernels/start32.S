# Multiboot 1 entry in 32-bit mode, with a flat GDT of its own. There is no IDT and no paging but
# what a kernel makes.
        .section .head, "ax"
        .code32
        .set    FLAGS, 0x10003          # address fields, memory map, whole pages
header: .long   0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
        .long   header, image_begin, data_end, bss_end, _start
        .globl  _start
        .type   _start, @function
_start: cld
        mov     $stack_top, %esp
        lgdt    gdtr
        lidt    no_idt
        ljmp    $0x08, $1f
1:      mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %ebp, %ebp              # the chain of frames ends here
        call    kmain
1:      hlt
        jmp     1b
        .size   _start, . - _start

# What a second processor executes at 0x8000, copied there: from real mode to second().
        .globl  trampoline, trampoline_end
        .code16
trampoline:
        cli
        lgdtl   %cs:second_gdtr - trampoline
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x08, $second_entry
second_gdtr:
        .word   47
        .long   gdt
trampoline_end:
        .code32
        .weak   second
second_entry:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $second_stack_top, %esp
        xor     %ebp, %ebp
        call    second
1:      hlt
        jmp     1b

        .data
        .balign 8
        .globl  gdt, gdtr
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff       # 08 code, 10 data
        .quad   0x00cff3000000ffff, 0x00cffb000000ffff          # 1b user data, 23 user code
        .quad   0                                               # 28 for a TSS
gdtr:   .word   . - gdt - 1
        .long   gdt
no_idt: .word   0
        .long   0

        .bss
        .balign 4096
        .skip   8192
stack_top:
        .skip   4096
second_stack_top:

        .section .note.GNU-stack, "", @progbits
