//! A vCPU on SVM: its VMCB, its nested page tables, and what an exit means before the shared code
//! hears of it.

use super::capabilities::Capabilities;
use super::exits::{Instruction, code};
use super::vmcb::{self, Vmcb, event, intercept3, virtual_interrupt};
use super::{Svm, controls, efer, entry, events, exits, npt};
use crate::cpu;
use crate::cpu::register::{DR6_RESET, DR7_RESET, PAT_RESET, RFLAGS_IF, RFLAGS_RF, RFLAGS_TF};
use crate::cpu::vector::DB;
use crate::frames::{Frame, Frames, OutOfFrames};
use crate::hardware::{Event, General, Hardware, Inject, Register};
use crate::ram::GuestRam;
use crate::second_level::{Format, Tables};
use crate::state::FxArea;
use core::fmt;
use vmm_common::cpuid::Permitted;
use vmm_common::registers::{
    CpuState, INSTRUCTION_BYTES, Segment, TableRegister, general, segment,
};

/// A vCPU's control block and what belongs to it.
#[derive(Debug)]
pub struct SvmVcpu {
    vmcb: Frame,
    fx: FxArea,
    _tables: Tables,
    ram: GuestRam,
    host_vmcb: u64,
    arm_timer: fn(u64),
    pub(super) capabilities: Capabilities,
    /// Another VM runs with the same ASID.
    is_asid_shared: bool,
    pub(super) nmi: Nmi,
    pub(super) is_nmi_waiting: bool,
    pub(super) permitted: Permitted,
}

/// Whether the guest takes non-maskable interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nmi {
    /// It does.
    Open,
    /// Not before the IRET of its handler, which is intercepted.
    Blocked,
    /// Once it has carried out that IRET, which comes next.
    Returning(Iret),
}

/// The IRET of a handler, about to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Iret {
    pub(super) rip: u64,
    pub(super) rsp: u64,
    /// DR6 before it.
    pub(super) dr6: u64,
    /// RFLAGS.TF was set for it, so that the guest is left right behind it.
    pub(super) is_stepping: bool,
}

impl SvmVcpu {
    /// vCPU `number`, from 0, of `count`, with these registers, whose guest has this RAM and
    /// nothing else, and may set what is `permitted`. Its ASID is its own while the processor has
    /// enough of them; where VMs share them, each switch flushes.
    ///
    /// # Errors
    /// [`OutOfFrames`] if its structures do not fit.
    pub fn new(
        svm: &Svm,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        permitted: Permitted,
        number: u32,
        count: u32,
    ) -> Result<Self, OutOfFrames> {
        let capabilities = svm.capabilities;
        let (asid, is_asid_shared) = capabilities.asid_of(number, count);
        let mut frame = frames.take()?;
        let format = Format { has_1g: capabilities.has_gib_pages, ..npt::FORMAT };
        let tables = Tables::new(frames, &ram, format)?;
        let vmcb = Vmcb::of_mut(&mut frame);
        vmcb.intercept_control_registers = controls::INTERCEPT_CONTROL_REGISTERS;
        vmcb.intercept_exceptions = controls::INTERCEPT_EXCEPTIONS;
        vmcb.intercept3 = controls::INTERCEPT3;
        vmcb.intercept4 = controls::INTERCEPT4;
        vmcb.iopm_base = svm.port_map.address();
        vmcb.msrpm_base = svm.msr_map.address();
        vmcb.asid = asid;
        vmcb.tlb_control = vmcb::FLUSH_TLB;
        vmcb.virtual_interrupt = virtual_interrupt::MASKING;
        vmcb.nested_paging = vmcb::NESTED_PAGING;
        vmcb.nested_cr3 = tables.root();
        set_registers(vmcb, boot);
        Ok(Self {
            vmcb: frame,
            fx: FxArea::INITIAL,
            _tables: tables,
            ram,
            host_vmcb: svm.host_vmcb.address(),
            arm_timer: svm.arm_timer,
            capabilities,
            is_asid_shared,
            nmi: Nmi::Open,
            is_nmi_waiting: false,
            permitted,
        })
    }

    pub(super) fn vmcb(&self) -> &Vmcb {
        Vmcb::of(&self.vmcb)
    }

    pub(super) fn vmcb_mut(&mut self) -> &mut Vmcb {
        Vmcb::of_mut(&mut self.vmcb)
    }

