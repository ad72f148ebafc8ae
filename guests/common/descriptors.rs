//! The interrupt descriptor table and the task state segment.

use super::boot::{KERNEL_CODE, TASK_STATE};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

pub use super::global::Global;

/// Vectors with a gate: 32 exceptions, 16 of the 8259 pair, 16 of the local APIC.
pub const VECTORS: usize = 64;
/// The first vector that is no exception.
pub const FIRST_INTERRUPT: u64 = 32;

/// Who may use a gate with the INT instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Only the processor itself.
    Hardware,
    /// Ring 3 too.
    Ring3,
}

static GATES: Global<[[u64; 2]; VECTORS]> = Global::new([[0; 2]; VECTORS]);
static TASK: Global<TaskState> = Global::new(TaskState::EMPTY);

/// The 64-bit task state segment in 32-bit words, because its quadwords are not aligned. All
/// addresses of an image are below 4 GiB.
#[repr(C)]
pub struct TaskState {
    _reserved: u32,
    ring_0_stack_low: u32,
    _ring_0_stack_high: u32,
    _unused: [u32; 6],
    fault_stack_low: u32,
    _fault_stack_high: u32,
    _others: [u32; 14],
    _io_map: u32,
}

impl TaskState {
    pub const EMPTY: Self = Self {
        _reserved: 0,
        ring_0_stack_low: 0,
        _ring_0_stack_high: 0,
        _unused: [0; 6],
        fault_stack_low: 0,
        _fault_stack_high: 0,
        _others: [0; 14],
        _io_map: 104 << 16, // beyond the segment: no port for ring 3 unless its IOPL allows it
    };

    /// Sets where the stack ends that NMIs and double faults use.
    pub fn set_fault_stack(&mut self, end: u64) {
        self.fault_stack_low = end as u32;
    }

    /// Its descriptor, which takes two entries of the GDT.
    pub fn descriptor(&self) -> [u64; 2] {
        const AVAILABLE_TSS: u64 = 0x89;
        let (base, limit) = (&raw const *self as u64, size_of::<Self>() as u64 - 1);
        let low =
            limit | (base & 0xFF_FFFF) << 16 | AVAILABLE_TSS << 40 | (base >> 24 & 0xFF) << 56;
        [low, base >> 32]
    }
}

global_asm!(
    "
    .section .bss.fault_stack, \"aw\", @nobits
    .balign 16
    .skip 4096
fault_stack_top:
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static fault_stack_top: u8;
    static boot_gdt: [UnsafeCell<u64>; 7];
}

/// NMI and double fault may find the stack unusable, or in use.
fn uses_fault_stack(vector: usize) -> bool {
    matches!(vector, 2 | 8)
}

/// Sends a vector to the code at `entry`, with interrupts off.
pub fn set_gate(vector: usize, entry: u64, caller: Caller) {
    const INTERRUPT_GATE: u64 = 0x8E00;
    const RING_3: u64 = 0x6000;
    let ring = if caller == Caller::Ring3 { RING_3 } else { 0 };
    let kind = INTERRUPT_GATE | ring | u64::from(uses_fault_stack(vector));
    let offset = entry & 0xFFFF | (entry >> 16 & 0xFFFF) << 48;
    // SAFETY: the only reference; the processor reads a gate only when its vector is raised.
    let gates = unsafe { &mut *GATES.pointer() };
    if let Some(gate) = gates.get_mut(vector) {
        *gate = [offset | u64::from(KERNEL_CODE) << 16 | kind << 32, entry >> 32];
    }
}

/// Loads the gates and the task state segment.
pub fn load() {
    // SAFETY: the only reference; the segment is not in use yet.
    let task = unsafe { &mut *TASK.pointer() };
    task.set_fault_stack(&raw const fault_stack_top as u64);
    let [low, high] = task.descriptor();
    // SAFETY: the table reserves two entries for this descriptor, and it is not loaded yet.
    unsafe { *boot_gdt[5].get() = low };
    // SAFETY: as above.
    unsafe { *boot_gdt[6].get() = high };
    // SAFETY: the descriptor written above is valid.
    unsafe { load_task_state() };
    load_gates();
}

/// Loads the gates alone, which all processors share.
pub fn load_gates() {
    let limit = (VECTORS * 16 - 1) as u64;
    let pointer = [limit << 48, GATES.pointer() as u64];
    let pointer = (&raw const pointer).cast::<u8>().wrapping_add(6);
    // SAFETY: the ten bytes there are the limit and the address of the gates, which live for ever.
    unsafe { asm!("lidt [{}]", in(reg) pointer, options(nostack)) }
}

/// Loads the task state segment of this processor's GDT.
///
/// # Safety
///
/// The GDT has the descriptor of one at [`TASK_STATE`], which lives for ever.
pub unsafe fn load_task_state() {
    // SAFETY: the caller's promise.
    unsafe { asm!("ltr {:x}", in(reg) TASK_STATE, options(nostack)) }
}

/// Sets where the stack ends that the next trap from ring 3 uses.
pub fn set_ring_0_stack(end: u64) {
    // SAFETY: the only reference; the processor reads the segment only when it enters ring 0.
    let task = unsafe { &mut *TASK.pointer() };
    task.ring_0_stack_low = end as u32;
}
