/* 64-bit: maps a page of 2 MiB at an address that is no multiple. There is no IDT. */
#include "kernel.h"

extern u64 level2[];

static void map_large(int entry, u64 physical)
{
    level2[entry] = physical | 0x83;
    reload_cr3();
}

static u32 probe(volatile u32 *address)
{
    return *address; /* WRONG: bits 20:13 of the entry are reserved */
}

void kmain(void)
{
    map_large(1, 0x302000);
    print("reserved64: mapped\n");
    probe((u32 *)0x200000);
}
