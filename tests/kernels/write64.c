/* 64-bit: a driver writes to its device before the device is mapped. There is no IDT. */
#include "kernel.h"

static void write_bad(volatile u32 *device)
{
    *device = 1; /* WRONG: the table of level 2 has no entry for it */
}

void kmain(void)
{
    print("write64: paging on\n");
    write_bad((u32 *)0x3dead000);
}
