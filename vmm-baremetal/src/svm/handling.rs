//! The exits that are specific to SVM: MSRs that the VMCB holds, CR0 and CR4, exceptions, and
//! the end of a non-maskable interrupt's handler.

use super::efer;
use super::exits::{ControlRegisterRead, ControlRegisterWrite, code};
use super::loaded::{Iret, Nmi, SvmGuest};
use crate::guest::control_registers::{self, Mode};
use crate::guest::vendor::{Event, Inject, LoadedVcpu, Register};
use metal::architecture::msr::{IA32_EFER, IA32_PAT, IA32_TIME_STAMP_COUNTER};
use metal::architecture::vector::{AC, BP, DB, GP};
use metal::architecture::{ACCESS_LONG, rflags};
use metal::svm::{Exit, Intercept};
use metal::{General, cpu, interrupts};
use vmm_common::debugger::DebugEvent;
use vmm_common::registers::general;
use vmm_common::seam::Fault;

impl SvmGuest<'_> {
    #[inline(never)]
    pub(super) fn read_msr(&mut self, general: &mut General) -> Event {
        let value = match general[general::RCX] as u32 {
            IA32_EFER => self.get(Register::Efer),
            IA32_PAT => self.vmcb.state().pat,
            IA32_TIME_STAMP_COUNTER => cpu::tsc().wrapping_add(self.vmcb.tsc_offset()),
            _ => return Event::ReadMsr,
        };
        general[general::RAX] = value & 0xffff_ffff;
        general[general::RDX] = value >> 32;
        self.skip_instruction();
        Event::Handled
    }

    #[inline(never)]
    pub(super) fn write_msr(&mut self, general: &General) -> Event {
        let value = general[general::RDX] << 32 | (general[general::RAX] & 0xffff_ffff);
        let is_written = match general[general::RCX] as u32 {
            IA32_EFER => self.write_efer(value),
            IA32_PAT => self.write_pat(value),
            _ => return Event::WriteMsr,
        };
        self.skip_or_refuse(is_written)
    }

    /// False: #GP.
    fn write_efer(&mut self, value: u64) -> bool {
        let (old, cr0) = (self.get(Register::Efer), self.vmcb.cr0());
        let new = efer::written(old, value, self.state.permitted.efer, cr0);
        if let Some(new) = new {
            self.set(Register::Efer, new);
        }
        new.is_some()
    }

    /// False: #GP, as one of the eight memory types does not exist (APM vol. 2, 7.8.1).
    fn write_pat(&mut self, value: u64) -> bool {
        let is_type = |byte: u8| matches!(byte, 0 | 1 | 4..=7);
        let is_valid = value.to_le_bytes().into_iter().all(is_type);
        if is_valid {
            self.vmcb.state_mut().pat = value;
        }
        is_valid
    }

    /// MOV to CR0, CR4 or CR8, or LMSW.
    #[inline(never)]
    pub(super) fn write_control_register(&mut self, exit_code: u64, general: &General) -> Event {
        let instruction = self.instruction();
        let Some(write) = instruction.control_register_write() else {
            return Event::Fault(Fault::Unexpected { exit: exit_code as u32 });
        };
        let ControlRegisterWrite { general: index, is_status_word } = write;
        let operand = if index == general::RSP { self.vmcb.state().rsp } else { general[index] };
        let value = if instruction.code_bits == 64 { operand } else { operand & 0xffff_ffff };
        let is_accepted = match exit_code {
            code::WRITE_CR4 => self.write_cr4(value),
            code::WRITE_CR8 => return self.write_cr8(value),
            _ if is_status_word => {
                self.write_cr0(control_registers::status_word(self.vmcb.cr0(), value as u16))
            }
            _ => self.write_cr0(value),
        };
        // The change of paging drops translations, which the processor would have done itself.
        self.vmcb.flush();
        self.skip_or_refuse(is_accepted)
    }

    /// MOV from CR0 or CR4, or SMSW: intercepted while the guest sees other bits than the processor
    /// has.
    #[inline(never)]
    pub(super) fn read_control_register(&mut self, exit: &Exit, general: &mut General) -> Event {
        let instruction = self.instruction();
        let value = if exit.code == code::READ_CR4 { self.vmcb.cr4() } else { self.vmcb.cr0() };
        let Some(read) = instruction.control_register_read() else {
            // SMSW of memory stores the low half, which is the processor's: it goes on by itself,
            // and so do all reads up to the next write.
            self.vmcb.intercept(Intercept::ReadCr0, false);
            return Event::Handled;
        };
        let ControlRegisterRead { general: index, bytes } = read;
        let state = self.vmcb.state_mut();
        let register = if index == general::RSP { &mut state.rsp } else { &mut general[index] };
        // A 32-bit result clears the upper half.
        *register = match bytes {
            2 => (*register & !0xffff) | (value & 0xffff),
            4 => value & 0xffff_ffff,
            _ => value,
        };
        self.skip_instruction();
        Event::Handled
    }

    /// False: #GP.
    fn write_cr0(&mut self, value: u64) -> bool {
        // CS.L alone, as the write itself may activate long mode.
        let is_code_64 = self.get(Register::CodeAccess) & u64::from(ACCESS_LONG) != 0;
        let (cr0, cr4, efer) = (self.vmcb.cr0(), self.vmcb.cr4(), self.vmcb.state().efer);
        let loaded = control_registers::load_cr0(Mode { cr0, cr4, efer, is_code_64 }, value);
        if let Ok(loaded) = loaded {
            self.vmcb.set_cr0(loaded.cr0);
            self.vmcb.state_mut().efer = loaded.efer;
        }
        loaded.is_ok()
    }

    /// False: #GP.
    fn write_cr4(&mut self, value: u64) -> bool {
        let allowed = self.state.permitted.cr4;
        let (old, vmcb) = (self.vmcb.cr4(), self.vmcb.state());
        let is_accepted = control_registers::accepts_cr4(value, old, vmcb.cr3, vmcb.efer, allowed);
        if is_accepted {
            self.vmcb.set_cr4(value);
        }
        is_accepted
    }

    /// Intercepted while CR8 holds an interrupt back, which may be deliverable now.
    fn write_cr8(&mut self, value: u64) -> Event {
        let Ok(class @ 0..=15) = u8::try_from(value) else { return self.refuse() };
        self.vmcb.set_cr8(class);
        self.skip_instruction();
        Event::Window
    }

    fn skip_or_refuse(&mut self, is_accepted: bool) -> Event {
        if is_accepted {
            self.skip_instruction();
            Event::Handled
        } else {
            self.refuse()
        }
    }

    pub(super) fn refuse(&mut self) -> Event {
        self.inject(Inject::Exception { vector: GP, error: Some(0) });
        Event::Handled
    }

    /// Reinjects an intercepted exception into the guest.
    #[inline(never)]
    pub(super) fn exception(&mut self, exit_code: u64) -> Event {
        let vector = (exit_code - code::DB) as u8 + DB;
        if exit_code == code::MC {
            interrupts::take_machine_check();
        }
        if self.has_pending_event() {
            // An exception while another was delivered: a double fault at least.
            return Event::Shutdown;
        }
        let traps = self.state.traps;
        if vector == BP {
            return Event::Debug(DebugEvent::Breakpoint);
        }
        if vector == DB && (traps.steps || traps.debug_registers) {
            let dr6 = self.vmcb.state().dr6;
            self.vmcb.state_mut().dr6 = self.state.own_dr6;
            return Event::Debug(DebugEvent::Debug { dr6 });
        }
        if vector == DB {
            // Delivery ends general detection, which an intercepted exception leaves on.
            const GENERAL_DETECT: u64 = 1 << 13;
            self.vmcb.state_mut().dr7 &= !GENERAL_DETECT;
        }
        let error = (vector == AC).then_some(0);
        self.inject(Inject::Exception { vector, error });
        Event::Handled
    }

    /// The IRET that ends the handler has not executed yet. A pending non-maskable interrupt is
    /// delivered right after it, before another instruction: the guest single-steps over it, as
    /// under KVM.
    #[inline(never)]
    pub(super) fn nmi_handler_ends(&mut self) -> Event {
        let is_stepping = self.state.is_nmi_waiting && self.vmcb.state().rflags & rflags::TF == 0;
        let vmcb = self.vmcb.state();
        let iret = Iret { rip: vmcb.rip, rsp: vmcb.rsp, dr6: vmcb.dr6, is_stepping };
        self.state.nmi = Nmi::Returning(iret);
        self.vmcb.intercept(Intercept::Iret, false);
        if is_stepping {
            self.vmcb.state_mut().rflags |= rflags::TF;
        }
        Event::Handled
    }

    /// Whether the exit is the step over `iret`, which is hidden from the guest. After an exit
    /// before the IRET, it is still to execute; a fault in it ends the blocking as well (APM vol.
    /// 2, 15.21.9: IRET).
    #[inline(never)]
    pub(super) fn follow_iret(&mut self, iret: Iret) -> bool {
        let is_debug = self.vmcb.exit().code == code::DB;
        let vmcb = self.vmcb.state_mut();
        let is_step = iret.is_stepping && is_debug;
        if is_step {
            vmcb.dr6 = iret.dr6;
        }
        let is_before = !is_step && (vmcb.rip, vmcb.rsp) == (iret.rip, iret.rsp);
        if is_before && iret.is_stepping {
            vmcb.rflags &= !rflags::TF;
        }
        if is_before {
            self.state.nmi = Nmi::Blocked;
            self.vmcb.intercept(Intercept::Iret, true);
        } else {
            self.state.nmi = Nmi::Open;
        }
        is_step
    }
}
