/* 32-bit: writes by a null pointer, with page 0 unmapped. There is no IDT. */
#include "kernel.h"


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
    page_from(1);
    print("null32: paging on\n");
    set_state((struct task *)0, 2);
}
