//! A vCPU's VMCB and what it refers to, made from a grant; and the one that has the processor.

use super::controls;
use super::vmcb::{self, State, Vmcb, intercept3, virtual_interrupt};
use super::{Svm, entry, npt};
use crate::architecture::{efer, reset, rflags};
use crate::extended_state::ExtendedState;
use crate::frames::{Frame, Frames, OutOfFrames};
use crate::guest_ram::GuestRam;
use crate::second_level::{Format, Tables};
use crate::siblings::Siblings;
use crate::{General, cpu, interrupts, nmi_timer};
use core::arch::asm;
use vmm_common::grant::{Grant, Vendor};
use vmm_common::registers::{CpuState, TableRegister, general, segment};

/// A vCPU's VMCB, its tables and maps.
#[derive(Debug)]
pub struct ControlBlock {
    pub(super) vmcb: Frame,
    pub(super) tables: Tables,
    has_next_rip: bool,
    has_pause_filter: bool,
    extended: ExtendedState,
}

/// The loaded vCPU's control block. It borrows the processor, so that no other
/// can be loaded meanwhile.
///
/// ```compile_fail,E0499
/// # use metal::svm::{ControlBlock, Svm};
/// fn two_at_once(processor: &mut Svm, one: &mut ControlBlock, other: &mut ControlBlock) {
///     let one = processor.loaded(one);
///     let other = processor.loaded(other);
///     let _ = (one.cr8(), other.cr8());
/// }
/// ```
#[derive(Debug)]
pub struct Loaded<'a> {
    vmcb: &'a mut Vmcb,
    extended: &'a mut ExtendedState,
    host_vmcb: u64,
    has_next_rip: bool,
    _svm: &'a mut Svm,
}

/// How an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The guest ran and exited, or VMRUN refused it, as the exit code says.
    Exit,
    /// The deadline had passed before it could be entered.
    Late,
}

/// The last exit's information (APM vol. 2, 15.6).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    pub code: u64,
    pub info1: u64,
    pub info2: u64,
    pub interrupt_info: u64,
}

/// Intercepts that are not always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intercept {
    /// IRET.
    Iret,
    /// The moment at which a virtual interrupt would be delivered.
    VirtualInterrupt,
    /// MOV to CR8.
    WriteCr8,
    /// MOV from CR0 and SMSW, where the guest sees more of it than the processor has.
    ReadCr0,
    /// The exception of INT3.
    Breakpoint,
    /// INT n, and in QEMU INT3.
    SoftwareInterrupt,
    /// MOV to and from debug registers.
    DebugRegisters,
}

impl ControlBlock {
    /// That of a vCPU with `boot`'s registers, whose guest has `ram` and what is granted besides.
    /// One with siblings leaves it at a PAUSE.
    /// Its ASID is its own while the processor has enough of them; where VMs share them, each
    /// switch flushes.
    ///
    /// # Errors
    /// [`OutOfFrames`] if its structures do not fit.
    ///
    /// # Panics
    /// The grant is of other RAM, or for another vendor's processor.
    pub fn new(
        svm: &mut Svm,
        frames: &mut Frames,
        ram: &GuestRam,
        boot: &CpuState,
        grant: &Grant,
        siblings: Siblings<'_, Self>,
    ) -> Result<Self, OutOfFrames> {
        assert_eq!(grant.vendor(), Vendor::Svm);
        assert_eq!(grant.reach().ram, ram.granted());
        let capabilities = svm.capabilities;
        let asid = capabilities.asid_of(svm.vcpus);
        svm.vcpus += 1;
        let mut vmcb = frames.take()?;
        let has_1g = capabilities.has_gib_pages;
        let has_siblings = !siblings.is_alone();
        let tables = siblings.map(|sibling| &sibling.tables);
        let tables = Tables::of_guest(tables, frames, ram, Format { has_1g, ..npt::FORMAT })?;
        let maps = svm.maps(frames, grant.reach())?;
        let block = Vmcb::of_mut(&mut vmcb);
        block.set_cr0(boot.cr0);
        block.set_cr4(boot.cr4);
        let Vmcb { control, state } = block;
        control.intercept_exceptions = controls::INTERCEPT_EXCEPTIONS;
        control.intercept3 = controls::INTERCEPT3;
        if has_siblings {
            control.intercept3 |= intercept3::PAUSE;
            if capabilities.has_pause_filter {
                (control.pause_filter_count, control.pause_filter_threshold) = controls::PAUSES;
            }
        }
        control.intercept4 = controls::INTERCEPT4;
        control.iopm_base = maps.ports.address();
        control.msrpm_base = maps.msrs.address();
        control.asid = asid;
        control.tlb_control = vmcb::FLUSH_TLB;
        control.virtual_interrupt = virtual_interrupt::MASKING;
        control.nested_paging = vmcb::NESTED_PAGING;
        control.nested_cr3 = tables.root();
        set_registers(state, boot);
        Ok(Self {
            vmcb,
            tables,
            has_next_rip: capabilities.has_next_rip,
            has_pause_filter: capabilities.has_pause_filter,
            extended: ExtendedState::new(svm.extensions, grant, frames)?,
        })
    }
}

