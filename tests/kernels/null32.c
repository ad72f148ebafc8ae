/* 32-bit: writes by a null pointer, with page 0 unmapped. There is no IDT. */
#include "kernel.h"

static u32 directory[1024] __attribute__((aligned(4096)));
static u32 pages[1024] __attribute__((aligned(4096)));

struct task {
    int id;
    int state;
};

static void set_state(struct task *task, int state)
{
    task->state = state; /* WRONG: there is no current task */
}

void kmain(void)
{
    for (u32 page = 1; page < 1024; page++)
        pages[page] = page << 12 | 3;
    directory[0] = (u32)pages | 3;
    __asm__ volatile("mov %0, %%cr3; mov %%cr0, %%eax; or $0x80000000, %%eax; mov %%eax, %%cr0"
                     : : "r"(directory) : "eax", "memory");
    print("null32: paging on\n");
    set_state((struct task *)0, 2);
}
