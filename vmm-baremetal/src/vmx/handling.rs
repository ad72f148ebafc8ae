//! The exits that are specific to VMX: control registers, exceptions, and events whose delivery
//! a VM exit interrupted.

use super::exits::{self, ControlAccess};
use super::loaded::{BLOCKED_BY_NMI, BLOCKED_BY_STI_OR_MOV_SS, VmxGuest};
use crate::guest::control_registers::{self, Mode};
use crate::guest::vendor::{Event, Inject, LoadedVcpu, Register};
use metal::architecture::vector::{BP, DB, GP, MC};
use metal::architecture::{ACCESS_LONG, cr0, cr4, efer, rflags};
use metal::vmx::field::Field;
use metal::{General, interrupts};
use vmm_common::debugger::DebugEvent;
use vmm_common::memory::GuestMemory as _;
use vmm_common::registers::general;
use vmm_common::seam::Fault;

/// Interruption information (SDM vol. 3, table 25-17).
pub const VALID: u32 = 1 << 31;
pub const HAS_ERROR: u32 = 1 << 11;
pub const TYPE_NMI: u32 = 2 << 8;
pub const TYPE_EXCEPTION: u32 = 3 << 8;
const TYPE_SOFTWARE_EXCEPTION: u32 = 6 << 8;
const TYPE: u32 = 7 << 8;

/// An event for the next entry, in the fields that deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub information: u32,
    pub error: u32,
    pub instruction_length: u32,
}

impl Pending {
    /// An event that is no software interrupt or exception.
    pub const fn of(information: u32, error: u32) -> Self {
        Self { information, error, instruction_length: 0 }
    }

    /// The exception of an INT3, which lies at RIP.
    pub fn int3() -> Self {
        const INT3_BYTES: u32 = 1;
        let information = VALID | TYPE_SOFTWARE_EXCEPTION | u32::from(BP);
        Self { information, error: 0, instruction_length: INT3_BYTES }
    }

    /// From the information field of an exit, whose bit 12 means something else in an entry.
    fn again(information: u32, error: u32, instruction_length: u32) -> Self {
        const RESERVED: u32 = 0x7fff_f000;
        // Only events of software use the length.
        let is_software = matches!((information & TYPE) >> 8, 4..=6);
        let instruction_length = if is_software { instruction_length } else { 0 };
        Self { information: information & !RESERVED, error, instruction_length }
    }
}