impl ControlBlock {
    /// An intercepted PAUSE exits only in a loop of many.
    #[must_use]
    pub const fn has_pause_filter(&self) -> bool {
        self.has_pause_filter
    }
}

impl Svm {
    /// Gives the processor to a vCPU, after `before`, which had it, or as the first.
    ///
    /// # Panics
    /// `before` is not the vCPU that had it.
    #[inline(always)]
    pub fn load<'a>(
        &'a mut self,
        block: &'a mut ControlBlock,
        mut before: Option<&mut ControlBlock>,
    ) -> Loaded<'a> {
        let had_it = before.as_ref().map_or(0, |before| before.vmcb.address());
        assert_eq!(had_it, self.resident, "no state may be left behind");
        block.extended.switched.load(before.as_mut().map(|before| &mut before.extended.switched));
        // AMD's FXRSTOR leaves the last x87 instruction's addresses alone: they must not be another
        // VM's.
        // SAFETY: nothing is in the x87 registers that the next FXRSTOR does not replace.
        unsafe { asm!("fninit", options(nomem, nostack, preserves_flags)) };
        self.resident = block.vmcb.address();
        let has_own_asid = self.capabilities.has_asids_for(self.vcpus);
        let mut loaded = self.loaded(block);
        let cr2 = loaded.state().cr2();
        loaded.set_cr2(cr2);
        if !has_own_asid {
            loaded.flush();
        }
        loaded
    }

    /// The vCPU that has the processor.
    ///
    /// # Panics
    /// Another has it.
    #[inline]
    pub fn loaded<'a>(&'a mut self, block: &'a mut ControlBlock) -> Loaded<'a> {
        let address = block.vmcb.address();
        assert_eq!(address, self.resident, "the state of another vCPU is in the processor");
        let ControlBlock { vmcb, extended, has_next_rip, .. } = block;
        let (host_vmcb, has_next_rip) = (self.host_vmcb.address(), *has_next_rip);
        Loaded { vmcb: Vmcb::of_mut(vmcb), extended, host_vmcb, has_next_rip, _svm: self }
    }
}

