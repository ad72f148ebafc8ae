//! A vCPU under VMX: preparing its entries, and dispatching its exits.

use super::exits::{self, Decision};
use super::handling::{HAS_ERROR, Pending, TYPE_EXCEPTION, TYPE_NMI, VALID};
use crate::guest::vendor::{Event, Flags, Inject, Left, LoadedVcpu, Register, Resume, Traps};
use core::fmt;
use metal::architecture::{ACCESS_LONG, cr0, reset, rflags, vector};
use metal::extended_state::ExtendedState;
use metal::guest_ram::GuestRam;
use metal::vmx::failure::error_name;
use metal::vmx::field::Field;
use metal::vmx::{ControlBlock, ENTRY_FAILED, Loaded, Run, Window};
use metal::{General, cpu};
use vmm_common::cpuid::Permitted;
use vmm_common::registers::{CpuState, Segment, segment};
use vmm_common::seam::Fault;

/// BS in the pending debug exceptions.
pub(super) const SINGLE_STEP: u64 = 1 << 14;
/// Interruptibility: by STI, by MOV SS, by NMI.
pub(super) const BLOCKED_BY_STI_OR_MOV_SS: u64 = 0b11;
pub(super) const BLOCKED_BY_NMI: u64 = 1 << 3;
const PDPTES: [Field; 4] =
    [Field::GuestPdpte0, Field::GuestPdpte1, Field::GuestPdpte2, Field::GuestPdpte3];

/// A vCPU.
#[derive(Debug)]
pub struct VmxVcpu {
    pub(super) block: ControlBlock,
    pub(super) state: State,
}

/// Its state that software keeps.
#[derive(Debug)]
pub(super) struct State {
    pub ram: GuestRam,
    pub pending: Option<Pending>,
    /// As the VMCS has them.
    pub rflags: u64,
    pub interruptibility: u64,
    /// Bits of CR4 that the guest may set.
    pub permitted_cr4: u64,
    /// What the debugger waits for.
    pub traps: Traps,
    /// RFLAGS.TF is the debugger's.
    pub is_tf_ours: bool,
    tsc_offset: u64,
    has_nmi: bool,
    /// The handler of an injected non-maskable interrupt may not have ended: since the vCPU got the
    /// processor, or at the last exit before.
    is_in_nmi: bool,
    failure: u32,
}

/// A vCPU whose VMCS is the current one.
#[derive(Debug)]
pub struct VmxGuest<'a> {
    pub(super) vmcs: Loaded<'a>,
    pub(super) state: &'a mut State,
}

impl VmxVcpu {
    pub(super) const fn new(
        block: ControlBlock,
        ram: GuestRam,
        boot: &CpuState,
        permitted: Permitted,
    ) -> Self {
        let state = State {
            ram,
            pending: None,
            rflags: boot.rflags | rflags::ALWAYS,
            interruptibility: 0,
            permitted_cr4: permitted.cr4,
            traps: Traps::NONE,
            is_tf_ours: false,
            tsc_offset: 0,
            has_nmi: false,
            is_in_nmi: false,
            failure: 0,
        };
        Self { block, state }
    }

    /// The vCPU loses the processor.
    #[inline]
    pub(super) fn note_nmi_blocking(&mut self) {
        let State { interruptibility, pending, .. } = &self.state;
        self.state.is_in_nmi &= interruptibility & BLOCKED_BY_NMI != 0 || pending.is_some();
    }
}

