//! What is done differently on QEMU's SVM (7.2), which a missing next-RIP gives away: no processor
//! with nested paging lacks that.
//!
//! Its VMRUN does not load the shadow of STI (APM vol. 2, 15.21.5), so that an instruction in one
//! is carried out here.
//!
//! Its VMRUN leaves the vector of an injected interrupt in the field by which QEMU's execution loop
//! raises exceptions. Where the loop is asked to stop before the next exit, as it is by each timer
//! while QEMU counts instructions, it raises the interrupt again. A virtual interrupt (15.21.4)
//! goes another way, and comes as soon: one is injected only if the guest can take it.

use super::vcpu::SvmVcpu;
use super::vmcb::{self, intercept3, virtual_interrupt};
use crate::cpu::register::RFLAGS_IF;
use crate::hardware::{Event, Hardware};

impl SvmVcpu {
    pub(super) const fn is_on_qemu(&self) -> bool {
        !self.capabilities.has_next_rip
    }

    /// Carries out what lies in the shadow of STI: HLT, as a wake-up that came before it would be
    /// lost, and CLI, which lets nothing in.
    pub(super) fn finish_shadowed(&mut self) -> Option<Event> {
        const CLI: u8 = 0xfa;
        const HLT: u8 = 0xf4;
        // In any other ring they may not be allowed, and no wake-up depends on them.
        if !self.is_on_qemu() || !self.is_shadowed() || self.vmcb().cpl != 0 {
            return None;
        }
        let instruction = self.instruction();
        let opcode = instruction.bytes[..instruction.len].first().copied()?;
        if opcode == CLI || opcode == HLT {
            self.advance_to(self.vmcb().rip.wrapping_add(1));
        }
        if opcode == CLI {
            self.vmcb_mut().rflags &= !RFLAGS_IF;
        }
        (opcode == HLT).then_some(Event::Halt)
    }

    /// Makes the interrupt a virtual one, which the next entry delivers.
    pub(super) fn raise_virtual(&mut self, vector: u8) {
        let vmcb = self.vmcb_mut();
        let kept = vmcb.virtual_interrupt & (virtual_interrupt::TPR | virtual_interrupt::MASKING);
        vmcb.virtual_interrupt = kept
            | virtual_interrupt::REQUEST
            | u64::from(vector) << virtual_interrupt::VECTOR_SHIFT;
        vmcb.intercept3 &= !intercept3::VINTR;
    }

    /// A virtual interrupt that is to be delivered waits; one that asks for a window is
    /// intercepted.
    pub(super) fn has_virtual(&self) -> bool {
        let vmcb: &vmcb::Vmcb = self.vmcb();
        vmcb.virtual_interrupt & virtual_interrupt::IRQ != 0
            && vmcb.intercept3 & intercept3::VINTR == 0
    }
}
