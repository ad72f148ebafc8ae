/* 64-bit: jumps to code in a page of data that may not be executed. There is no IDT. */
#include "kernel.h"

extern u64 pages[];
static u8 code[4096] __attribute__((aligned(4096))) = { 0xc3 };

static void run(void (*generated)(void))
{
    generated(); /* WRONG: its page is no-execute */
}

void kmain(void)
{
    pages[(word)code >> 12] |= 1ull << 63;
    reload_cr3();
    print("execute64: code is made\n");
    run((void (*)(void))(word)code);
}
