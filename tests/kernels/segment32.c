/* 32-bit: loads a data segment that the GDT does not have. There is no IDT. */
#include "kernel.h"

static void set_data_segment(u32 selector)
{
    __asm__ volatile("mov %0, %%ds" : : "r"(selector)); /* WRONG: the GDT ends before 0x50 */
}

void kmain(void)
{
    print("segment32: segments are set\n");
    set_data_segment(0x50);
}