impl VmxGuest<'_> {
    fn read(&self, field: Field) -> u32 {
        self.vmcs.read(field) as u32
    }

    /// An event whose delivery the exit interrupted is delivered again (SDM vol. 3, 28.2.4).
    pub(super) fn keep_interrupted_event(&mut self) {
        let vectoring = self.read(Field::IdtVectoring);
        if vectoring & VALID == 0 {
            return;
        }
        if vectoring & TYPE == TYPE_NMI {
            self.unblock(BLOCKED_BY_NMI);
        }
        let error = self.read(Field::IdtVectoringErrorCode);
        let length = self.read(Field::InstructionLength);
        self.state.pending = Some(Pending::again(vectoring, error, length));
    }

    /// A non-maskable interrupt or machine check goes through the host's IDT; all others are
    /// reinjected.
    pub(super) fn exception(&mut self) -> Event {
        let information = self.read(Field::ExitInterruption);
        let vector = information as u8;
        if information & TYPE == TYPE_NMI {
            interrupts::take_nmi();
            return Event::HostInterrupt;
        }
        if vector == MC {
            interrupts::take_machine_check();
        }
        if self.state.pending.is_some() {
            // An exception while another was delivered: a double fault at least.
            return Event::Shutdown;
        }
        let traps = self.state.traps;
        if vector == BP && traps.breakpoints {
            return Event::Debug(DebugEvent::Breakpoint);
        }
        if vector == DB && (traps.steps || traps.debug_registers) {
            return Event::Debug(DebugEvent::Debug { dr6: self.vmcs.read(Field::Qualification) });
        }
        if vector == DB {
            self.vmcs.set_debug_causes(self.vmcs.read(Field::Qualification));
            // An entry demands the single step of a shadowed instruction, which the intercepted
            // exception has left out (SDM vol. 3, 27.3.1.5).
            let is_shadowed = self.state.interruptibility & BLOCKED_BY_STI_OR_MOV_SS != 0;
            if is_shadowed && self.state.rflags & rflags::TF != 0 {
                self.step();
            }
            // Delivery ends general detection, which an intercepted exception leaves on.
            const GENERAL_DETECT: u64 = 1 << 13;
            self.set(Register::Dr7, self.get(Register::Dr7) & !GENERAL_DETECT);
        }
        let (error, length) =
            (self.read(Field::ExitErrorCode), self.read(Field::InstructionLength));
        self.state.pending = Some(Pending::again(information, error, length));
        Event::Handled
    }

    pub(super) fn control_register(
        &mut self,
        access: ControlAccess,
        general: &mut General,
    ) -> Event {
        let old = self.get(Register::Cr0);
        match access {
            ControlAccess::Load { control: 0, general: from } => {
                self.load_cr0(self.operand(general, from))
            }
            ControlAccess::ClearTaskSwitched => self.load_cr0(old & !cr0::TS),
            ControlAccess::LoadStatusWord { value } => {
                self.load_cr0(control_registers::status_word(old, value))
            }
            // Bits that the guest cannot have cause an exit, and MCE, which it only sees.
            ControlAccess::Load { control: 4, general: from } => {
                self.load_cr4(self.operand(general, from))
            }
            // Where the processor demands these exits.
            ControlAccess::Load { control: 3, general: from } => {
                self.load_cr3(self.operand(general, from))
            }
            ControlAccess::Store { control: 3, general: to } => {
                let value = self.get(Register::Cr3);
                match to {
                    general::RSP => self.set(Register::Rsp, value),
                    to => general[to] = value,
                }
                self.skip_instruction();
                Event::Handled
            }
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
            is_code_64: self.is_code_64(),
        };
        let Ok(loaded) = control_registers::load_cr0(mode, value) else { return self.refuse() };
        let needs_pdptes =
            control_registers::has_pdptes(loaded) && !control_registers::has_pdptes(mode);
        if needs_pdptes && !self.load_pdptes() {
            return self.refuse();
        }
        self.set(Register::Cr0, loaded.cr0);
        self.set(Register::Efer, loaded.efer);
        self.change_paging()
    }

    /// MOV to CR3 (SDM vol. 3, 4.4.1 and 4.10.4.1).
    fn load_cr3(&mut self, value: u64) -> Event {
        const NO_FLUSH: u64 = 1 << 63;
        const PHYSICAL: u64 = (1 << 52) - 1;
        let [cr0, cr4, efer] =
            [Register::Cr0, Register::Cr4, Register::Efer].map(|it| self.get(it));
        let value = if cr4 & cr4::PCIDE != 0 { value & !NO_FLUSH } else { value };
        if value & !PHYSICAL != 0 {
            return self.refuse();
        }
        let old = self.get(Register::Cr3);
        self.set(Register::Cr3, value);
        let mode = Mode { cr0, cr4, efer, is_code_64: false };
        if control_registers::has_pdptes(mode) && !self.load_pdptes() {
            self.set(Register::Cr3, old);
            return self.refuse();
        }
        self.change_paging()
    }

    fn load_cr4(&mut self, value: u64) -> Event {
        let [cr0, cr3, old, efer] =
            [Register::Cr0, Register::Cr3, Register::Cr4, Register::Efer].map(|it| self.get(it));
        if !control_registers::accepts_cr4(value, old, cr3, efer, self.state.permitted_cr4) {
            return self.refuse();
        }
        let mode = Mode { cr0, cr4: value, efer, is_code_64: false };
        // A change of these bits reloads the PDPTEs (SDM vol. 3, 4.4.1).
        let is_change = (value ^ old) & (cr4::PAE | cr4::PGE | cr4::PSE | cr4::SMEP) != 0;
        if is_change && control_registers::has_pdptes(mode) && !self.load_pdptes() {
            return self.refuse();
        }
        self.set(Register::Cr4, value);
        self.change_paging()
    }

    /// The entries that PAE paging keeps in the processor; false: they are not in RAM.
    fn load_pdptes(&mut self) -> bool {
        let table = self.get(Register::Cr3) & 0xffff_ffe0;
        (0..4).all(|index| {
            let entry = self.state.ram.word(table + 8 * u64::from(index));
            entry.is_some_and(|entry| {
                self.set(Register::Pdpte(index), entry);
                true
            })
        })
    }

    /// The change drops translations, which the processor would have done itself.
    fn change_paging(&mut self) -> Event {
        self.vmcs.drop_translations();
        self.skip_instruction();
        Event::Handled
    }

    pub(super) fn refuse(&mut self) -> Event {
        // A fault, whose handler finds the flag set (SDM vol. 3, 18.3.1.1).
        self.set(Register::Rflags, self.state.rflags | rflags::RF);
        self.inject(Inject::Exception { vector: GP, error: Some(0) });
        Event::Handled
    }

    /// CS.L alone, as the write itself may activate long mode.
    fn is_code_64(&self) -> bool {
        self.get(Register::CodeAccess) & u64::from(ACCESS_LONG) != 0
    }

    fn operand(&self, general: &General, index: usize) -> u64 {
        let value = if index == general::RSP { self.get(Register::Rsp) } else { general[index] };
        let is_64 = self.is_code_64() && self.get(Register::Efer) & efer::LMA != 0;
        if is_64 { value } else { value & 0xffff_ffff }
    }
}
