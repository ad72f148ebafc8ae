/* 32-bit: ring 3 makes a system call before the kernel has a TSS. */
#include "kernel.h"

static u8 user_stack[1024];

static void user(void)
{
    __asm__ volatile("int $0x1f"); /* WRONG: no TSS has the stack of ring 0 */
    for (;;);
}

static void enter_ring_3(void)
{
    __asm__ volatile("mov $0x1b, %%eax; mov %%eax, %%ds; mov %%eax, %%es\n"
                     "push $0x1b; push %0; push $2; push $0x23; push %1; xor %%ebp, %%ebp; iret"
                     : : "r"(user_stack + sizeof user_stack), "r"(user) : "eax");
}

void kmain(void)
{
    for (int vector = 0; vector < GATES; vector++)
        set_gate(vector, 0xee);
    load_idt();
    print("task32: to ring 3\n");
    enter_ring_3();
}