impl VmxGuest<'_> {
    /// Applies the parts of an entry that persist until changed.
    #[inline(never)]
    fn apply(&mut self, resume: &Resume) {
        self.vmcs.set_cr8(resume.cr8);
        self.vmcs.set_tpr_threshold(resume.tpr_threshold);
        self.vmcs.want_window(Window::Interrupt, resume.wants_window);
        if self.state.tsc_offset != resume.tsc_offset {
            self.state.tsc_offset = resume.tsc_offset;
            self.vmcs.set_tsc_offset(resume.tsc_offset);
        }
    }

    /// Makes a pending non-maskable interrupt the next entry's event, if nothing blocks it.
    ///
    /// Only an injected one blocks others. Bochs does not end the blocking at an entry whose VMCS
    /// has none, so that it may be that of the vCPU that had the processor before.
    #[inline(never)]
    fn deliver_nmi(&mut self) {
        if !self.state.is_in_nmi {
            self.unblock(BLOCKED_BY_NMI);
        }
        let blocked = BLOCKED_BY_STI_OR_MOV_SS | BLOCKED_BY_NMI;
        let state = &mut *self.state;
        if state.pending.is_none() && state.interruptibility & blocked == 0 {
            state.has_nmi = false;
            state.is_in_nmi = true;
            state.pending = Some(Pending::of(VALID | TYPE_NMI | u32::from(vector::NMI), 0));
        }
        self.vmcs.want_window(Window::Nmi, self.state.has_nmi);
    }

    /// Handles the last exit here, or returns it as an event.
    fn settle(&mut self, reason: u64, general: &mut General, deadline: u64) -> Event {
        if reason & ENTRY_FAILED != 0 {
            return Event::Fault(Fault::EntryFailed { reason });
        }
        self.state.rflags = self.vmcs.read(Field::GuestRflags);
        self.state.interruptibility = self.vmcs.read(Field::GuestInterruptibility);
        self.keep_interrupted_event();
        let has_string_information = self.vmcs.has_string_information();
        if reason as u16 == exits::reason::IO {
            return exits::port(|field| self.vmcs.read(field), has_string_information);
        }
        match exits::decode(reason, |field| self.vmcs.read(field)) {
            Decision::Event(Event::TaskSwitch(switch)) => self.task_switch(switch),
            // A guest that single-steps gets its #DB after HLT, which ends it.
            Decision::Event(Event::Halt) if self.is_debugged() => Event::Skip,
            // Nor does one that a non-maskable interrupt waits for behind the shadow of STI.
            Decision::Event(Event::Halt) if self.state.has_nmi => Event::Skip,
            Decision::Event(event) => event,
            Decision::ExternalInterrupt => {
                self.vmcs.take_interrupt();
                Event::HostInterrupt
            }
            Decision::Exception => self.exception(),
            Decision::NmiWindow => Event::Handled,
            Decision::Timer if cpu::tsc() >= deadline => Event::Deadline,
            Decision::Timer => Event::Handled,
            Decision::ControlRegister(access) => self.control_register(access, general),
            Decision::GeneralProtection => self.refuse(),
        }
    }

    fn is_debugged(&self) -> bool {
        self.state.rflags & rflags::TF != 0 || self.vmcs.read(Field::GuestPendingDebug) != 0
    }

    /// Ends this blocking of events.
    pub(super) fn unblock(&mut self, blocking: u64) {
        if self.state.interruptibility & blocking != 0 {
            self.set_interruptibility(self.state.interruptibility & !blocking);
        }
    }

    pub(super) fn set_interruptibility(&mut self, value: u64) {
        self.state.interruptibility = value;
        self.vmcs.write(Field::GuestInterruptibility, value);
    }

    /// Resumes after the instruction that caused the exit.
    pub(super) fn skip_instruction(&mut self) {
        self.advance_to(self.get(Register::NextRip));
        if self.state.rflags & rflags::RF != 0 {
            self.set(Register::Rflags, self.state.rflags & !rflags::RF);
        }
    }

    /// As [`Resume::advance`].
    fn advance_to(&mut self, rip: u64) {
        // RIP exceeds 32 bits in 64-bit code only.
        let is_cut = rip >> 32 != 0 && self.get(Register::CodeAccess) & u64::from(ACCESS_LONG) == 0;
        self.vmcs.write(Field::GuestRip, if is_cut { rip & 0xffff_ffff } else { rip });
        self.unblock(BLOCKED_BY_STI_OR_MOV_SS);
        if self.state.rflags & rflags::TF != 0 {
            self.step();
        }
    }

    /// A single step is pending.
    #[inline(never)]
    pub(super) fn step(&mut self) {
        let pending = self.vmcs.read(Field::GuestPendingDebug);
        self.vmcs.write(Field::GuestPendingDebug, pending | SINGLE_STEP);
    }

    #[inline(never)]
    pub(super) fn inject(&mut self, inject: Inject) {
        let (information, error) = match inject {
            Inject::Interrupt(vector) => (u32::from(vector), 0),
            Inject::Exception { vector, error } => {
                // Real mode pushes none.
                let is_protected = self.vmcs.read(Field::GuestCr0) & cr0::PE != 0;
                let error = error.filter(|_| is_protected);
                let has_error = if error.is_some() { HAS_ERROR } else { 0 };
                (TYPE_EXCEPTION | has_error | u32::from(vector), error.unwrap_or(0))
            }
            Inject::Breakpoint => {
                self.state.pending = Some(Pending::int3());
                return;
            }
        };
        self.state.pending = Some(Pending::of(VALID | information, error));
    }

    fn left(&self, event: Event) -> Left {
        let flags = Flags {
            rflags: self.state.rflags,
            is_shadowed: self.state.interruptibility & BLOCKED_BY_STI_OR_MOV_SS != 0,
            has_event: self.state.pending.is_some(),
            cr8: self.vmcs.cr8(),
        };
        Left { event, flags }
    }
}

