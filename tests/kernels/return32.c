/* 32-bit: a copy without a bound overwrites a return address. Paging is on; there is no IDT. */
#include "kernel.h"

static u32 directory[1024] __attribute__((aligned(4096)));
static u32 pages[1024] __attribute__((aligned(4096)));
static const char name[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static void copy(char *to, const char *from)
{
    while (*from)
        *to++ = *from++;
}

static void greet(void)
{
    char buffer[8];
    copy(buffer, name);
} /* WRONG: it returns to 0x41414141 */

void kmain(void)
{
    for (u32 page = 0; page < 1024; page++)
        pages[page] = page << 12 | 3;
    directory[0] = (u32)pages | 3;
    __asm__ volatile("mov %0, %%cr3; mov %%cr0, %%eax; or $0x80000000, %%eax; mov %%eax, %%cr0"
                     : : "r"(directory) : "eax", "memory");
    print("return32: paging on\n");
    greet();
}
