/* 32-bit: divides by zero; the IDT has no gate for that. */
#include "kernel.h"

static int average(int sum, int count)
{
    return sum / count; /* WRONG: nothing has been counted */
}

void kmain(void)
{
    load_idt();
    print("divide32: IDT loaded\n");
    average(10, 0);
}
