//! Crossing between ring 3 and ring 0: the entry stubs and the saved registers.
//!
//! The ring-0 stack pointer in the task state segment is kept at the end of the current process's
//! [`Frame`], so the processor and the stub push the registers right where they are kept.

use crate::common::boot::{USER_CODE, USER_DATA};
use crate::common::descriptors::{self, Caller, FIRST_INTERRUPT, Global, VECTORS};
use crate::kernel::Kernel;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

/// The vector of system calls (abi.rs says why).
pub const SYSTEM_CALL: u64 = 4;

const BREAKPOINT: u64 = 3;
const INTERRUPTS_ENABLED: u64 = 0x202;
const STUB_BYTES: u64 = 16;

/// The registers of a process, in the order in which the processor and the stub push them.
#[repr(C, align(16))]
pub struct Frame {
    registers: [u64; 9],
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    rflags: u64,
    pub rsp: u64,
    ss: u64,
}

impl Frame {
    /// The registers of no process yet.
    pub const EMPTY: Self = Self {
        registers: [0; 9],
        rdi: 0,
        rsi: 0,
        rdx: 0,
        rcx: 0,
        rbx: 0,
        rax: 0,
        vector: 0,
        error: 0,
        rip: 0,
        cs: 0,
        rflags: 0,
        rsp: 0,
        ss: 0,
    };

    /// Sets up the start of a program: its command is at `stack`, and is `length` bytes long.
    pub fn start(&mut self, entry: u64, stack: u64, length: u64) {
        *self = Self::EMPTY;
        self.rip = entry;
        self.cs = u64::from(USER_CODE);
        self.ss = u64::from(USER_DATA);
        self.rflags = INTERRUPTS_ENABLED;
        self.rsp = stack;
        self.rdi = stack;
        self.rsi = length;
    }

    /// The system call's number and arguments.
    pub fn call(&self) -> (u64, u64, u64) {
        (self.rax, self.rdi, self.rsi)
    }

    /// Sets what the system call gives.
    pub fn set_result(&mut self, result: i64) {
        self.rax = result as u64;
    }

    /// Makes the process execute its system call again. RAX must still hold the number.
    pub fn repeat_call(&mut self) {
        const INT_INSTRUCTION_BYTES: u64 = 2;
        self.rip -= INT_INSTRUCTION_BYTES;
    }

    /// The registers for a crash report.
    pub fn named_registers(&self) -> [(&'static str, u64); 8] {
        [
            ("rax", self.rax),
            ("rbx", self.rbx),
            ("rcx", self.rcx),
            ("rdx", self.rdx),
            ("rsi", self.rsi),
            ("rdi", self.rdi),
            ("rsp", self.rsp),
            ("rflags", self.rflags),
        ]
    }

    /// Copies another process's registers, for fork.
    pub fn copy_from(&mut self, other: &Self) {
        self.registers = other.registers;
        (self.rdi, self.rsi, self.rdx, self.rcx) = (other.rdi, other.rsi, other.rdx, other.rcx);
        (self.rbx, self.rax, self.rip, self.cs) = (other.rbx, other.rax, other.rip, other.cs);
        (self.rflags, self.rsp, self.ss) = (other.rflags, other.rsp, other.ss);
    }
}

global_asm!(
    "
    .section .text.trap, \"ax\"
    .balign 16
trap_stubs:                         // 16 bytes each: push the error code if the CPU did not
    .set vector, 0
    .rept 64
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    push 0
    .endif
    push vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    test byte ptr [rsp + 18 * 8], 3 // the ring of the interrupted code segment
    jz 2f
    mov esp, offset boot_stack_top  // all addresses are below 4 GiB
    call {from_user}
    mov rdi, rax
    .global trap_resume
trap_resume:                        // (frame)
    mov rsp, rdi
    jmp 3f
2:  mov rbx, rsp                    // ring 0: an interrupt that ends a halt, or a fault of ours
    and rsp, -16
    call {from_kernel}
    mov rsp, rbx
3:  pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16                     // vector and error code
    iretq

    .section .text, \"ax\"
    ",
    from_user = sym trap_from_user,
    from_kernel = sym trap_from_kernel,
);

unsafe extern "C" {
    static trap_stubs: u8;
    fn trap_resume(frame: *const Frame) -> !;
}

static KERNEL: Global<Kernel> = Global::new(Kernel::new());

/// The vector of the interrupt that ended a halt.
static HALT_ENDED_BY: AtomicU64 = AtomicU64::new(0);

/// The kernel. Callers are `guest_main` and the entry from ring 3, of which one runs at a time.
pub fn kernel() -> &'static mut Kernel {
    // SAFETY: an entry's reference is dead when it resumes a process; those from ring 0 make none.
    unsafe { &mut *KERNEL.pointer() }
}

/// Sends all vectors here.
pub fn initialise() {
    let stubs = &raw const trap_stubs as u64;
    for vector in 0..VECTORS as u64 {
        let caller = match vector {
            BREAKPOINT | SYSTEM_CALL => Caller::Ring3,
            _ => Caller::Hardware,
        };
        descriptors::set_gate(vector as usize, stubs + vector * STUB_BYTES, caller);
    }
    descriptors::load();
}

/// Makes the next trap from ring 3 save the registers in `frame`.
pub fn save_registers_in(frame: &Frame) {
    descriptors::set_ring_0_stack(&raw const *frame as u64 + size_of::<Frame>() as u64);
}

/// Leaves for ring 3 for the first time.
pub fn resume(frame: *const Frame) -> ! {
    // SAFETY: the kernel gives the frame of a process that is ready to run.
    unsafe { trap_resume(frame) }
}

/// Halts until an interrupt and gives its vector. Interrupts are on only here.
pub fn halt_until_interrupt() -> u64 {
    // SAFETY: STI holds interrupts off for one more instruction, so none is lost before HLT. The
    // handler preserves all registers, and this kernel is built without a red zone.
    unsafe { asm!("sti", "hlt", "cli") }
    HALT_ENDED_BY.load(Ordering::Relaxed)
}

extern "C" fn trap_from_user() -> *const Frame {
    kernel().handle_trap()
}

extern "C" fn trap_from_kernel(frame: &Frame) {
    if frame.vector < FIRST_INTERRUPT {
        crate::fault::end_machine(frame);
    }
    HALT_ENDED_BY.store(frame.vector, Ordering::Relaxed);
}
