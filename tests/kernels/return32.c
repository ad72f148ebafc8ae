/* 32-bit: a copy without a bound overwrites a return address. There is no IDT. */
#include "kernel.h"

static const char name[] = "AAAAAAAAAAAAAAAAAAAAAAAA";

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
    print("return32: greeting\n");
    greet();
}
