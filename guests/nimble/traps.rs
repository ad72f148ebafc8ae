//! Into ring 0 and back: gates for all vectors, SYSCALL, and one way out that ends in SYSRET for
//! what came by SYSCALL and in IRET for all else. GS is swapped whenever ring 3 is left or entered.

use crate::common::cpu;
use crate::common::global::Global;
use crate::entry::{KERNEL_CODE, TASK_STATE, USER_CODE, USER_DATA};
use crate::kernel;
use crate::report::{Verdict, expect};
use core::arch::{asm, global_asm};

/// The vector of what came by SYSCALL, which has none.
pub const SYSTEM_CALL: u64 = 256;
/// What SYSCALL clears: TF, IF, DF, IOPL, NT, AC.
pub const MASKED_FLAGS: u64 = 0x4_7700;

const VECTORS: usize = 256;
const STUB_BYTES: u64 = 16;
const INTERRUPTS_ENABLED: u64 = 0x202;

const EFER: u32 = 0xC000_0080;
const STAR: u32 = 0xC000_0081;
const LSTAR: u32 = 0xC000_0082;
const FMASK: u32 = 0xC000_0084;
const GS_BASE: u32 = 0xC000_0101;
const KERNEL_GS_BASE: u32 = 0xC000_0102;
const APIC_BASE: u32 = 0x1B;

/// The registers of what was left, in the order in which they are pushed.
#[derive(Clone, Copy, Default)]
#[repr(C, align(16))]
pub struct Frame {
    registers: [u64; 8],
    pub rdi: u64,
    pub rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rcx: u64,
    pub rax: u64,
    pub vector: u64,
    /// The error code; of a system call, the flags at its entry.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl Frame {
    /// The start of a program in ring 3.
    pub fn start(entry: u64, stack: u64, arguments: [u64; 2]) -> Self {
        let [rdi, rsi] = arguments;
        Self {
            rdi,
            rsi,
            rip: entry,
            cs: u64::from(USER_CODE),
            rflags: INTERRUPTS_ENABLED,
            rsp: stack,
            ss: u64::from(USER_DATA),
            ..Self::default()
        }
    }
}

global_asm!(
    "
    .section .text.traps, \"ax\"
    .balign 16
trap_stubs:                         // 16 bytes each: push an error code if the processor did not
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    push 0
    .endif
    push vector
    jmp trap_entry
    .set vector, vector + 1
    .endr

trap_entry:
    test byte ptr [rsp + 3 * 8], 3  // the ring of the interrupted code segment
    jz 2f
    swapgs
    jmp 2f

system_call_entry:
    swapgs
    mov gs:[8], rsp
    mov rsp, gs:[0]
    push {user_data}
    push qword ptr gs:[8]
    push r11
    push {user_code}
    push rcx
    pushfq
    push {system_call}
2:  push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    call {trap}
    test al, al
    jz 5f

trap_return:                        // RSP: the frame
    cmp qword ptr [rsp + 15 * 8], {system_call}
    mov rax, [rsp + 18 * 8]
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    je 4f
    test al, 3
    jz 3f
    swapgs
3:  pop rax
    add rsp, 16
    iretq
4:  pop rax                         // RCX and R11 are RIP and the flags, as SYSCALL left them
    mov rsp, [rsp + 5 * 8]
    swapgs
    sysretq

user_run:                           // (frame)
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [user_run_stack], rsp
    mov rsp, rdi
    jmp trap_return
5:  mov rsp, [user_run_stack]       // the trap ends the run: back to the caller of user_run
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

    .section .data.traps, \"aw\"
    .balign 16
processor_area:                     // GS in ring 0: the stack, and a place for ring 3's
    .quad trap_stack_top, 0
task_state:
    .long 0
    .quad trap_stack_top            // of ring 0
    .skip 90
    .short 104                      // no port for ring 3
    .section .bss.traps, \"aw\", @nobits
    .balign 16
    .skip 16384
trap_stack_top:
user_run_stack: .skip 8
    .section .text, \"ax\"
    ",
    trap = sym kernel::trap,
    system_call = const SYSTEM_CALL,
    user_code = const USER_CODE,
    user_data = const USER_DATA,
);

