/* 64-bit: recurses until the stack reaches its guard page. Handlers are there, on that stack. */
#include "kernel.h"

extern u64 pages[];
extern u8 guard[];

static int depth(int level)
{
    volatile u8 room[200];
    room[0] = level;
    return depth(level + 1) + room[0]; /* WRONG: it never ends */
}

void kmain(void)
{
    for (int vector = 0; vector < GATES; vector++)
        set_gate(vector, 0x8e);
    load_idt();
    pages[(word)guard >> 12] = 0;
    reload_cr3();
    print("overflow64: the guard page is in place\n");
    depth(0);
}