    /// The last exit's event, if it is not settled here.
    fn event(&mut self, general: &mut General, deadline: u64) -> Event {
        match self.vmcb().exit_code {
            exit_code @ (code::WRITE_CR4 | code::WRITE_CR8 | code::CR0_SEL_WRITE) => {
                return self.write_control_register(exit_code, general);
            }
            exit_code @ (code::DB | code::AC | code::MC) => return self.exception(exit_code),
            code::IRET => return self.nmi_handler_ends(),
            // No counter exists (APM vol. 3, RDPMC).
            code::RDPMC => return self.refuse(),
            code::INTR => {
                if let Some(halt) = self.finish_shadowed() {
                    return halt;
                }
            }
            _ => {}
        }
        match exits::decode(self.vmcb(), || self.instruction()) {
            Event::HostInterrupt if cpu::tsc() >= deadline => Event::Deadline,
            Event::Window => {
                self.want_window(false);
                Event::Window
            }
            Event::ReadMsr => self.read_msr(general),
            Event::WriteMsr => self.write_msr(general),
            event => event,
        }
    }

    /// What lies at CS:RIP, through the guest's page tables.
    pub(super) fn instruction(&self) -> Instruction {
        let mut bytes = [0; INSTRUCTION_BYTES];
        let len = self.fetch(&self.ram, &mut bytes).len;
        Instruction { bytes, len, code_bits: self.code_bits() }
    }

    /// An event waits for the next entry already, one whose delivery an exit cut short.
    pub(super) fn has_pending_event(&self) -> bool {
        self.vmcb().event_injection & event::VALID != 0
    }

    pub(super) fn intercept_iret(&mut self, is_wanted: bool) {
        let vmcb = self.vmcb_mut();
        let others = vmcb.intercept3 & !intercept3::IRET;
        vmcb.intercept3 = others | if is_wanted { intercept3::IRET } else { 0 };
    }

    pub(super) fn is_shadowed(&self) -> bool {
        self.vmcb().interrupt_shadow & vmcb::SHADOW != 0
    }

    /// A non-maskable interrupt that waits is delivered, if nothing blocks it.
    fn deliver_nmi(&mut self) {
        if self.is_nmi_waiting && self.nmi == Nmi::Open && !self.has_pending_event() {
            self.is_nmi_waiting = false;
            self.nmi = Nmi::Blocked;
            self.intercept_iret(true);
            self.vmcb_mut().event_injection = events::injection(Inject::Nmi);
        }
    }
}

impl Hardware for SvmVcpu {
    fn load(&mut self) {
        // AMD's FXRSTOR leaves the last x87 instruction's addresses alone: they must not be
        // another VM's.
        // SAFETY: nothing is in the x87 registers that the next FXRSTOR does not replace.
        unsafe { core::arch::asm!("fninit", options(nomem, nostack, preserves_flags)) };
        // VMRUN does it, but for Bochs's, which leaves another VM's there.
        // SAFETY: the hypervisor's own page faults end it; nobody else reads the register.
        unsafe { cpu::set_cr2(self.vmcb().cr2) };
        if self.is_asid_shared {
            self.vmcb_mut().tlb_control = vmcb::FLUSH_TLB;
        }
    }

    fn unload(&mut self) {}

    fn run(&mut self, general: &mut General, deadline: u64) -> Event {
        if cpu::tsc() >= deadline {
            return Event::Deadline;
        }
        (self.arm_timer)(deadline);
        self.deliver_nmi();
        self.vmcb_mut().rax = general[general::RAX];
        // SAFETY: `Svm` enabled SVM and `new` filled the VMCB, whose intercepts, maps and nested
        // tables keep the guest to its RAM and registers; interrupts are off wherever vCPUs run.
        unsafe { entry::enter(general, self.vmcb.address(), self.host_vmcb, &raw mut self.fx) };
        let vmcb = self.vmcb_mut();
        general[general::RAX] = vmcb.rax;
        if !exits::is_refused(vmcb) {
            vmcb.tlb_control = 0;
            vmcb.event_injection = events::cut_short(vmcb.exit_interrupt_info);
        }
        if let Nmi::Returning(iret) = self.nmi
            && self.follow_iret(iret)
        {
            return Event::Handled;
        }
        self.event(general, deadline)
    }

