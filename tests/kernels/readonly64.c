/* 64-bit: writes to a constant in a page that is read-only, with CR0.WP. There is no IDT. */
#include "kernel.h"

extern u64 pages[];
static u32 limits[1024] __attribute__((aligned(4096))) = { 100 };

static void raise_limit(u32 *limit)
{
    *limit += 1; /* WRONG: its page is read-only */
}

void kmain(void)
{
    pages[(word)limits >> 12] &= ~2ull;
    reload_cr3();
    print("readonly64: constants are protected\n");
    raise_limit(limits);
}
