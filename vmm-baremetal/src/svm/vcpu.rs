//! A vCPU on SVM: its VMCB, its nested page tables, and what an exit means before the shared code
//! hears of it.

use super::capabilities::Capabilities;
use super::exits::{Instruction, code};
use super::vmcb::{self, Vmcb, event, intercept3, virtual_interrupt};
use super::{Svm, controls, efer, entry, events, exits, npt};
use crate::cpu;
use crate::cpu::register::{DR6_RESET, DR7_RESET, IA32_PAT, IA32_TSC, PAT_RESET, RFLAGS_IF};
use crate::cpu::vector::GP;
use crate::frames::{Frame, Frames, OutOfFrames};
use crate::hardware::{Event, General, Hardware, Inject, Register};
use crate::ram::GuestRam;
use crate::second_level::{Format, Tables};
use crate::state::FxArea;
use crate::walk::Paging;
use core::fmt;
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
    capabilities: Capabilities,
    /// Another VM runs with the same ASID.
    is_asid_shared: bool,
}

impl SvmVcpu {
    /// vCPU `number`, from 0, of `count`, with these registers, whose guest has this RAM and nothing
    /// else. Its ASID is its own while the processor has enough of them; where VMs share them, each
    /// switch flushes.
    ///
    /// # Errors
    /// [`OutOfFrames`] if its structures do not fit.
    pub fn new(
        svm: &Svm,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        number: u32,
        count: u32,
    ) -> Result<Self, OutOfFrames> {
        let capabilities = svm.capabilities;
        let (asid, is_asid_shared) = capabilities.asid_of(number, count);
        let mut frame = frames.take()?;
        let format = Format { has_1g: capabilities.has_gib_pages, ..npt::FORMAT };
        let tables = Tables::new(frames, &ram, format)?;
        let vmcb = Vmcb::of_mut(&mut frame);
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
        })
    }

    fn vmcb(&self) -> &Vmcb {
        Vmcb::of(&self.vmcb)
    }

    fn vmcb_mut(&mut self) -> &mut Vmcb {
        Vmcb::of_mut(&mut self.vmcb)
    }

    /// The last exit's event, if it is not settled here.
    fn event(&mut self, general: &mut General, deadline: u64) -> Event {
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

    fn read_msr(&mut self, general: &mut General) -> Event {
        let value = match general[general::RCX] as u32 {
            cpu::efer::INDEX => self.get(Register::Efer),
            IA32_PAT => self.vmcb().pat,
            IA32_TSC => cpu::tsc().wrapping_add(self.vmcb().tsc_offset),
            _ => return Event::ReadMsr,
        };
        general[general::RAX] = value & 0xffff_ffff;
        general[general::RDX] = value >> 32;
        self.skip_instruction();
        Event::Handled
    }

    fn write_msr(&mut self, general: &General) -> Event {
        let value = general[general::RDX] << 32 | (general[general::RAX] & 0xffff_ffff);
        let is_written = match general[general::RCX] as u32 {
            cpu::efer::INDEX => self.write_efer(value),
            IA32_PAT => self.write_pat(value),
            _ => return Event::WriteMsr,
        };
        if is_written {
            self.skip_instruction();
        } else {
            self.inject(Inject::Exception { vector: GP, error: Some(0) });
        }
        Event::Handled
    }

    /// False: #GP.
    fn write_efer(&mut self, value: u64) -> bool {
        let (old, cr0) = (self.get(Register::Efer), self.vmcb().cr0);
        let new = efer::written(old, value, self.capabilities.efer, cr0);
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
            self.vmcb_mut().pat = value;
        }
        is_valid
    }

    /// 16, 32 or 64: the code segment's default.
    fn code_bits(&self) -> u8 {
        const LONG: u16 = 1 << 9;
        const DEFAULT_32: u16 = 1 << 10;
        let attributes = self.vmcb().segment(segment::CS).attributes;
        let is_long_mode = self.vmcb().efer & cpu::efer::LMA != 0;
        match (is_long_mode && attributes & LONG != 0, attributes & DEFAULT_32 != 0) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        }
    }

    /// What lies at CS:RIP, through the guest's page tables.
    fn instruction(&self) -> Instruction {
        let vmcb = self.vmcb();
        let code_bits = self.code_bits();
        let base = if code_bits == 64 { 0 } else { vmcb.segment(segment::CS).base };
        let paging = Paging { cr0: vmcb.cr0, cr3: vmcb.cr3, cr4: vmcb.cr4, efer: vmcb.efer };
        let mut bytes = [0; INSTRUCTION_BYTES];
        let mut len = 0;
        for byte in &mut bytes {
            let at = base.wrapping_add(vmcb.rip).wrapping_add(len as u64);
            let physical = paging.translate(at, |address| self.ram.word(address));
            let to = core::slice::from_mut(byte);
            if !physical.is_some_and(|physical| self.ram.read(physical, to)) {
                break;
            }
            len += 1;
        }
        Instruction { bytes, len, code_bits }
    }

    /// Where the instruction ends that the guest was left at. QEMU tells it only of IN and OUT.
    fn next_rip(&self) -> u64 {
        let vmcb = self.vmcb();
        match exits::opcode_len(vmcb.exit_code) {
            _ if vmcb.exit_code == code::IOIO => vmcb.exit_info2,
            _ if self.capabilities.has_next_rip => vmcb.next_rip,
            Some(opcode) => {
                let instruction = self.instruction();
                let next = vmcb.rip.wrapping_add(instruction.prefixes().len + opcode);
                if instruction.code_bits == 64 { next } else { next & 0xffff_ffff }
            }
            None => vmcb.rip,
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
        self.vmcb_mut().rax = general[general::RAX];
        // SAFETY: `Svm` enabled SVM and `new` filled the VMCB, whose intercepts, maps and nested
        // tables keep the guest to its RAM and registers; interrupts are off wherever vCPUs run.
        unsafe { entry::enter(general, self.vmcb.address(), self.host_vmcb, &raw mut self.fx) };
        let vmcb = self.vmcb_mut();
        general[general::RAX] = vmcb.rax;
        if vmcb.exit_code != code::INVALID {
            vmcb.tlb_control = 0;
            vmcb.event_injection = events::cut_short(vmcb.exit_interrupt_info);
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
            Register::Cr3 => vmcb.cr3,
            Register::Cr4 => vmcb.cr4,
            Register::Efer => efer::from_vmcb(vmcb.efer),
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        let vmcb = self.vmcb_mut();
        match register {
            Register::Rip => {
                vmcb.rip = value;
                // An instruction was carried out, and a shadow lasts for one.
                vmcb.interrupt_shadow &= !vmcb::SHADOW;
            }
            Register::Rsp => vmcb.rsp = value,
            Register::Rflags => vmcb.rflags = value,
            Register::Cr0 => vmcb.cr0 = value,
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

    fn tables(&self) -> (TableRegister, TableRegister) {
        let register =
            |from: &vmcb::VmcbSegment| TableRegister { base: from.base, limit: from.limit as u16 };
        (register(&self.vmcb().gdtr), register(&self.vmcb().idtr))
    }

    fn inject(&mut self, inject: Inject) {
        self.vmcb_mut().event_injection = events::injection(inject);
    }

    fn has_pending_event(&self) -> bool {
        self.vmcb().event_injection & event::VALID != 0
    }

    fn want_window(&mut self, is_wanted: bool) {
        // A virtual interrupt that is never delivered, as the moment before is intercepted.
        const REQUEST: u64 = virtual_interrupt::IRQ
            | virtual_interrupt::HIGHEST_PRIORITY
            | virtual_interrupt::IGNORE_TPR;
        let vmcb = self.vmcb_mut();
        if is_wanted {
            vmcb.virtual_interrupt |= REQUEST;
            vmcb.intercept3 |= intercept3::VINTR;
        } else {
            vmcb.virtual_interrupt &= !REQUEST;
            vmcb.intercept3 &= !intercept3::VINTR;
        }
    }

    fn is_interruptible(&self) -> bool {
        let vmcb = self.vmcb();
        let is_shadowed = vmcb.interrupt_shadow & vmcb::SHADOW != 0;
        vmcb.rflags & RFLAGS_IF != 0 && !is_shadowed && !self.has_pending_event()
    }

    fn skip_instruction(&mut self) {
        let next = self.next_rip();
        self.set(Register::Rip, next);
    }

    fn cr8(&self) -> u8 {
        (self.vmcb().virtual_interrupt & virtual_interrupt::TPR) as u8
    }

    fn set_cr8(&mut self, cr8: u8) {
        let vmcb = self.vmcb_mut();
        let others = vmcb.virtual_interrupt & !virtual_interrupt::TPR;
        vmcb.virtual_interrupt = others | (u64::from(cr8) & virtual_interrupt::TPR);
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
