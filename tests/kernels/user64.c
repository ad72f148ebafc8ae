/* 64-bit: ring 3 faults before the kernel has a TSS, so that no stack is there for ring 0. */
#include "kernel.h"

extern u64 pages[], level2[], level3[], level4[];
static u8 user_stack[4096] __attribute__((aligned(4096)));
static int secret __attribute__((aligned(4096)));

static __attribute__((aligned(4096))) void user(void)
{
    secret = 1; /* WRONG: it is the kernel's, and the fault has nowhere to go */
    for (;;);
}

static void enter_ring_3(void)
{
    __asm__ volatile("push $0x1b; push %0; push $2; push $0x23; push %1; xor %%ebp, %%ebp; iretq"
                     : : "r"(user_stack + sizeof user_stack), "r"(user));
}

void kmain(void)
{
    for (int vector = 0; vector < GATES; vector++)
        set_gate(vector, 0x8e);
    load_idt();
    level4[0] |= 4;
    level3[0] |= 4;
    level2[0] |= 4;
    pages[(word)user >> 12] |= 4;
    pages[(word)user_stack >> 12] |= 4;
    reload_cr3();
    print("user64: to ring 3\n");
    enter_ring_3();
}
