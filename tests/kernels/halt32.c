/* 32-bit: halts with interrupts on, and has no timer, and the UART masked at the 8259. */
#include "kernel.h"

static void idle(void)
{
    for (;;)
        __asm__ volatile("sti; hlt"); /* WRONG: nothing will come */
}

void kmain(void)
{
    for (int vector = 0; vector < GATES; vector++)
        set_gate(vector, 0x8e);
    load_idt();
    out8(0x3f9, 1); /* COM1 interrupts for a byte */
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    print("halt32: idle\n");
    idle();
}
