//! From a start-up IPI to 64-bit Rust: a page below 1 MiB that notes the registers as it finds
//! them, then protected mode, long mode, and this processor's own stack, GDT and task state.
//!
//! ```text
//! page, real mode --CR0.PE--> started32 --CR0.PG--> started64 --> started: Rust
//! ```

use super::firmware_tables::MOST;
use super::ipi;
use super::processors;
use crate::common::descriptors::{self, TaskState};
use crate::common::global::Global;
use crate::common::interrupt_controller::Register;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};

/// Pages that firmware and loaders leave free.
pub const PAGES: [u8; 2] = [0x08, 0x07];
const PAGE_BYTES: usize = 4096;
/// Where in its page the code notes what it found.
const FOUND: usize = 0xF00;
const FOUND_WORDS: usize = 28;

global_asm!(
    "
    .section .rodata.trampoline, \"a\"  // copied, and not looked at as 64-bit code
    .code16
trampoline:
    mov byte ptr cs:[0xF00], 1      // not done unless IP was 0
    mov dword ptr cs:[0xF04], eax
    mov dword ptr cs:[0xF08], ebx
    mov dword ptr cs:[0xF0C], ecx
    mov dword ptr cs:[0xF10], edx
    mov dword ptr cs:[0xF14], esi
    mov dword ptr cs:[0xF18], edi
    mov dword ptr cs:[0xF1C], ebp
    mov dword ptr cs:[0xF20], esp
    mov word ptr cs:[0xF24], cs
    mov word ptr cs:[0xF28], ds
    mov word ptr cs:[0xF2C], es
    mov word ptr cs:[0xF30], fs
    mov word ptr cs:[0xF34], gs
    mov word ptr cs:[0xF38], ss
    mov eax, cr0
    mov dword ptr cs:[0xF3C], eax
    mov eax, cr2
    mov dword ptr cs:[0xF40], eax
    mov eax, cr3
    mov dword ptr cs:[0xF44], eax
    mov eax, cr4
    mov dword ptr cs:[0xF48], eax
    mov ax, cs
    mov ss, ax
    mov sp, 0xF00
    pushfd
    pop eax
    mov dword ptr cs:[0xF4C], eax
    mov eax, dr6
    mov dword ptr cs:[0xF58], eax
    mov eax, dr7
    mov dword ptr cs:[0xF5C], eax
    .byte 0x66                      // all 32 bits of the base
    sgdt cs:[0xF62]
    .byte 0x66
    sidt cs:[0xF6A]
    mov ecx, 0xC0000080             // EFER
    rdmsr
    mov dword ptr cs:[0xF50], eax
    mov dword ptr cs:[0xF54], edx
    .byte 0x66
    lgdt cs:[0x1F8]
    mov eax, 0x11                   // ET, PE
    mov cr0, eax
    .byte 0x66, 0xEA                // jmp far 0x18:started32
    .long started32
    .short 0x18
    .skip 0x1F8 - (. - trampoline)
    .short 4 * 8 - 1                // the GDT's pointer, where LGDT finds it in any page
    .long trampoline_gdt
trampoline_end:

    .section .text32, \"ax\"
    .code32
    .global started32
started32:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, 0x8000                 // for an NMI alone
    mov eax, 0x620                  // as in common/boot.rs
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xC0000080             // EFER.LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, 0x80010033             // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    .byte 0xEA                      // jmp far 0x08:started64
    .long started64
    .short 0x08

    .section .text.started64, \"ax\"
    .code64
    .global started64
started64:
    mov eax, 1
    cpuid
    shr ebx, 24                     // the initial APIC id
    movzx edi, byte ptr [PROCESSOR_INDEX + rbx]
    mov eax, edi
    shl eax, 14
    lea rsp, [processor_stacks + rax + 16384]
    xor ebp, ebp
    call {started}
    ud2

    .section .data.trampoline_gdt, \"aw\"
    .balign 16
trampoline_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF        // 08 64-bit code
    .quad 0x00CF93000000FFFF        // 10 data
    .quad 0x00CF9B000000FFFF        // 18 32-bit code

    .section .bss.processor_stacks, \"aw\", @nobits
    .balign 16
processor_stacks: .skip 8 * 16384
    .section .text, \"ax\"
    ",
    started = sym started,
);

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_end: u8;
}

const FAULT_STACK_BYTES: usize = 2048;

/// What each processor has to itself for interrupts: descriptors, and a stack for NMIs.
#[repr(C, align(16))]
struct Tables {
    fault_stack: [u8; FAULT_STACK_BYTES],
    gdt: [u64; 7],
    task: TaskState,
}

impl Tables {
    const EMPTY: Self =
        Self { fault_stack: [0; FAULT_STACK_BYTES], gdt: [0; 7], task: TaskState::EMPTY };
}