impl LoadedVcpu for VmxGuest<'_> {
    const KEEPS_PDPTES: bool = true;

    fn resume(&mut self, general: &mut General, resume: &Resume) -> Left {
        if let Some(rip) = resume.advance {
            self.advance_to(rip);
        }
        if let Some(inject) = resume.inject {
            self.inject(inject);
        }
        self.state.has_nmi |= resume.has_nmi;
        if !resume.is_again {
            self.apply(resume);
        }
        if self.state.has_nmi {
            self.deliver_nmi();
        }
        let pending = self.state.pending.take();
        if let Some(Pending { information, error, instruction_length }) = pending {
            self.vmcs.inject(information, error, instruction_length);
        }
        let is_stepping = self.state.traps.steps;
        let deadline = match is_stepping {
            true => self.begin_step(pending.is_some(), resume.deadline),
            false => resume.deadline,
        };
        let run = self.vmcs.enter(general, deadline);
        let is_over = is_stepping && self.end_step();
        let event = match run {
            Run::Exit(reason) => self.settle(reason, general, deadline),
            Run::Late => {
                self.state.pending = pending;
                Event::Deadline
            }
            Run::Failed(number) => {
                self.state.failure = number;
                Event::Fault(Fault::EntryFailed { reason: number.into() })
            }
        };
        self.left(if is_over { self.or_stepped(event) } else { event })
    }

    // With the register known, it is one load.
    #[inline(always)]
    fn get(&self, register: Register) -> u64 {
        let vmcs = &self.vmcs;
        match register {
            Register::Rip => vmcs.read(Field::GuestRip),
            Register::Rsp => vmcs.read(Field::GuestRsp),
            Register::Rflags => self.state.rflags,
            Register::Cr0 => vmcs.cr0(),
            Register::Cr2 => vmcs.cr2(),
            Register::Cr3 => vmcs.read(Field::GuestCr3),
            Register::Cr4 => vmcs.cr4(),
            Register::Efer => vmcs.read(Field::GuestEfer),
            Register::Dr6 => vmcs.extended().switched.debug()[4],
            Register::Dr7 => vmcs.read(Field::GuestDr7),
            Register::KernelGsBase => vmcs.kernel_gs_base(),
            Register::GdtrBase => vmcs.read(Field::GuestGdtrBase),
            Register::GdtrLimit => vmcs.read(Field::GuestGdtrLimit),
            Register::IdtrBase => vmcs.read(Field::GuestIdtrBase),
            Register::IdtrLimit => vmcs.read(Field::GuestIdtrLimit),
            Register::CodeAccess => vmcs.read_nth(Field::GuestEsAccess, segment::CS),
            Register::Cpl => vmcs.read_nth(Field::GuestEsAccess, segment::SS) >> 5 & 3,
            Register::NextRip => {
                vmcs.read(Field::GuestRip).wrapping_add(vmcs.read(Field::InstructionLength))
            }
            Register::Pdpte(index) => vmcs.read(PDPTES[usize::from(index)]),
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        let vmcs = &mut self.vmcs;
        match register {
            Register::Rip => vmcs.write(Field::GuestRip, value),
            Register::Rsp => vmcs.write(Field::GuestRsp, value),
            Register::Rflags => {
                self.state.rflags = value;
                vmcs.write(Field::GuestRflags, value);
            }
            Register::Cr0 => vmcs.set_cr0(value),
            Register::Cr2 => vmcs.set_cr2(value),
            Register::Cr3 => {
                vmcs.write(Field::GuestCr3, value);
                vmcs.drop_translations();
            }
            Register::Cr4 => vmcs.set_cr4(value),
            Register::Efer => vmcs.set_efer(value),
            Register::Dr6 => vmcs.set_debug_causes(value),
            Register::Dr7 => vmcs.write(Field::GuestDr7, value),
            Register::KernelGsBase => vmcs.set_kernel_gs_base(value),
            Register::GdtrBase => vmcs.write(Field::GuestGdtrBase, value),
            Register::GdtrLimit => vmcs.write(Field::GuestGdtrLimit, value),
            Register::IdtrBase => vmcs.write(Field::GuestIdtrBase, value),
            Register::IdtrLimit => vmcs.write(Field::GuestIdtrLimit, value),
            Register::Pdpte(index) => vmcs.write(PDPTES[usize::from(index)], value),
            Register::CodeAccess | Register::Cpl | Register::NextRip => {}
        }
    }

    fn drop_events(&mut self) {
        const ACTIVE: u64 = 0;
        self.state.pending = None;
        (self.state.has_nmi, self.state.is_in_nmi) = (false, false);
        self.vmcs.inject(0, 0, 0);
        self.vmcs.want_window(Window::Nmi, false);
        self.set_interruptibility(0);
        self.vmcs.write(Field::GuestPendingDebug, 0);
        self.vmcs.write(Field::GuestActivity, ACTIVE);
    }

    fn trap(&mut self, traps: Traps) {
        self.state.traps = traps;
        self.vmcs.want_window(Window::DebugRegisters, traps.debug_registers);
    }

    fn reset_msrs(&mut self) {
        self.vmcs.reset_switched_msrs();
        self.vmcs.write(Field::GuestPat, reset::PAT);
        for field in [Field::GuestSysenterCs, Field::GuestSysenterEsp, Field::GuestSysenterEip] {
            self.vmcs.write(field, 0);
        }
    }

    fn segment(&self, index: usize) -> Segment {
        let read = |first| self.vmcs.read_nth(first, index);
        Segment {
            selector: read(Field::GuestEs) as u16,
            base: read(Field::GuestEsBase),
            limit: read(Field::GuestEsLimit) as u32,
            access: read(Field::GuestEsAccess) as u32,
        }
    }

    fn set_segment(&mut self, index: usize, segment: Segment) {
        let Segment { selector, base, limit, access } = segment;
        self.vmcs.write_segment(Field::GuestEs, index, selector.into());
        self.vmcs.write_segment(Field::GuestEsBase, index, base);
        self.vmcs.write_segment(Field::GuestEsLimit, index, limit.into());
        self.vmcs.write_segment(Field::GuestEsAccess, index, access.into());
    }

    fn extended(&self) -> &ExtendedState {
        self.vmcs.extended()
    }

    fn extended_mut(&mut self) -> &mut ExtendedState {
        self.vmcs.extended_mut()
    }

    fn write_dump(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        let read = |field| self.vmcs.read(field);
        let reason = read(Field::ExitReason);
        let name = exits::name(reason as u16);
        let qualification = read(Field::Qualification);
        writeln!(to, "exit {reason:08x} ({name})  qualification {qualification:016x}")?;
        let linear = read(Field::GuestLinearAddress);
        let physical = read(Field::GuestPhysicalAddress);
        writeln!(to, "guest-linear {linear:016x}  guest-physical {physical:016x}")?;
        for (name, field) in DUMPED {
            writeln!(to, "{name} {:08x}", read(field))?;
        }
        if self.state.failure != 0 {
            writeln!(to, "VM-instruction error: {}", error_name(self.state.failure))?;
        }
        Ok(())
    }
}

const DUMPED: [(&str, Field); 13] = [
    ("instruction length", Field::InstructionLength),
    ("interruptibility", Field::GuestInterruptibility),
    ("activity", Field::GuestActivity),
    ("IDT vectoring", Field::IdtVectoring),
    ("exit interruption", Field::ExitInterruption),
    ("entry interruption", Field::EntryInterruption),
    ("pin controls", Field::PinControls),
    ("primary controls", Field::PrimaryControls),
    ("secondary controls", Field::SecondaryControls),
    ("exit controls", Field::ExitControls),
    ("entry controls", Field::EntryControls),
    ("real CR0", Field::GuestCr0),
    ("real CR4", Field::GuestCr4),
];