impl Loaded<'_> {
    /// The guest's registers.
    #[must_use]
    #[inline]
    pub const fn state(&self) -> &State {
        &self.vmcb.state
    }

    /// The guest's registers, to change.
    #[inline]
    pub const fn state_mut(&mut self) -> &mut State {
        &mut self.vmcb.state
    }

    /// The last exit's information.
    #[must_use]
    #[inline]
    pub fn exit(&self) -> Exit {
        let control = &self.vmcb.control;
        Exit {
            code: control.exit_code,
            info1: control.exit_info1,
            info2: control.exit_info2,
            interrupt_info: control.exit_interrupt_info,
        }
    }

    /// The next instruction's address, if exits report it.
    #[must_use]
    #[inline]
    pub fn next_rip(&self) -> Option<u64> {
        self.has_next_rip.then_some(self.vmcb.control.next_rip)
    }

    /// Exits report the next instruction's address, as on all processors with nested paging.
    #[must_use]
    pub const fn has_next_rip(&self) -> bool {
        self.has_next_rip
    }

    /// EVENTINJ.
    #[must_use]
    #[inline]
    pub fn event_injection(&self) -> u64 {
        self.vmcb.control.event_injection
    }

    /// Delivers this event at the next entry.
    #[inline]
    pub fn inject(&mut self, event: u64) {
        self.vmcb.control.event_injection = event;
    }

    /// An STI or MOV SS shadows interrupts.
    #[must_use]
    #[inline]
    pub fn is_shadowed(&self) -> bool {
        self.vmcb.control.interrupt_shadow & vmcb::SHADOW != 0
    }

    /// Ends the shadow.
    #[inline]
    pub fn end_shadow(&mut self) {
        self.vmcb.control.interrupt_shadow &= !vmcb::SHADOW;
    }

    /// Whether it is intercepted.
    #[must_use]
    #[inline]
    pub fn intercepts(&self, intercept: Intercept) -> bool {
        let control = &self.vmcb.control;
        match intercept {
            Intercept::Iret => control.intercept3 & intercept3::IRET != 0,
            Intercept::VirtualInterrupt => control.intercept3 & intercept3::VINTR != 0,
            Intercept::WriteCr8 => {
                control.intercept_control_registers & vmcb::INTERCEPT_WRITE_CR8 != 0
            }
            Intercept::ReadCr0 => {
                control.intercept_control_registers & vmcb::INTERCEPT_READ_CR0 != 0
            }
            Intercept::Breakpoint => control.intercept_exceptions & controls::BREAKPOINT != 0,
            Intercept::SoftwareInterrupt => control.intercept3 & intercept3::INTN != 0,
            Intercept::DebugRegisters => control.intercept_debug_registers != 0,
        }
    }

    /// Intercepts it, or no longer.
    #[inline]
    pub fn intercept(&mut self, intercept: Intercept, is_wanted: bool) {
        let control = &mut self.vmcb.control;
        let (word, bit) = match intercept {
            Intercept::Iret => (&mut control.intercept3, intercept3::IRET),
            Intercept::VirtualInterrupt => (&mut control.intercept3, intercept3::VINTR),
            Intercept::WriteCr8 => {
                (&mut control.intercept_control_registers, vmcb::INTERCEPT_WRITE_CR8)
            }
            Intercept::ReadCr0 => {
                (&mut control.intercept_control_registers, vmcb::INTERCEPT_READ_CR0)
            }
            Intercept::Breakpoint => (&mut control.intercept_exceptions, controls::BREAKPOINT),
            Intercept::SoftwareInterrupt => (&mut control.intercept3, intercept3::INTN),
            Intercept::DebugRegisters => (&mut control.intercept_debug_registers, u32::MAX),
        };
        *word = if is_wanted { *word | bit } else { *word & !bit };
    }

    /// A virtual interrupt with this vector outranks everything at the next entry; none if None.
    #[inline]
    pub fn request_virtual_interrupt(&mut self, vector: Option<u8>) {
        let control = &mut self.vmcb.control;
        let kept =
            control.virtual_interrupt & (virtual_interrupt::TPR | virtual_interrupt::MASKING);
        let request = vector.map_or(0, |vector| {
            virtual_interrupt::REQUEST | u64::from(vector) << virtual_interrupt::VECTOR_SHIFT
        });
        control.virtual_interrupt = kept | request;
    }

    /// A virtual interrupt is pending.
    #[must_use]
    #[inline]
    pub fn has_virtual_interrupt(&self) -> bool {
        self.vmcb.control.virtual_interrupt & virtual_interrupt::IRQ != 0
    }

    /// Task priority, CR8\[3:0\].
    #[must_use]
    #[inline]
    pub fn cr8(&self) -> u8 {
        (self.vmcb.control.virtual_interrupt & virtual_interrupt::TPR) as u8
    }

    /// Sets the task priority.
    #[inline]
    pub fn set_cr8(&mut self, cr8: u8) {
        let control = &mut self.vmcb.control;
        let others = control.virtual_interrupt & !virtual_interrupt::TPR;
        control.virtual_interrupt = others | (u64::from(cr8) & virtual_interrupt::TPR);
    }

    /// What is added to the host's TSC to give the guest's.
    pub fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb.control.tsc_offset = offset;
    }

    /// The same, as it is set.
    #[must_use]
    pub fn tsc_offset(&self) -> u64 {
        self.vmcb.control.tsc_offset
    }

    /// CR0 as the guest sees it.
    #[must_use]
    #[inline]
    pub const fn cr0(&self) -> u64 {
        self.vmcb.cr0()
    }

    /// Sets it.
    pub const fn set_cr0(&mut self, seen: u64) {
        self.vmcb.set_cr0(seen);
    }

    /// CR4 as the guest sees it.
    #[must_use]
    #[inline]
    pub const fn cr4(&self) -> u64 {
        self.vmcb.cr4()
    }

    /// Sets it.
    pub const fn set_cr4(&mut self, seen: u64) {
        self.vmcb.set_cr4(seen);
    }

    /// Drops the cached translations, as a change of paging does.
    pub fn flush(&mut self) {
        self.vmcb.control.tlb_control = vmcb::FLUSH_TLB;
    }

    /// Sets CR2. VMRUN loads it, except in Bochs, which keeps the old value.
    pub fn set_cr2(&mut self, value: u64) {
        self.state_mut().set_cr2(value);
        // SAFETY: the hypervisor's own page faults end it; nothing else reads the register.
        unsafe { cpu::set_cr2(value) };
    }

    /// The vCPU's state outside the control block.
    #[must_use]
    pub const fn extended(&self) -> &ExtendedState {
        self.extended
    }

    /// The same, to change.
    pub const fn extended_mut(&mut self) -> &mut ExtendedState {
        self.extended
    }

    /// Virtual interrupt and shadow; ASID and nested CR3: for a dump.
    #[must_use]
    pub fn dumped(&self) -> [u64; 4] {
        let control = &self.vmcb.control;
        [
            control.virtual_interrupt,
            control.interrupt_shadow,
            control.asid.into(),
            control.nested_cr3,
        ]
    }

    /// Runs the guest until something happens, at the latest at the host TSC value `deadline`.
    #[inline]
    pub fn enter(&mut self, general: &mut General, deadline: u64) -> Run {
        if cpu::tsc() >= deadline {
            return Run::Late;
        }
        interrupts::arm_timer(deadline);
        if self.vmcb.state.rflags & rflags::IF == 0 && nmi_timer::lacks(deadline) {
            nmi_timer::arm(deadline);
        }
        self.vmcb.state.rax = general[general::RAX];
        self.arm_in_qemu(self.vmcb.state.dr7);
        // A frame's address is its physical one.
        let vmcb = &raw mut *self.vmcb as u64;
        // SAFETY: SVM is enabled, and the block's VMCB, whose intercepts, maps and nested tables
        // keep the guest to its RAM and registers; interrupts are off wherever vCPUs run.
        unsafe { entry::enter(general, vmcb, self.host_vmcb, &raw mut self.extended.fx) };
        general[general::RAX] = self.vmcb.state.rax;
        self.vmcb.control.tlb_control = 0;
        self.arm_in_qemu(reset::DR7);
        Run::Exit
    }

    /// QEMU's VMRUN and exits switch DR7, but not what it watches, which a MOV to it alone changes:
    /// done here while the guest's DR7 enables any. General detection would trap the next such MOV.
    #[inline]
    fn arm_in_qemu(&mut self, dr7: u64) {
        const ENABLED: u64 = 0xff;
        const GENERAL_DETECT: u64 = 1 << 13;
        if !self.has_next_rip && self.vmcb.state.dr7 & ENABLED != 0 {
            // SAFETY: changes no memory. Where a guest watches what the host reaches between here
            // and VMRUN, the host's #DB is reported and ends the run, in QEMU alone; before, the
            // guest's breakpoints were on all the time that the host ran.
            unsafe { cpu::set_dr7(dr7 & !GENERAL_DETECT) };
        }
    }
}

/// The registers that the VMCB holds.
fn set_registers(state: &mut State, boot: &CpuState) {
    const SS_DPL: u32 = 5;
    for (index, segment) in boot.segments.iter().enumerate() {
        *state.segment_mut(index) = (*segment).into();
    }
    let table = |from: &TableRegister| vmcb::VmcbSegment {
        base: from.base,
        limit: from.limit.into(),
        ..vmcb::VmcbSegment::default()
    };
    state.gdtr = table(&boot.gdtr);
    state.idtr = table(&boot.idtr);
    state.cpl = (boot.segments[segment::SS].access >> SS_DPL & 3) as u8;
    state.efer = boot.efer | efer::SVME;
    state.set_cr2(boot.cr2);
    state.cr3 = boot.cr3;
    state.dr6 = reset::DR6;
    state.dr7 = reset::DR7;
    state.rflags = boot.rflags;
    state.rip = boot.rip;
    state.rsp = boot.general[general::RSP];
    state.rax = boot.general[general::RAX];
    state.pat = reset::PAT;
}
