//! Workarounds for emulators. QEMU's SVM (7.2) is recognized by a missing next-RIP: no
//! processor with nested paging lacks that. The control block records it at the start
//! ([`SvmGuest::is_on_qemu`]), and on a processor only the reading of next-RIP runs here.
//!
//! QEMU, here:
//!
//! - It has no next-RIP: an instruction's length follows from its bytes.
//! - Its VMRUN does not load the shadow of STI (APM vol. 2, 15.21.5), so that an instruction in one
//!   is emulated.
//! - Its VMRUN leaves the vector of an injected interrupt in the field by which QEMU's execution
//!   loop raises exceptions. If the loop is stopped before the next exit, as each
//!   timer does while QEMU counts instructions, it raises the interrupt again. A virtual interrupt
//!   (15.21.4) avoids that field without delay: one is injected only if the guest can take it.
//!
//! - Its INT3 is intercepted as INT n is, not as an exception.
//!
//! QEMU, elsewhere: it refuses VMRUN by the lower half of the code, leaves the address size out of
//! EXITINFO1 and has no decode assists ([`super::exits`]); RDMSR of the TSC and the PAT reach the
//! host's ([`vmm_common::grant`]); CR0 and CR4 take what VMRUN refuses then
//! ([`super::handling`]).
//!
//! Bochs, in `metal`: VMRUN does not load CR2 (`svm::Loaded::set_cr2`), and the single step of an
//! intercepted instruction reaches the host after VMRUN (`interrupts`), and a guest's IF masks the
//! host's interrupts (`nmi_timer`).

use super::events;
use super::exits::code;
use super::loaded::SvmGuest;
use crate::guest::vendor::Event;
use metal::architecture::rflags;
use metal::svm::Intercept;
use vmm_common::debugger::DebugEvent;
use vmm_common::seam::Fault;

/// The length of the instruction that exits with `code`, without prefixes; None if it is known
/// otherwise or the exit is not an instruction's.
const fn opcode_len(code: u64) -> Option<u64> {
    match code {
        // PAUSE is NOP behind a prefix.
        code::HLT | code::PAUSE => Some(1),
        code::CPUID | code::MSR | code::INVD | code::WBINVD => Some(2),
        code::XSETBV | code::VMMCALL => Some(3),
        code::READ_CR0 | code::READ_CR4 | code::WRITE_CR0 => Some(3),
        code::WRITE_CR4 | code::WRITE_CR8 | code::CR0_SEL_WRITE => Some(3),
        _ => None,
    }
}

impl SvmGuest<'_> {
    pub(super) const fn is_on_qemu(&self) -> bool {
        !self.vmcb.has_next_rip()
    }

    /// The end of the instruction that caused the exit. QEMU reports it only for IN and OUT.
    #[inline]
    pub(super) fn next_rip(&self) -> u64 {
        let exit = self.vmcb.exit();
        if exit.code == code::IOIO { exit.info2 } else { self.decoded_next_rip() }
    }

    #[inline(never)]
    fn decoded_next_rip(&self) -> u64 {
        let (exit, rip) = (self.vmcb.exit(), self.vmcb.state().rip);
        match (self.vmcb.next_rip(), opcode_len(exit.code)) {
            (Some(next_rip), _) => next_rip,
            (None, Some(opcode)) => rip.wrapping_add(self.instruction().prefixes().len + opcode),
            (None, None) => rip,
        }
    }

    /// INT3, which is for the debugger, or INT n, which goes on through the guest's IDT.
    #[inline(never)]
    pub(super) fn software_interrupt(&mut self) -> Event {
        const INT3: u8 = 0xcc;
        let instruction = self.instruction();
        let at = instruction.prefixes().len as usize;
        match instruction.bytes[..instruction.len].get(at..) {
            Some(&[INT3, ..]) => Event::Debug(DebugEvent::Breakpoint),
            Some(&[_, vector, ..]) => {
                let state = self.vmcb.state_mut();
                state.rip = state.rip.wrapping_add(at as u64 + 2);
                self.vmcb.inject(events::software(vector));
                Event::Handled
            }
            _ => Event::Fault(Fault::Unexpected { exit: code::SWINT as u32 }),
        }
    }

    /// Emulates an instruction in the shadow of STI: HLT, as a wake-up that came before it would be
    /// lost, and CLI, before which no interrupt may be delivered.
    pub(super) fn finish_shadowed(&mut self) -> Option<Event> {
        const CLI: u8 = 0xfa;
        const HLT: u8 = 0xf4;
        // In any other ring they may not be allowed, and no wake-up depends on them.
        if !self.is_on_qemu() || !self.vmcb.is_shadowed() || self.vmcb.state().cpl != 0 {
            return None;
        }
        let instruction = self.instruction();
        let opcode = instruction.bytes[..instruction.len].first().copied()?;
        if opcode == CLI || opcode == HLT {
            self.advance_to(self.vmcb.state().rip.wrapping_add(1));
        }
        if opcode == CLI {
            self.vmcb.state_mut().rflags &= !rflags::IF;
        }
        (opcode == HLT).then_some(Event::Halt)
    }

    /// Makes the interrupt a virtual one, which the next entry delivers.
    pub(super) fn raise_virtual(&mut self, vector: u8) {
        self.state.has_window = false;
        self.vmcb.request_virtual_interrupt(Some(vector));
        self.vmcb.intercept(Intercept::VirtualInterrupt, false);
    }

    /// A virtual interrupt is pending for delivery; one that requests a window is
    /// intercepted.
    pub(super) fn has_virtual(&self) -> bool {
        self.vmcb.has_virtual_interrupt() && !self.state.has_window
    }
}
