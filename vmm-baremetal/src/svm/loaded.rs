//! A vCPU under SVM: preparing its entries, and dispatching its exits.

use super::exits::{self, Instruction, code};
use super::{efer, events};
use crate::guest::vendor::{
    Event, Flags, Inject, Left, LoadedVcpu, Register, Resume, Traps, code_bits, fetch,
};
use core::fmt;
use metal::architecture::vector::DB;
use metal::architecture::{reset, rflags};
use metal::extended_state::ExtendedState;
use metal::guest_ram::GuestRam;
use metal::svm::vmcb::event;
use metal::svm::{ControlBlock, Intercept, Loaded, Run};
use metal::{General, cpu};
use vmm_common::cpuid::Permitted;
use vmm_common::registers::{INSTRUCTION_BYTES, Segment, segment};

/// The place of IA32_KERNEL_GS_BASE among the registers of system calls.
const KERNEL_GS_BASE: usize = 4;
/// BS, BT, B0 to B3 of DR6.
const DR6_CAUSES: u64 = 0xe00f;

/// A vCPU.
#[derive(Debug)]
pub struct SvmVcpu {
    pub(super) block: ControlBlock,
    pub(super) state: State,
}

/// Its state that software keeps.
#[derive(Debug)]
pub(super) struct State {
    pub ram: GuestRam,
    pub permitted: Permitted,
    /// What the debugger waits for.
    pub traps: Traps,
    /// DR6 before the entry.
    pub own_dr6: u64,
    /// RFLAGS.TF is the debugger's.
    pub is_tf_ours: bool,
    pub nmi: Nmi,
    pub is_nmi_waiting: bool,
    /// A virtual interrupt is set to exit when it would be delivered.
    pub has_window: bool,
    is_cr8_watched: bool,
    has_pause_filter: bool,
    /// PAUSEs since the last that counted, where the processor does not filter them.
    pauses: u8,
}

/// Whether the guest takes non-maskable interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nmi {
    /// It does.
    Open,
    /// Not before the IRET of its handler, which is intercepted.
    Blocked,
    /// Once it has executed that IRET, which comes next.
    Returning(Iret),
}

/// The IRET of a handler, about to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Iret {
    pub(super) rip: u64,
    pub(super) rsp: u64,
    /// DR6 before it.
    pub(super) dr6: u64,
    /// RFLAGS.TF was set for it, so that the guest exits right after it.
    pub(super) is_stepping: bool,
}

/// A vCPU whose state the processor has.
#[derive(Debug)]
pub struct SvmGuest<'a> {
    pub(super) vmcb: Loaded<'a>,
    pub(super) state: &'a mut State,
}

impl SvmVcpu {
    pub(super) const fn new(block: ControlBlock, ram: GuestRam, permitted: Permitted) -> Self {
        let state = State {
            ram,
            permitted,
            traps: Traps::NONE,
            own_dr6: 0,
            is_tf_ours: false,
            nmi: Nmi::Open,
            is_nmi_waiting: false,
            has_window: false,
            is_cr8_watched: false,
            has_pause_filter: block.has_pause_filter(),
            pauses: 0,
        };
        Self { block, state }
    }
}

