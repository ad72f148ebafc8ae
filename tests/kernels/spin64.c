/* 64-bit: waits with interrupts off for what an interrupt would bring. */
#include "kernel.h"

static volatile int ticks;

static void wait_for_tick(void)
{
    int before = ticks;
    while (ticks == before)
        ; /* WRONG: interrupts are off */
}

void kmain(void)
{
    __asm__ volatile("cli");
    print("spin64: waiting\n");
    wait_for_tick();
}
