/* What the small kernels share: kernels that go wrong, each in one way, at the line marked WRONG. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __UINTPTR_TYPE__ word;

/* A table of the processor's: IDT, GDT. */
struct __attribute__((packed)) table {
    u16 limit;
    word base;
};

/* A gate of the IDT (SDM vol. 3, 6.11 and 6.14.1). */
struct __attribute__((packed)) gate {
    u16 offset_low;
    u16 selector;
    u8 stack;
    u8 type;
    u16 offset_middle;
#ifdef __x86_64__
    u32 offset_high;
    u32 reserved;
#endif
};

#define GATES 32
static struct gate idt[GATES];

static void out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void print(const char *text)
{
    while (*text)
        out8(0x3f8, *text++);
}

/* Handlers that do nothing: what they would do is never reached. */
static void handler(void)
{
    print("a handler runs\n");
    for (;;)
        __asm__ volatile("hlt");
}

static void set_gate(int vector, u8 type)
{
    word to = (word)handler;
    idt[vector].offset_low = to;
    idt[vector].selector = 0x08;
    idt[vector].type = type;
    idt[vector].offset_middle = to >> 16;
#ifdef __x86_64__
    idt[vector].offset_high = to >> 32;
#endif
}

static void load_idt(void)
{
    struct table table = { sizeof idt - 1, (word)idt };
    __asm__ volatile("lidt %0" : : "m"(table));
}

static inline void reload_cr3(void)
{
    word cr3;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
}

#ifndef __x86_64__
static u32 directory[1024] __attribute__((aligned(4096)));
static u32 pages[1024] __attribute__((aligned(4096)));

/* 32-bit paging: the first 4 MiB one to one, from this page on. */
static void page_from(u32 first)
{
    for (u32 page = first; page < 1024; page++)
        pages[page] = page << 12 | 3;
    directory[0] = (u32)pages | 3;
    __asm__ volatile("mov %0, %%cr3; mov %%cr0, %%eax; or $0x80000000, %%eax; mov %%eax, %%cr0"
                     : : "r"(directory) : "eax", "memory");
}
#endif
