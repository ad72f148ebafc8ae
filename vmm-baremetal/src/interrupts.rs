//! What interrupts the hypervisor itself: the timer's interrupt, which only has to happen, and
//! exceptions, which are our own bugs and end it with a report.

use crate::cpu::register::DR6_RESET;
use crate::descriptors;
use crate::local_apic::{HostApic, TIMER_VECTOR};
use crate::serial::Serial;
use crate::{cpu, power, svm};
use core::arch::global_asm;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(
    "
    .section .text.interrupt_stubs, \"ax\"
    .balign 16
    .global interrupt_stubs
interrupt_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    push 0                          // in place of an error code
    .endif
    push vector
    jmp interrupt_common
    .set vector, vector + 1
    .endr
    .balign 16
interrupt_common:
    push rax
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
    sub rsp, 512                    // 22 words lie above: it stays aligned to 16
    fxsave64 [rsp]
    cld
    call interrupt_taken
    fxrstor64 [rsp]
    add rsp, 512
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
    pop rax
    add rsp, 16
    iretq
    .section .text, \"ax\"
"
);

unsafe extern "C" {
    static interrupt_stubs: u8;
}

/// The stack after the stub has saved all registers.
#[repr(C)]
#[derive(Debug)]
struct Saved {
    general: [u64; 15],
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const NAMES: [&str; 22] = [
    "#DE divide error",
    "#DB debug",
    "NMI",
    "#BP breakpoint",
    "#OF overflow",
    "#BR bound range",
    "#UD invalid opcode",
    "#NM no device",
    "#DF double fault",
    "coprocessor segment",
    "#TS invalid TSS",
    "#NP segment not present",
    "#SS stack fault",
    "#GP general protection",
    "#PF page fault",
    "reserved",
    "#MF x87",
    "#AC alignment",
    "#MC machine check",
    "#XM SIMD",
    "#VE virtualization",
    "#CP control protection",
];

/// Where the APIC's registers lie, for ends of interrupts; 0: by MSR.
static APIC: AtomicU64 = AtomicU64::new(NO_APIC);
/// The deadline that the timer counts down to; 0: none.
static ARMED: AtomicU64 = AtomicU64::new(0);
static TICKS_PER_TSC: AtomicU64 = AtomicU64::new(0);
const NO_APIC: u64 = u64::MAX;
const BY_MSR: u64 = 0;

/// Loads the tables and masks the 8259 pair, whose vectors would otherwise be exceptions'.
pub fn load() {
    descriptors::load(&raw const interrupt_stubs as u64);
    for (port, value) in [
        (0x20, 0x11),
        (0xa0, 0x11),
        (0x21, 0x20),
        (0xa1, 0x28),
        (0x21, 4),
        (0xa1, 2),
        (0x21, 1),
        (0xa1, 1),
        (0x21, 0xff),
        (0xa1, 0xff),
    ] {
        cpu::write_port(port, value);
    }
}

/// From now on interrupts of this APIC are ended, and its timer may be armed.
pub fn use_apic(apic: &HostApic) {
    TICKS_PER_TSC.store(apic.ticks_per_tsc(), Ordering::Relaxed);
    APIC.store(apic.page().unwrap_or(BY_MSR), Ordering::Relaxed);
}

/// An interrupt when the time-stamp counter reaches `deadline`, or before.
pub fn arm_timer(deadline: u64) {
    // From one exit to the next of a turn it mostly stays the same.
    if ARMED.swap(deadline, Ordering::Relaxed) == deadline {
        return;
    }
    if let Some(apic) = apic() {
        apic.arm(deadline);
    }
}

/// An interrupt with this vector was taken, by our IDT or by leaving a guest.
pub fn handle(vector: u8) {
    if let (TIMER_VECTOR, Some(apic)) = (vector, apic()) {
        ARMED.store(0, Ordering::Relaxed);
        apic.end_of_interrupt();
    }
}

fn apic() -> Option<HostApic> {
    let page = match APIC.load(Ordering::Relaxed) {
        NO_APIC => return None,
        BY_MSR => None,
        page => Some(page),
    };
    Some(HostApic::at(page, TICKS_PER_TSC.load(Ordering::Relaxed)))
}

/// Called by the stubs.
#[unsafe(no_mangle)]
extern "C" fn interrupt_taken(saved: &Saved) {
    const FIRST_INTERRUPT: u64 = 32;
    const DEBUG: u64 = 1;
    const NMI: u64 = 2;
    if saved.vector >= FIRST_INTERRUPT {
        handle(saved.vector as u8);
    } else if saved.vector == DEBUG && saved.rip == svm::entry::behind_vmrun() {
        // Bochs's AMD model carries the single step of an intercepted instruction over the exit, to
        // the host. SAFETY: the guest's DR6 is in its VMCB; nothing of the host's depends on the
        // register.
        unsafe { cpu::set_dr6(DR6_RESET) };
    } else if saved.vector != NMI {
        report(saved);
        power::off(power::MACHINE_REFUSED);
    }
}

fn report(saved: &Saved) {
    const ORDER: [&str; 15] = [
        "r15", "r14", "r13", "r12", "r11", "r10", "r9 ", "r8 ", "rdi", "rsi", "rbp", "rbx", "rdx",
        "rcx", "rax",
    ];
    let mut serial = Serial::again();
    let name = NAMES.get(saved.vector as usize).unwrap_or(&"reserved");
    let Saved { error, rip, cs, rflags, rsp, ss, .. } = saved;
    // A port that is not there takes everything; there is nobody else to tell.
    let _ =
        write!(serial, "\ntandem: exception in the hypervisor: {name}, error code {error:#x}\n");
    let _ = writeln!(serial, "  rip {rip:016x}  cs {cs:04x}  rflags {rflags:08x}");
    let _ = writeln!(serial, "  rsp {rsp:016x}  ss {ss:04x}");
    for (index, (name, value)) in ORDER.iter().zip(&saved.general).enumerate() {
        let _ = write!(serial, "  {name} {value:016x}{}", if index % 3 == 2 { "\n" } else { "" });
    }
    let (cr0, cr2, cr3, cr4) = (cpu::cr0(), cpu::cr2(), cpu::cr3(), cpu::cr4());
    let _ = writeln!(serial, "  cr0 {cr0:08x}  cr2 {cr2:016x}  cr3 {cr3:016x}  cr4 {cr4:08x}");
}
