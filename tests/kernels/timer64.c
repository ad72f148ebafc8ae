/* 64-bit: lets the timer interrupt before the IDT has a gate for its vector. */
#include "kernel.h"

static void start_timer(void)
{
    out8(0x20, 0x11); /* 8259: IRQ0 is vector 0x20 */
    out8(0x21, 0x20);
    out8(0x21, 0x04);
    out8(0x21, 0x01);
    out8(0x21, 0xfe); /* IRQ0 alone */
    out8(0x43, 0x34); /* 8254: 1000 times a second */
    out8(0x40, 0xa9);
    out8(0x40, 0x04);
}

static void idle(void)
{
    for (;;)
        __asm__ volatile("sti; hlt"); /* WRONG: the IDT has 32 gates, and the timer's is the next */
}

void kmain(void)
{
    for (int vector = 0; vector < GATES; vector++)
        set_gate(vector, 0x0e);
    load_idt();
    print("timer64: starting it\n");
    start_timer();
    idle();
}
