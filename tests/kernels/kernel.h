/* What the small kernels share. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __UINTPTR_TYPE__ word;

/* Called, not inlined, so that the call trace has it. */
#define NOINLINE __attribute__((noinline))
/* A table of the processor's. */
struct __attribute__((packed)) table { u16 limit; word base; };

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void lidt(const struct table *idt) { __asm__ volatile("lidt %0" : : "m"(*idt)); }
static inline void reload_cr3(void)
{
    word cr3;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
}

static void print(const char *text)
{
    while (*text)
        out8(0x3f8, *text++);
}

void kmain(void);
