/* 32-bit without paging: calls a driver that was never registered, where no RAM is. */
#include "kernel.h"

struct driver {
    void (*start)(void);
};

static struct driver drivers[2] = { { (void (*)(void))0x40000000 }, { 0 } };

static void start_all(void)
{
    drivers[0].start(); /* WRONG: nothing is at 0x40000000 */
}

void kmain(void)
{
    print("nowhere32: starting drivers\n");
    start_all();
}
