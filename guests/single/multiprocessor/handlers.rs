//! Interrupts and NMIs on all processors: a handler counts them for its processor.

use super::ipi::{self, Destination};
use super::processors::current;
use crate::common::descriptors::{self, Caller, FIRST_INTERRUPT, VECTORS};
use crate::common::interrupt_controller::{LocalApic, Register, SPURIOUS_VECTOR};
use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

/// The vector of NMIs.
pub const NMI_VECTOR: u32 = 2;
/// Its handler invalidates the translation of the window's page.
pub const SHOOT_DOWN_VECTOR: u32 = 52;
/// Its handler sends it to its own processor once more, before the end of the first one's service.
pub const AGAIN_VECTOR: u32 = 54;
/// Its service never ends, but by INIT.
pub const ENDLESS_VECTOR: u32 = 55;
/// Where `user_directory` is mapped.
pub const WINDOW: u64 = 1 << 30;
/// No exception that this code raises, but one of the vectors that no interrupt may have.
pub const ILLEGAL_VECTOR: u32 = 5;
const STUB_BYTES: u64 = 16;

global_asm!(
    "
    .section .text.processor_handlers, \"ax\"
    .balign 16
processor_stubs:
    .set vector, 0
    .rept 64
    .balign 16
    push vector
    jmp processor_interrupt
    .set vector, vector + 1
    .endr

processor_interrupt:                // vector, RIP, CS, RFLAGS, RSP, SS
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    mov rdi, [rsp + 72]
    mov rsi, [rsp + 80]
    mov rdx, [rsp + 96]
    sub rsp, 8
    cld
    call {handle}
    add rsp, 8
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    add rsp, 8
    iretq
    .section .text, \"ax\"
    ",
    handle = sym handle,
);

unsafe extern "C" {
    static processor_stubs: u8;
}

/// Sends interrupts, NMIs and the illegal vector here; exceptions end the machine as before.
pub fn initialise() {
    let stubs = &raw const processor_stubs as u64;
    let interrupts = FIRST_INTERRUPT as usize..VECTORS;
    for vector in interrupts.chain([NMI_VECTOR, ILLEGAL_VECTOR].map(|vector| vector as usize)) {
        descriptors::set_gate(vector, stubs + vector as u64 * STUB_BYTES, Caller::Hardware);
    }
}

/// Invalidates the translation of the window's page.
pub fn invalidate() {
    // SAFETY: only a later access to the window is slower.
    unsafe { asm!("invlpg [{}]", in(reg) WINDOW, options(nostack)) }
}

extern "C" fn handle(vector: u64, rip: u64, rflags: u64) {
    let me = current();
    let vector = vector as u32;
    if vector == NMI_VECTOR {
        me.nmi_frame[0].store(rip, Ordering::SeqCst);
        me.nmi_frame[1].store(rflags, Ordering::SeqCst);
    }
    if vector == SHOOT_DOWN_VECTOR {
        invalidate();
    }
    if let Some(count) = me.counts.get(vector as usize) {
        let before = count.fetch_add(1, Ordering::SeqCst);
        if vector == AGAIN_VECTOR && before % 2 == 0 {
            ipi::send(AGAIN_VECTOR, Destination::Itself);
        }
    }
    if vector == ENDLESS_VECTOR {
        loop {
            core::hint::spin_loop();
        }
    }
    if vector != NMI_VECTOR && vector != SPURIOUS_VECTOR {
        let is_known = me.has_x2apic.load(Ordering::Relaxed);
        let apic = if is_known { LocalApic::X2 } else { ipi::apic() };
        apic.write(Register::EndOfInterrupt, 0);
    }
}
