//! The exits that are VMX's own business: control registers, exceptions, and events whose delivery
//! an exit cut short.

use super::controls::VPID;
use super::exits::{self, ControlAccess};
use super::vcpu::{BLOCKED_BY_NMI, BLOCKED_BY_STI_OR_MOV_SS, SINGLE_STEP, VmxVcpu, put};
use super::vmcs::{self, Field, read};
use crate::control_registers::{self, Mode};
use crate::cpu;
use crate::cpu::register::RFLAGS_TF;
use crate::cpu::vector::{DB, GP, MC};
use crate::hardware::{ACCESS_LONG, Event, General, Hardware, Inject, Register};
use core::arch::asm;
use vmm_common::memory::GuestMemory as _;
use vmm_common::registers::{general, segment};
use vmm_common::seam::Fault;

/// Interruption information (SDM vol. 3, table 25-17).
pub const VALID: u32 = 1 << 31;
pub const HAS_ERROR: u32 = 1 << 11;
pub const TYPE_NMI: u32 = 2 << 8;
pub const TYPE_EXCEPTION: u32 = 3 << 8;
const TYPE: u32 = 7 << 8;

/// An event for the next entry, in the fields that deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub information: u32,
    pub error: u32,
    pub instruction_length: u32,
}

impl Pending {
    /// From the information field of an exit, whose bit 12 means something else in an entry.
    pub fn new(information: u32, error: u32) -> Self {
        const RESERVED: u32 = 0x7fff_f000;
        // Only events of software use the length.
        let is_software = matches!((information & TYPE) >> 8, 4..=6);
        let instruction_length =
            if is_software { read(Field::InstructionLength) as u32 } else { 0 };
        Self { information: information & !RESERVED, error, instruction_length }
    }
}

impl VmxVcpu {
    /// An event whose delivery the exit cut short is delivered again (SDM vol. 3, 28.2.4).
    pub(super) fn keep_cut_event(&mut self) {
        let vectoring = read(Field::IdtVectoring) as u32;
        if vectoring & VALID == 0 {
            return;
        }
        if vectoring & TYPE == TYPE_NMI {
            self.unblock(BLOCKED_BY_NMI);
        }
        let error = read(Field::IdtVectoringErrorCode) as u32;
        self.pending = Some(Pending::new(vectoring, error));
    }

    /// A non-maskable interrupt or machine check goes through the host's IDT, all else back to the
    /// guest.
    pub(super) fn exception(&mut self) -> Event {
        let information = read(Field::ExitInterruption) as u32;
        let vector = information as u8;
        if information & TYPE == TYPE_NMI {
            // SAFETY: the handler returns, and its IRET ends the blocking of further ones.
            unsafe { asm!("int 2") };
            return Event::HostInterrupt;
        }
        if vector == MC {
            // SAFETY: the handler reports and ends the hypervisor.
            unsafe { asm!("int 18") };
        }
        if self.pending.is_some() {
            // An exception while another was delivered: a double fault at least.
            return Event::Shutdown;
        }
        if vector == DB {
            let causes = read(Field::Qualification) & 0x600f;
            // SAFETY: the guest's own; it says why its debug exception is raised.
            unsafe { cpu::set_dr6((cpu::dr6() & !0xf) | causes) };
            // An entry demands the single step of a shadowed instruction, which the intercepted
            // exception has left out (SDM vol. 3, 27.3.1.5).
            let is_shadowed = self.interruptibility & BLOCKED_BY_STI_OR_MOV_SS != 0;
            if is_shadowed && self.rflags & RFLAGS_TF != 0 {
                put(Field::GuestPendingDebug, read(Field::GuestPendingDebug) | SINGLE_STEP);
            }
            // Delivery ends general detection, which an intercepted exception leaves on.
            const GENERAL_DETECT: u64 = 1 << 13;
            put(Field::GuestDr7, read(Field::GuestDr7) & !GENERAL_DETECT);
        }
        self.pending = Some(Pending::new(information, read(Field::ExitErrorCode) as u32));
        Event::Handled
    }

    pub(super) fn control_register(&mut self, access: ControlAccess, general: &General) -> Event {
        let cr0 = self.get(Register::Cr0);
        match access {
            ControlAccess::Load { control: 0, general: from } => {
                self.load_cr0(self.operand(general, from))
            }
            ControlAccess::ClearTaskSwitched => self.load_cr0(cr0 & !control_registers::CR0_TS),
            ControlAccess::LoadStatusWord { value } => {
                self.load_cr0(control_registers::status_word(cr0, value))
            }
            // All bits that leave the guest are bits it cannot have.
            ControlAccess::Load { control: 4, .. } => self.refuse(),
            ControlAccess::Load { .. } | ControlAccess::Store { .. } => {
                let exit = exits::reason::CONTROL_REGISTER.into();
                Event::Fault(Fault::Unexpected { exit })
            }
        }
    }

    fn load_cr0(&mut self, value: u64) -> Event {
        let mode = Mode {
            cr0: self.get(Register::Cr0),
            cr4: self.get(Register::Cr4),
            efer: self.get(Register::Efer),
            is_code_64: self.segment(segment::CS).access & ACCESS_LONG != 0,
        };
        let Ok(loaded) = control_registers::load_cr0(mode, value) else { return self.refuse() };
        if control_registers::has_pdptes(loaded) && !control_registers::has_pdptes(mode) {
            let table = self.get(Register::Cr3) & 0xffff_ffe0;
            let fields =
                [Field::GuestPdpte0, Field::GuestPdpte1, Field::GuestPdpte2, Field::GuestPdpte3];
            for (field, index) in fields.into_iter().zip(0..) {
                let Some(entry) = self.ram.word(table + 8 * index) else { return self.refuse() };
                put(field, entry);
            }
        }
        self.set(Register::Cr0, loaded.cr0);
        self.set(Register::Efer, loaded.efer);
        // The change of paging drops translations, which the processor would have done itself.
        if self.controls.secondary & VPID != 0 {
            vmcs::invvpid(read(Field::Vpid)).expect("it was possible when the vCPU was made");
        }
        self.skip_instruction();
        Event::Handled
    }

    pub(super) fn refuse(&mut self) -> Event {
        self.inject(Inject::Exception { vector: GP, error: Some(0) });
        Event::Handled
    }

    fn operand(&self, general: &General, index: usize) -> u64 {
        let value = if index == general::RSP { read(Field::GuestRsp) } else { general[index] };
        let is_64 = self.segment(segment::CS).access & ACCESS_LONG != 0
            && read(Field::GuestEfer) & cpu::efer::LMA != 0;
        if is_64 { value } else { value & 0xffff_ffff }
    }
}