impl SvmGuest<'_> {
    /// Applies the parts of an entry that persist until changed.
    #[inline(never)]
    fn apply(&mut self, resume: &Resume) {
        self.vmcb.set_cr8(resume.cr8);
        let is_cr8_watched = resume.tpr_threshold > 0;
        if is_cr8_watched != self.state.is_cr8_watched {
            self.state.is_cr8_watched = is_cr8_watched;
            self.vmcb.intercept(Intercept::WriteCr8, is_cr8_watched);
        }
        self.want_window(resume.wants_window);
        self.vmcb.set_tsc_offset(resume.tsc_offset);
    }

    /// Handles the last exit here, or returns it as an event.
    fn settle(&mut self, general: &mut General, deadline: u64) -> Event {
        let exit = self.vmcb.exit();
        if !exits::is_refused(exit.code) {
            self.vmcb.inject(events::interrupted(exit.interrupt_info));
        }
        if let Nmi::Returning(iret) = self.state.nmi
            && self.follow_iret(iret)
        {
            return Event::Handled;
        }
        let event = match exit.code {
            code::IOIO => return Event::Port(exits::port(exit.info1, || self.instruction())),
            code::WRITE_CR0 | code::WRITE_CR4 | code::WRITE_CR8 | code::CR0_SEL_WRITE => {
                return self.write_control_register(exit.code, general);
            }
            code::READ_CR0 | code::READ_CR4 => return self.read_control_register(&exit, general),
            code::DB | code::AC | code::MC | code::BP => return self.exception(exit.code),
            code::IRET => return self.nmi_handler_ends(),
            code::SWINT => return self.software_interrupt(),
            code::CPUID => return Event::Cpuid,
            code::INVD | code::WBINVD => return Event::Skip,
            code::PAUSE => return self.pause(),
            // No counter exists (APM vol. 3, RDPMC).
            code::RDPMC => return self.refuse(),
            code::INTR => {
                if let Some(halt) = self.finish_shadowed() {
                    return if self.has_pending_event() { Event::Handled } else { halt };
                }
                Event::HostInterrupt
            }
            _ => exits::decode(&exit),
        };
        match event {
            Event::HostInterrupt if cpu::tsc() >= deadline => Event::Deadline,
            Event::Window => {
                self.want_window(false);
                Event::Window
            }
            // A guest that single-steps gets its #DB after HLT, which ends it.
            Event::Halt if self.vmcb.state().rflags & rflags::TF != 0 => Event::Skip,
            // Nor does one that a non-maskable interrupt waits for behind another event.
            Event::Halt if self.state.is_nmi_waiting => Event::Skip,
            Event::ReadMsr => self.read_msr(general),
            Event::WriteMsr => self.write_msr(general),
            event => event,
        }
    }

    /// PAUSE. Where the processor has no filter, every so many-th is a loop's.
    fn pause(&mut self) -> Event {
        const IN_A_LOOP: u8 = 16;
        self.state.pauses += 1;
        if !self.state.has_pause_filter && self.state.pauses < IN_A_LOOP {
            return Event::Skip;
        }
        self.state.pauses = 0;
        Event::Pause
    }

    /// The bytes at CS:RIP, through the guest's page tables.
    #[inline(never)]
    pub(super) fn instruction(&self) -> Instruction {
        let mut bytes = [0; INSTRUCTION_BYTES];
        let len = fetch(self, self.vmcb.state().rip, &self.state.ram, &mut bytes).len;
        Instruction { bytes, len, code_bits: code_bits(self) }
    }

    /// An event is already set for the next entry: one whose delivery an exit interrupted.
    pub(super) fn has_pending_event(&self) -> bool {
        self.vmcb.event_injection() & event::VALID != 0
    }

    /// Delivers a pending non-maskable interrupt, if nothing blocks it.
    #[inline(never)]
    fn deliver_nmi(&mut self) {
        if self.state.nmi == Nmi::Open && !self.has_pending_event() {
            self.state.is_nmi_waiting = false;
            self.state.nmi = Nmi::Blocked;
            self.vmcb.intercept(Intercept::Iret, true);
            self.vmcb.inject(events::NMI);
        }
    }

    /// Resumes after the instruction that caused the exit.
    pub(super) fn skip_instruction(&mut self) {
        self.advance_to(self.get(Register::NextRip));
        self.vmcb.state_mut().rflags &= !rflags::RF;
    }

    /// As [`Resume::advance`].
    pub(super) fn advance_to(&mut self, rip: u64) {
        const SINGLE_STEP: u64 = 1 << 14;
        // RIP exceeds 32 bits in 64-bit code only.
        let is_cut = rip >> 32 != 0 && code_bits(self) != 64;
        self.vmcb.state_mut().rip = if is_cut { rip & 0xffff_ffff } else { rip };
        self.vmcb.end_shadow();
        if self.vmcb.state().rflags & rflags::TF != 0 && !self.has_pending_event() {
            self.vmcb.state_mut().dr6 |= SINGLE_STEP;
            self.inject(Inject::Exception { vector: DB, error: None });
        }
    }

    #[inline(never)]
    pub(super) fn inject(&mut self, inject: Inject) {
        match inject {
            Inject::Interrupt(vector) if self.is_on_qemu() => self.raise_virtual(vector),
            Inject::Breakpoint => {
                // The handler returns behind it.
                let state = self.vmcb.state_mut();
                state.rip = state.rip.wrapping_add(1);
                self.vmcb.inject(events::injection(inject));
            }
            Inject::Interrupt(_) | Inject::Exception { .. } => {
                self.vmcb.inject(events::injection(inject));
                if events::is_fault(inject) {
                    self.vmcb.state_mut().rflags |= rflags::RF;
                }
            }
        }
    }

    pub(super) fn want_window(&mut self, is_wanted: bool) {
        // One to be delivered goes first; the window is requested again at a later exit.
        if is_wanted == self.state.has_window || self.has_virtual() {
            return;
        }
        // A virtual interrupt that is never delivered, as the moment before is intercepted.
        self.state.has_window = is_wanted;
        self.vmcb.request_virtual_interrupt(is_wanted.then_some(0));
        self.vmcb.intercept(Intercept::VirtualInterrupt, is_wanted);
    }

    fn left(&self, event: Event) -> Left {
        let flags = Flags {
            rflags: self.vmcb.state().rflags,
            is_shadowed: self.vmcb.is_shadowed(),
            has_event: self.has_pending_event() || self.has_virtual(),
            cr8: self.vmcb.cr8(),
        };
        Left { event, flags }
    }
}

