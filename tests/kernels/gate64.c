/* 64-bit: a system call by INT 0x80, for which the IDT is too short. */
#include "kernel.h"

static void system_call(void)
{
    __asm__ volatile("int $0x80"); /* WRONG: the IDT has 32 gates, and they are empty */
}

void kmain(void)
{
    load_idt();
    print("gate64: IDT loaded\n");
    system_call();
}