static TABLES: [Global<Tables>; MOST] = [const { Global::new(Tables::EMPTY) }; MOST];

/// The local APIC's registers as INIT leaves them (SDM vol. 3, 11.4.7.1), by processor: spurious
/// vector, LVT timer, logical destination, task priority.
pub static APIC_FOUND: [[AtomicU32; 4]; MOST] = [const { [const { AtomicU32::new(!0) }; 4] }; MOST];

/// What a processor found in its registers when it began in real mode.
pub struct Found([u32; FOUND_WORDS]);

impl Found {
    /// Whether the code ran, from its first byte on.
    pub fn has_run(&self) -> bool {
        self.0[0] == 1
    }

    /// EAX, EBX, ECX, ESI, EDI, EBP, ESP: all but EDX, which says what processor it is.
    pub fn general(&self) -> [u32; 7] {
        [1, 2, 3, 5, 6, 7, 8].map(|at: usize| self.0[at])
    }

    pub fn code_segment(&self) -> u32 {
        self.0[9]
    }

    /// DS, ES, FS, GS, SS.
    pub fn data_segments(&self) -> [u32; 5] {
        [10, 11, 12, 13, 14].map(|at: usize| self.0[at])
    }

    pub fn cr0(&self) -> u32 {
        self.0[15]
    }

    /// CR2, CR3, CR4, and EFER's halves.
    pub fn cleared(&self) -> [u32; 5] {
        [16, 17, 18, 20, 21].map(|at: usize| self.0[at])
    }

    pub fn eflags(&self) -> u32 {
        self.0[19]
    }

    /// DR6 and DR7.
    pub fn debug(&self) -> [u32; 2] {
        [self.0[22], self.0[23]]
    }

    /// Limits and bases of the GDT and the IDT.
    pub fn tables(&self) -> [(u32, u32); 2] {
        [(self.0[24] >> 16, self.0[25]), (self.0[26] >> 16, self.0[27])]
    }
}

/// Puts the code into a page, and clears what an earlier processor noted there.
pub fn put(page: u8) {
    let (begin, end) = (&raw const trampoline, &raw const trampoline_end);
    let to = (usize::from(page) * PAGE_BYTES) as *mut u8;
    for at in 0..end as usize - begin as usize {
        // SAFETY: the code's own bytes.
        let byte = unsafe { begin.wrapping_add(at).read() };
        // SAFETY: a page that is used for this alone; volatile, as another processor executes it.
        unsafe { to.wrapping_add(at).write_volatile(byte) };
    }
    for at in FOUND..FOUND + FOUND_WORDS * 4 {
        // SAFETY: as above.
        unsafe { to.wrapping_add(at).write_volatile(0) };
    }
}

/// What the processor found that started in this page last.
pub fn found(page: u8) -> Found {
    let from = (usize::from(page) * PAGE_BYTES + FOUND) as *const u32;
    let mut words = [0; FOUND_WORDS];
    for (at, word) in words.iter_mut().enumerate() {
        // SAFETY: within the page; volatile, as another processor wrote it.
        *word = unsafe { from.wrapping_add(at).read_volatile() };
    }
    Found(words)
}

extern "C" fn started(index: usize) -> ! {
    let me = processors::become_current(index);
    load_tables(index);
    let apic = ipi::apic();
    let registers = [
        Register::SpuriousVector,
        Register::TimerVector,
        Register::LogicalDestination,
        Register::TaskPriority,
    ];
    for (place, register) in APIC_FOUND[index.min(MOST - 1)].iter().zip(registers) {
        place.store(apic.read(register), Ordering::SeqCst);
    }
    ipi::enable();
    me.forget_job();
    me.starts.fetch_add(1, Ordering::SeqCst);
    crate::run_processor(me)
}

fn load_tables(index: usize) {
    const CODE: u64 = 0x00AF_9B00_0000_FFFF;
    const DATA: u64 = 0x00CF_9300_0000_FFFF;
    let own = TABLES[index.min(MOST - 1)].pointer();
    // SAFETY: only this processor uses it, and it is not loaded: INIT cleared the task register.
    let own = unsafe { &mut *own };
    own.task.set_fault_stack((&raw const own.fault_stack as usize + FAULT_STACK_BYTES) as u64);
    let [low, high] = own.task.descriptor();
    own.gdt = [0, CODE, DATA, 0, 0, low, high];
    let pointer = [(size_of_val(&own.gdt) as u64 - 1) << 48, &raw const own.gdt as u64];
    let pointer = (&raw const pointer).cast::<u8>().wrapping_add(6);
    // SAFETY: the same descriptors as before at the selectors in use.
    unsafe { asm!("lgdt [{}]", in(reg) pointer, options(nostack)) }
    // SAFETY: its descriptor is written above.
    unsafe { descriptors::load_task_state() };
    descriptors::load_gates();
}