impl LoadedVcpu for SvmGuest<'_> {
    const KEEPS_PDPTES: bool = false;

    fn resume(&mut self, general: &mut General, resume: &Resume) -> Left {
        if let Some(rip) = resume.advance {
            self.advance_to(rip);
        }
        if let Some(inject) = resume.inject {
            self.inject(inject);
        }
        self.state.is_nmi_waiting |= resume.has_nmi;
        if !resume.is_again {
            self.apply(resume);
        }
        if self.state.is_nmi_waiting {
            self.deliver_nmi();
        }
        let is_debugged = self.state.traps.steps || self.state.traps.debug_registers;
        let deadline = if is_debugged { self.begin_step(resume) } else { resume.deadline };
        let run = self.vmcb.enter(general, deadline);
        if is_debugged {
            self.end_step();
        }
        let event = match run {
            Run::Exit => self.settle(general, deadline),
            Run::Late => Event::Deadline,
        };
        self.left(event)
    }

    // With the register known, it is one load.
    #[inline(always)]
    fn get(&self, register: Register) -> u64 {
        let state = self.vmcb.state();
        match register {
            Register::Rip => state.rip,
            Register::Rsp => state.rsp,
            Register::Rflags => state.rflags,
            Register::Cr0 => self.vmcb.cr0(),
            Register::Cr2 => state.cr2(),
            Register::Cr3 => state.cr3,
            Register::Cr4 => self.vmcb.cr4(),
            Register::Efer => efer::from_vmcb(state.efer),
            Register::Dr6 => state.dr6,
            Register::Dr7 => state.dr7,
            Register::KernelGsBase => state.system_calls[KERNEL_GS_BASE],
            Register::GdtrBase => state.gdtr.base,
            Register::GdtrLimit => state.gdtr.limit.into(),
            Register::IdtrBase => state.idtr.base,
            Register::IdtrLimit => state.idtr.limit.into(),
            Register::CodeAccess => Segment::from(*state.segment(segment::CS)).access.into(),
            Register::Cpl => state.cpl.into(),
            Register::NextRip => self.next_rip(),
            // None is kept.
            Register::Pdpte(_) => 0,
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        let state = self.vmcb.state_mut();
        match register {
            Register::Rip => state.rip = value,
            Register::Rsp => state.rsp = value,
            Register::Rflags => state.rflags = value,
            Register::Cr0 => self.vmcb.set_cr0(value),
            Register::Cr2 => self.vmcb.set_cr2(value),
            Register::Cr3 => {
                state.cr3 = value;
                self.vmcb.flush();
            }
            Register::Cr4 => self.vmcb.set_cr4(value),
            Register::Efer => state.efer = efer::to_vmcb(value),
            Register::Dr6 => state.dr6 |= value & DR6_CAUSES,
            Register::Dr7 => state.dr7 = value,
            Register::KernelGsBase => state.system_calls[KERNEL_GS_BASE] = value,
            Register::GdtrBase => state.gdtr.base = value,
            Register::GdtrLimit => state.gdtr.limit = value as u32,
            Register::IdtrBase => state.idtr.base = value,
            Register::IdtrLimit => state.idtr.limit = value as u32,
            Register::CodeAccess | Register::Cpl | Register::NextRip | Register::Pdpte(_) => {}
        }
    }

    fn drop_events(&mut self) {
        self.state.nmi = Nmi::Open;
        self.state.is_nmi_waiting = false;
        self.state.has_window = false;
        self.vmcb.intercept(Intercept::Iret, false);
        self.vmcb.intercept(Intercept::VirtualInterrupt, false);
        self.vmcb.request_virtual_interrupt(None);
        self.vmcb.inject(0);
        self.vmcb.end_shadow();
        // VMRUN loads the VMCB's, not that of the state that is switched.
        self.vmcb.state_mut().dr6 = reset::DR6;
    }

    fn trap(&mut self, traps: Traps) {
        self.state.traps = traps;
        self.vmcb.intercept(Intercept::Breakpoint, traps.breakpoints);
        if self.is_on_qemu() {
            self.vmcb.intercept(Intercept::SoftwareInterrupt, traps.breakpoints);
        }
        self.vmcb.intercept(Intercept::DebugRegisters, traps.debug_registers);
    }

    fn reset_msrs(&mut self) {
        let state = self.vmcb.state_mut();
        (state.system_calls, state.pat) = ([0; 8], reset::PAT);
    }

    fn segment(&self, index: usize) -> Segment {
        let state = self.vmcb.state();
        let mut segment = Segment::from(*state.segment(index));
        if index == segment::SS {
            // The CPL, which VMX keeps in SS.DPL, has its own field here (APM vol. 2, 15.5.1).
            segment.access = (segment.access & !(3 << 5)) | u32::from(state.cpl & 3) << 5;
        }
        segment
    }

    fn set_segment(&mut self, index: usize, segment: Segment) {
        let state = self.vmcb.state_mut();
        *state.segment_mut(index) = segment.into();
        if index == segment::SS {
            state.cpl = (segment.access >> 5 & 3) as u8;
        }
    }

    fn extended(&self) -> &ExtendedState {
        self.vmcb.extended()
    }

    fn extended_mut(&mut self) -> &mut ExtendedState {
        self.vmcb.extended_mut()
    }

    fn write_dump(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        let (exit, state) = (self.vmcb.exit(), self.vmcb.state());
        let (code, info1, info2) = (exit.code, exit.info1, exit.info2);
        writeln!(to, "exit {} {code:x}  info {info1:x} {info2:x}", exits::name(code))?;
        let (cut_short, next) = (exit.interrupt_info, self.vmcb.event_injection());
        writeln!(to, "event cut short {cut_short:x}  injected {next:x}")?;
        let [interrupt, shadow, asid, nested_cr3] = self.vmcb.dumped();
        writeln!(to, "virtual interrupt {interrupt:x}  shadow {shadow:x}")?;
        writeln!(to, "asid {asid}  nested cr3 {nested_cr3:x}")?;
        let next_rip = self.vmcb.next_rip().unwrap_or(0);
        writeln!(to, "next rip {next_rip:x}  dr6 {:x}  dr7 {:x}", state.dr6, state.dr7)
    }
}
