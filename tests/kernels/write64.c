/* 64-bit: writes to an address that no page has, and there is no IDT. */
#include "kernel.h"

static NOINLINE void write_bad(volatile int *to)
{
    print("write64: paging on\n");
    *to = 1; /* WRONG: the second table has no entry for 0x3dead000 */
}

void kmain(void)
{
    write_bad((int *)0x3dead000);
}
