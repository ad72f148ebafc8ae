/* 32-bit, 2 processors: each has one of two locks and waits for the other. */
#include "kernel.h"

static volatile u32 * const local_apic = (volatile u32 *)0xfee00000;
extern u8 trampoline[], trampoline_end[];
static volatile int disk, cache;
static volatile int both_begun;

static void lock(volatile int *which)
{
    while (__atomic_exchange_n(which, 1, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
}

static void meet(void)
{
    __atomic_add_fetch(&both_begun, 1, __ATOMIC_SEQ_CST);
    while (both_begun < 2)
        __builtin_ia32_pause();
}

static void flush(void)
{
    lock(&cache);
    meet();
    print("locks32: both hold one\n");
    lock(&disk); /* WRONG: the other processor has it, and waits for ours */
}

static void evict(void)
{
    lock(&disk);
    meet();
    lock(&cache); /* WRONG: the same the other way round */
}

/* The second processor comes here from the trampoline. */
void second(void)
{
    evict();
}

void kmain(void)
{
    u8 *to = (u8 *)0x8000;
    for (u8 *from = trampoline; from < trampoline_end; from++)
        *to++ = *from;
    print("locks32: starting the second processor\n");
    local_apic[0xf0 / 4] = 0x1ff;
    local_apic[0x310 / 4] = 1 << 24;
    local_apic[0x300 / 4] = 0x4500; /* INIT */
    local_apic[0x310 / 4] = 1 << 24;
    local_apic[0x300 / 4] = 0x4608; /* start-up at 0x8000 */
    flush();
}
