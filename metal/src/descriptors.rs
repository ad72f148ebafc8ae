//! GDT, TSS and IDT. Every gate but one has a stack of its own (IST): the precompiled `core` keeps
//! values below the stack pointer, where an interrupt on the same stack would write.

use core::arch::asm;
use core::cell::UnsafeCell;

/// Selector of the 64-bit code segment.
pub const CODE: u16 = 0x08;
/// Selector of the data segment.
pub const DATA: u16 = 0x10;
/// Selector of the task state segment.
pub const TASK_STATE: u16 = 0x18;

const STACK_BYTES: usize = 16384;
/// Interrupts; non-maskable interrupt; double fault; machine check; all other exceptions.
const STACKS: usize = 5;

/// The 64-bit task state segment (SDM vol. 3, 8.7) in 32-bit words.
const TSS_WORDS: usize = 26;

#[repr(C, align(16))]
struct Tables {
    gdt: [u64; 5],
    tss: [u32; TSS_WORDS],
    idt: [[u64; 2]; 256],
    stacks: [[u8; STACK_BYTES]; STACKS],
}

/// What LGDT and LIDT load, SGDT and SIDT store.
#[repr(C, packed)]
#[derive(Default)]
pub(crate) struct Pointer {
    limit: u16,
    pub(crate) base: u64,
}

struct Static(UnsafeCell<Tables>);

// SAFETY: one processor, and `load` is the only one to touch it.
unsafe impl Sync for Static {}

static TABLES: Static = Static(UnsafeCell::new(Tables {
    gdt: [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0],
    tss: [0; TSS_WORDS],
    idt: [[0; 2]; 256],
    stacks: [[0; STACK_BYTES]; STACKS],
}));

/// Loads GDT, task register and IDT; gate `n` leads to `stubs + 16 * n`.
///
/// # Safety
/// Once, before anything is interrupted, and there are stubs for all 256.
pub unsafe fn load(stubs: u64) {
    // SAFETY: the caller's promise: nothing else refers to it.
    let tables = unsafe { &mut *TABLES.0.get() };
    for (index, stack) in tables.stacks.iter().enumerate() {
        let top = stack.as_ptr() as u64 + STACK_BYTES as u64;
        tables.tss[9 + 2 * index] = top as u32;
        tables.tss[10 + 2 * index] = (top >> 32) as u32;
    }
    // No I/O map: its base lies at the limit.
    tables.tss[25] = (size_of::<[u32; TSS_WORDS]>() as u32) << 16;
    let base = tables.tss.as_ptr() as u64;
    let limit = size_of::<[u32; TSS_WORDS]>() as u64 - 1;
    tables.gdt[3] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    tables.gdt[4] = base >> 32;
    for (vector, gate) in tables.idt.iter_mut().enumerate() {
        *gate = interrupt_gate(stubs + 16 * vector as u64, stack_of(vector));
    }
    let gdt = Pointer { limit: 39, base: tables.gdt.as_ptr() as u64 };
    let idt = Pointer { limit: 4095, base: tables.idt.as_ptr() as u64 };
    // SAFETY: the tables live for ever and hold what the processor expects of them.
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "mov ds, {data:x}",
            "mov es, {data:x}",
            "mov ss, {data:x}",
            "ltr {task:x}",
            "push {code}",              // CS by a far return
            "lea {code}, [rip + 2f]",
            "push {code}",
            "retfq",
            "2:",
            gdt = in(reg) &raw const gdt,
            idt = in(reg) &raw const idt,
            data = in(reg) u64::from(DATA),
            task = in(reg) u64::from(TASK_STATE),
            code = inout(reg) u64::from(CODE) => _,
        );
    }
}

/// Which interrupt stack, from 1; 0 is the interrupted one.
const fn stack_of(vector: usize) -> u64 {
    match vector {
        // Bochs raises it right after VMRUN, where the task register is still the guest's
        // (`interrupts`).
        1 => 0,
        2 => 2,
        8 => 3,
        18 => 4,
        0..=31 => 5,
        _ => 1,
    }
}

/// A present 64-bit interrupt gate (SDM vol. 3, 6.14.1).
const fn interrupt_gate(handler: u64, stack: u64) -> [u64; 2] {
    let low = (handler & 0xffff)
        | (CODE as u64) << 16
        | stack << 32
        | 0x8e << 40
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_names_handler_selector_and_stack() {
        let gate = interrupt_gate(0x1234_5678_9abc_def0, 3);
        assert_eq!(gate, [0x9abc_8e03_0008_def0, 0x1234_5678]);
    }
}