    fn get(&self, register: Register) -> u64 {
        let vmcb = self.vmcb();
        match register {
            Register::Rip => vmcb.rip,
            Register::Rsp => vmcb.rsp,
            Register::Rflags => vmcb.rflags,
            Register::Cr0 => vmcb.cr0,
            Register::Cr2 => vmcb.cr2,
            Register::Cr3 => vmcb.cr3,
            Register::Cr4 => vmcb.cr4,
            Register::Efer => efer::from_vmcb(vmcb.efer),
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        let vmcb = self.vmcb_mut();
        match register {
            Register::Rip => vmcb.rip = value,
            Register::Rsp => vmcb.rsp = value,
            Register::Rflags => vmcb.rflags = value,
            Register::Cr0 => vmcb.cr0 = value,
            Register::Cr2 => {
                vmcb.cr2 = value;
                // For Bochs's VMRUN, as in `load`.
                // SAFETY: the hypervisor's own page faults end it; nothing else reads the register.
                unsafe { cpu::set_cr2(value) };
            }
            Register::Cr3 => vmcb.cr3 = value,
            Register::Cr4 => vmcb.cr4 = value,
            Register::Efer => vmcb.efer = efer::to_vmcb(value),
        }
    }

    fn segment(&self, index: usize) -> Segment {
        let mut segment = Segment::from(*self.vmcb().segment(index));
        if index == segment::SS {
            // What VMX keeps in SS.DPL has a place of its own here (APM vol. 2, 15.5.1).
            segment.access = (segment.access & !(3 << 5)) | u32::from(self.vmcb().cpl & 3) << 5;
        }
        segment
    }

    fn set_segment(&mut self, index: usize, segment: Segment) {
        *self.vmcb_mut().segment_mut(index) = segment.into();
        if index == segment::SS {
            self.vmcb_mut().cpl = (segment.access >> 5 & 3) as u8;
        }
    }

    fn load_cr3(&mut self, cr3: u64, _pdptes: Option<[u64; 4]>) {
        let vmcb = self.vmcb_mut();
        vmcb.cr3 = cr3;
        vmcb.tlb_control = vmcb::FLUSH_TLB;
    }

    fn begin_task(&mut self) {
        const LOCAL_ENABLE: u64 = 0x55;
        let vmcb = self.vmcb_mut();
        vmcb.cr0 |= crate::control_registers::CR0_TS;
        vmcb.dr7 &= !LOCAL_ENABLE;
    }

    fn tables(&self) -> (TableRegister, TableRegister) {
        let register =
            |from: &vmcb::VmcbSegment| TableRegister { base: from.base, limit: from.limit as u16 };
        (register(&self.vmcb().gdtr), register(&self.vmcb().idtr))
    }

    fn inject(&mut self, inject: Inject) {
        match inject {
            Inject::Nmi => self.is_nmi_waiting = true,
            Inject::Interrupt(vector) if self.is_on_qemu() => self.raise_virtual(vector),
            Inject::Interrupt(_) | Inject::Exception { .. } => {
                let vmcb = self.vmcb_mut();
                vmcb.event_injection = events::injection(inject);
                if events::is_fault(inject) {
                    vmcb.rflags |= RFLAGS_RF;
                }
            }
        }
    }

    fn want_window(&mut self, is_wanted: bool) {
        if self.has_virtual() {
            // It is taken first; the exit that ends its service asks again.
            return;
        }
        // A virtual interrupt that is never delivered, as the moment before is intercepted.
        let vmcb = self.vmcb_mut();
        if is_wanted {
            vmcb.virtual_interrupt |= virtual_interrupt::REQUEST;
            vmcb.intercept3 |= intercept3::VINTR;
        } else {
            vmcb.virtual_interrupt &= !virtual_interrupt::REQUEST;
            vmcb.intercept3 &= !intercept3::VINTR;
        }
    }

    fn has_pending_exception(&self) -> bool {
        self.has_pending_event()
    }

    fn is_interruptible(&self) -> bool {
        let is_enabled = self.vmcb().rflags & RFLAGS_IF != 0;
        let is_busy = self.has_pending_event() || self.has_virtual();
        is_enabled && !self.is_shadowed() && !is_busy
    }

    fn next_rip(&self) -> u64 {
        let vmcb = self.vmcb();
        match exits::opcode_len(vmcb.exit_code) {
            // QEMU tells it only of IN and OUT.
            _ if vmcb.exit_code == code::IOIO => vmcb.exit_info2,
            _ if self.capabilities.has_next_rip => vmcb.next_rip,
            Some(opcode) => vmcb.rip.wrapping_add(self.instruction().prefixes().len + opcode),
            None => vmcb.rip,
        }
    }

    fn code_access(&self) -> u32 {
        Segment::from(*self.vmcb().segment(segment::CS)).access
    }

    fn cpl(&self) -> u8 {
        self.vmcb().cpl
    }

    fn fx_area(&self) -> &FxArea {
        &self.fx
    }

    fn fx_area_mut(&mut self) -> &mut FxArea {
        &mut self.fx
    }

    fn advance_to(&mut self, rip: u64) {
        const SINGLE_STEP: u64 = 1 << 14;
        let is_64 = self.code_bits() == 64;
        let vmcb = self.vmcb_mut();
        vmcb.rip = if is_64 { rip } else { rip & 0xffff_ffff };
        vmcb.interrupt_shadow &= !vmcb::SHADOW;
        vmcb.rflags &= !RFLAGS_RF;
        if vmcb.rflags & RFLAGS_TF != 0 && vmcb.event_injection & event::VALID == 0 {
            vmcb.dr6 |= SINGLE_STEP;
            self.inject(Inject::Exception { vector: DB, error: None });
        }
    }

    fn cr8(&self) -> u8 {
        (self.vmcb().virtual_interrupt & virtual_interrupt::TPR) as u8
    }

    fn set_cr8(&mut self, cr8: u8) {
        let vmcb = self.vmcb_mut();
        let others = vmcb.virtual_interrupt & !virtual_interrupt::TPR;
        vmcb.virtual_interrupt = others | (u64::from(cr8) & virtual_interrupt::TPR);
    }

    fn set_tpr_threshold(&mut self, class: u8) {
        let vmcb = self.vmcb_mut();
        let others = vmcb.intercept_control_registers & !vmcb::INTERCEPT_WRITE_CR8;
        let wanted = if class > 0 { vmcb::INTERCEPT_WRITE_CR8 } else { 0 };
        vmcb.intercept_control_registers = others | wanted;
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb_mut().tsc_offset = offset;
    }

    fn write_dump(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        let vmcb = self.vmcb();
        let (code, info1, info2) = (vmcb.exit_code, vmcb.exit_info1, vmcb.exit_info2);
        writeln!(to, "exit {} {code:x}  info {info1:x} {info2:x}", exits::name(code))?;
        let (cut_short, next) = (vmcb.exit_interrupt_info, vmcb.event_injection);
        writeln!(to, "event cut short {cut_short:x}  injected {next:x}")?;
        let (interrupt, shadow) = (vmcb.virtual_interrupt, vmcb.interrupt_shadow);
        writeln!(to, "virtual interrupt {interrupt:x}  shadow {shadow:x}")?;
        writeln!(to, "asid {}  nested cr3 {:x}", vmcb.asid, vmcb.nested_cr3)?;
        writeln!(to, "next rip {:x}  dr6 {:x}  dr7 {:x}", vmcb.next_rip, vmcb.dr6, vmcb.dr7)
    }
}

/// The registers that the VMCB holds.
fn set_registers(vmcb: &mut Vmcb, boot: &CpuState) {
    const SS_DPL: u32 = 5;
    for (index, segment) in boot.segments.iter().enumerate() {
        *vmcb.segment_mut(index) = (*segment).into();
    }
    let table = |from: &TableRegister| vmcb::VmcbSegment {
        base: from.base,
        limit: from.limit.into(),
        ..vmcb::VmcbSegment::default()
    };
    vmcb.gdtr = table(&boot.gdtr);
    vmcb.idtr = table(&boot.idtr);
    vmcb.cpl = (boot.segments[segment::SS].access >> SS_DPL & 3) as u8;
    vmcb.efer = efer::to_vmcb(boot.efer);
    vmcb.cr0 = boot.cr0;
    vmcb.cr2 = boot.cr2;
    vmcb.cr3 = boot.cr3;
    vmcb.cr4 = boot.cr4;
    vmcb.dr6 = DR6_RESET;
    vmcb.dr7 = DR7_RESET;
    vmcb.rflags = boot.rflags;
    vmcb.rip = boot.rip;
    vmcb.rsp = boot.general[general::RSP];
    vmcb.rax = boot.general[general::RAX];
    vmcb.pat = PAT_RESET;
}

#[cfg(test)]
mod tests;
