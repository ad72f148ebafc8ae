//! Interrupts of the hypervisor itself: the timer's, whose handler only acknowledges it, and
//! exceptions, which are bugs of the hypervisor and end it with the program's report.

use crate::architecture::{reset, vector};
use crate::local_apic::{COM1_VECTOR, COM2_VECTOR, HostApic, SPURIOUS_VECTOR, TIMER_VECTOR};
use crate::{cpu, descriptors, host_serial, machine_check, nmi_timer, stale_interrupts, svm};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

global_asm!(
    "
    .section .text.interrupt_stubs, \"ax\"
    .balign 16
    .global interrupt_stubs
interrupt_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    .elseif vector == 29 || vector == 30
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

/// An exception in the hypervisor: the stack after the stub has saved all registers.
#[allow(missing_docs)]
#[repr(C)]
#[derive(Debug)]
pub struct Exception {
    /// R15 to R8, RDI, RSI, RBP, RBX, RDX, RCX, RAX.
    pub general: [u64; 15],
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Ends the program with a report.
pub type Report = fn(&Exception) -> !;

/// A [`Report`], or null.
static REPORT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Where the APIC's registers lie, for ends of interrupts; 0: by MSR.
static APIC: AtomicU64 = AtomicU64::new(NO_APIC);
/// The deadline that the timer counts down to; 0: none.
static ARMED: AtomicU64 = AtomicU64::new(0);
static TICKS_PER_TSC: AtomicU64 = AtomicU64::new(0);
const NO_APIC: u64 = u64::MAX;
const BY_MSR: u64 = 0;

/// Loads the tables and masks the 8259 pair, whose vectors would otherwise be exceptions'. From now
/// on exceptions end with `report`.
///
/// # Panics
/// It was called before.
pub fn load(report: Report) {
    let before = REPORT.swap(report as *mut (), Ordering::Relaxed);
    assert!(before.is_null(), "the tables are loaded once");
    // SAFETY: once, as just checked.
    unsafe { descriptors::load(&raw const interrupt_stubs as u64) };
    machine_check::enable();
    stale_interrupts::mask_8259();
}

/// From now on interrupts of this APIC are ended, and its timer may be armed.
pub fn use_apic(apic: &HostApic) {
    TICKS_PER_TSC.store(apic.ticks_per_tsc(), Ordering::Relaxed);
    APIC.store(apic.page().unwrap_or(BY_MSR), Ordering::Relaxed);
}

/// An interrupt when the time-stamp counter reaches `deadline`, or before.
pub fn arm_timer(deadline: u64) {
    // Within a turn it mostly stays the same from exit to exit.
    if ARMED.swap(deadline, Ordering::Relaxed) == deadline {
        return;
    }
    if let Some(apic) = apic() {
        apic.arm(deadline);
    }
}

/// An interrupt with this vector was taken, through our IDT or by a VM exit.
pub(crate) fn handle(vector: u8) {
    match vector {
        TIMER_VECTOR => ARMED.store(0, Ordering::Relaxed),
        COM1_VECTOR => host_serial::COM1.interrupt(),
        COM2_VECTOR => host_serial::COM2.interrupt(),
        _ => {}
    }
    // A spurious one is not in service (SDM vol. 3, 11.9).
    if let (true, Some(apic)) = (vector != SPURIOUS_VECTOR, apic()) {
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

/// A non-maskable interrupt caused a VM exit: calls the host's handler.
pub fn take_nmi() {
    // SAFETY: the handler returns, and its IRET ends the blocking of further ones.
    unsafe { asm!("int 2") };
}

/// A machine check caused a VM exit: ends with the report.
pub fn take_machine_check() -> ! {
    // SAFETY: the handler ends the hypervisor.
    unsafe { asm!("int 18", "ud2", options(noreturn)) };
}

/// Called by the stubs.
#[unsafe(no_mangle)]
extern "C" fn interrupt_taken(exception: &Exception) {
    const FIRST_INTERRUPT: u64 = 32;
    const DEBUG: u64 = vector::DB as u64;
    const NMI: u64 = vector::NMI as u64;
    if exception.vector >= FIRST_INTERRUPT {
        handle(exception.vector as u8);
    } else if exception.vector == DEBUG && exception.rip == svm::behind_vmrun() {
        // Bochs's AMD model raises the single step of an intercepted instruction after the exit, in
        // the host. SAFETY: the guest's DR6 is in its VMCB; nothing of the host's depends on the
        // register.
        unsafe { cpu::set_dr6(reset::DR6) };
    } else if exception.vector == NMI {
        nmi_timer::count();
    } else {
        end_with_report(exception);
    }
}

fn end_with_report(exception: &Exception) -> ! {
    let report = REPORT.load(Ordering::Relaxed);
    assert!(!report.is_null(), "`load` has set it before it loaded the table");
    // SAFETY: `load` stored a `Report`, and nothing else does.
    let report = unsafe { core::mem::transmute::<*mut (), Report>(report) };
    report(exception)
}