unsafe extern "C" {
    static trap_stubs: u8;
    static system_call_entry: u8;
    static processor_area: u8;
    static task_state: u8;
    static mut nimble_gdt: [u64; 9];
    fn user_run(frame: *const Frame);
}

static GATES: Global<[[u64; 2]; VECTORS]> = Global::new([[0; 2]; VECTORS]);

/// Loads the task state segment and the gates.
pub fn initialise() {
    const AVAILABLE_TSS: u64 = 0x89 << 40;
    const LIMIT: u64 = 103;
    let base = &raw const task_state as u64;
    let low = LIMIT | (base & 0xFF_FFFF) << 16 | AVAILABLE_TSS | (base >> 24 & 0xFF) << 56;
    // SAFETY: the table reserves two entries for this descriptor, and it is not loaded yet.
    unsafe { nimble_gdt[7] = low };
    // SAFETY: the descriptor written above is valid.
    unsafe { asm!("ltr {:x}", in(reg) TASK_STATE, options(nostack)) }
    // SAFETY: the only reference; the gates are not in use yet.
    let gates = unsafe { &mut *GATES.pointer() };
    let mut entry = &raw const trap_stubs as u64;
    for gate in gates {
        const INTERRUPT_GATE: u64 = 0x8E00 << 32;
        let offset = entry & 0xFFFF | (entry >> 16 & 0xFFFF) << 48;
        *gate = [offset | u64::from(KERNEL_CODE) << 16 | INTERRUPT_GATE, entry >> 32];
        entry += STUB_BYTES;
    }
    let pointer = [((VECTORS * 16 - 1) as u64) << 48, GATES.pointer() as u64];
    let pointer = (&raw const pointer).cast::<u8>().wrapping_add(6);
    // SAFETY: the ten bytes there are the limit and the address of the gates, which live for ever.
    unsafe { asm!("lidt [{}]", in(reg) pointer, options(nostack)) }
}

/// Opens the way in by SYSCALL, register by register in this guest's order.
pub fn step() -> Verdict {
    const SELECTORS: u64 = 0x0023_0010_0000_0000;
    const LONG_MODE_AND_NO_EXECUTE: u64 = 0xD00;
    const SYSTEM_CALLS: u64 = 1;
    const APIC_AT_ITS_PLACE: u64 = 0xFEE0_0900; // enabled, the bootstrap processor's
    let area = &raw const processor_area as u64;
    write_msr(LSTAR, &raw const system_call_entry as u64);
    write_msr(STAR, SELECTORS);
    write_msr(FMASK, MASKED_FLAGS);
    let efer = cpu::read_msr(EFER);
    write_msr(EFER, efer | SYSTEM_CALLS);
    write_msr(KERNEL_GS_BASE, 0);
    write_msr(GS_BASE, area);
    let apic_base = cpu::read_msr(APIC_BASE);
    expect("EFER", LONG_MODE_AND_NO_EXECUTE, efer)?;
    expect("EFER", LONG_MODE_AND_NO_EXECUTE | SYSTEM_CALLS, cpu::read_msr(EFER))?;
    expect("APIC_BASE", APIC_AT_ITS_PLACE, apic_base)?;
    expect("STAR", SELECTORS, cpu::read_msr(STAR))?;
    expect("FMASK", MASKED_FLAGS, cpu::read_msr(FMASK))?;
    expect_gs_unswapped()
}

/// GS is ring 0's.
pub fn expect_gs_unswapped() -> Verdict {
    expect("GS_BASE", &raw const processor_area as u64, cpu::read_msr(GS_BASE))?;
    expect("KERNEL_GS_BASE", 0, cpu::read_msr(KERNEL_GS_BASE))
}

/// Goes on in ring 3, with interrupts on, until a trap ends that.
pub fn run(frame: &Frame) {
    // SAFETY: the frame is one of ring 3, which cannot harm ring 0; user_run keeps the convention.
    unsafe { user_run(frame) }
}

fn write_msr(register: u32, value: u64) {
    // SAFETY: `step` writes nothing that would change where code and data are found.
    unsafe { cpu::write_msr(register, value) }
}
