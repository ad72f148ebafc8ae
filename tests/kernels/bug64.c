/* 64-bit: a check fails and executes UD2; the IDT has gates, but none is present. */
#include "kernel.h"

#define BUG_ON(condition) do { if (condition) __asm__ volatile("ud2"); } while (0)

static int references;

static void put(void)
{
    references--;
    BUG_ON(references < 0); /* WRONG: it was put twice */
}

void kmain(void)
{
    for (int vector = 0; vector < GATES; vector++)
        set_gate(vector, 0x0e);
    load_idt();
    print("bug64: IDT loaded\n");
    references = 1;
    put();
    put();
}
