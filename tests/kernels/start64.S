# Multiboot 1 entry, and 64-bit mode with the first 2 MiB mapped one to one: pages of 4 KiB, so that
# a kernel may change one of them. There is no IDT but what a kernel loads.
        .section .head, "ax"
        .code32
        .set    FLAGS, 0x10003          # address fields, memory map, whole pages
header: .long   0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
        .long   header, image_begin, data_end, bss_end, entry
        .globl  entry
entry:  cld
        mov     $stack_top, %esp
        movl    $level3 + 3, level4
        movl    $level2 + 3, level3
        movl    $pages + 3, level2
        mov     $pages, %edi
        mov     $3, %eax                # present, writable
1:      mov     %eax, (%edi)
        add     $8, %edi
        add     $0x1000, %eax
        cmp     $0x200000, %eax
        jb      1b
        mov     $level4, %eax
        mov     %eax, %cr3
        mov     %cr4, %eax
        or      $0x20, %eax             # PAE
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx       # EFER: LME, NXE
        rdmsr
        or      $0x900, %eax
        wrmsr
        mov     $0x80010033, %eax       # PG, WP, NE, ET, MP, PE
        mov     %eax, %cr0
        lgdt    gdtr
        lidt    no_idt
        ljmp    $0x08, $_start
        .code64
        .globl  _start
        .type   _start, @function
_start:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %ebp, %ebp              # the chain of frames ends here
        call    kmain
1:      hlt
        jmp     1b
        .size   _start, . - _start

        .data
        .balign 8
        .globl  gdt, gdtr
gdt:    .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff       # 08 code, 10 data
        .quad   0x00cff3000000ffff, 0x00affb000000ffff          # 1b user data, 23 user code
        .quad   0, 0                                            # 28 for a TSS
gdtr:   .word   . - gdt - 1
        .long   gdt, 0
no_idt: .word   0
        .long   0, 0

        .bss
        .balign 4096
        .globl  pages, level2, level3, level4, guard
level4: .skip   4096
level3: .skip   4096
level2: .skip   4096
pages:  .skip   4096
guard:  .skip   4096
        .skip   8192
stack_top:

        .section .note.GNU-stack, "", @progbits
