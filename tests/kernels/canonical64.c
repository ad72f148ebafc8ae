/* 64-bit: follows a pointer whose upper bits are garbage. There is no IDT. */
#include "kernel.h"

struct list {
    struct list *next;
    u64 value;
};

static u64 sum(const struct list *list)
{
    u64 sum = 0;
    while (list) {
        sum += list->value; /* WRONG: the second node is 0xdead000000000100 */
        list = list->next;
    }
    return sum;
}

void kmain(void)
{
    struct list first = { (struct list *)0xdead000000000100, 1 };
    print("canonical64: summing\n");
    sum(&first);
}
