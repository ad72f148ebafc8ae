//! A vCPU's VMCS and what it refers to, made from a grant; and the one that is current.

use super::control_registers::{Split, seen};
use super::controls::{Controls, IA32E_GUEST, INTERRUPT_WINDOW, MOV_DR, NMI_WINDOW, VPID};
use super::entry::vmx_enter;
use super::field::Field;
use super::initial::{self, Places};
use super::instructions::{self, read, read_nth, write, write_nth};
use super::{Error, Vmx, bitmaps, ept, host_state, preemption_timer};
use crate::architecture::{cr4, efer, msr};
use crate::extended_state::{ExtendedState, differ};
use crate::frames::{Frame, Frames};
use crate::guest_ram::GuestRam;
use crate::second_level::{Format, Tables};
use crate::siblings::Siblings;
use crate::{General, cpu, interrupts};
use vmm_common::grant::{Grant, Vendor};
use vmm_common::registers::CpuState;

/// MSRs that neither entries nor exits switch.
const SWITCHED_MSRS: [u32; 5] =
    [msr::IA32_STAR, msr::IA32_LSTAR, msr::IA32_CSTAR, msr::IA32_FMASK, msr::IA32_KERNEL_GSBASE];
/// Of an exit reason: the processor refused the guest's state, and has not entered it.
pub const ENTRY_FAILED: u64 = 1 << 31;
/// The word of the virtual-APIC page with the task-priority register, at byte 0x80.
const VIRTUAL_TPR: usize = 0x80 / 8;

/// A vCPU's VMCS, its tables and bitmaps.
#[derive(Debug)]
pub struct ControlBlock {
    pub(super) vmcs: Frame,
    pub(super) tables: Tables,
    pub(super) bitmaps: Frame,
    split: Split,
    controls: Controls,
    /// As the VMCS has it.
    primary: u32,
    tpr_threshold: u8,
    switched_msrs: [u64; 5],
    cr2: u64,
    /// The guest sees CR4.MCE set.
    sees_mce: bool,
    /// Its task-priority register is what the guest reads and writes as CR8 (SDM vol. 3, 30.3).
    virtual_apic: Frame,
    is_launched: bool,
    timer_shift: u32,
    has_string_information: bool,
    extended: ExtendedState,
}

/// The current VMCS. It borrows the processor, so that no other can be current meanwhile.
///
/// ```compile_fail,E0499
/// # use metal::vmx::{ControlBlock, Vmx};
/// fn two_at_once(processor: &mut Vmx, one: &mut ControlBlock, other: &mut ControlBlock) {
///     let one = processor.loaded(one);
///     let other = processor.loaded(other);
///     let _ = (one.cr8(), other.cr8());
/// }
/// ```
#[derive(Debug)]
pub struct Loaded<'a> {
    block: &'a mut ControlBlock,
    _vmx: &'a mut Vmx,
}

/// How an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The guest ran and exited, or the processor refused its state, for this exit reason.
    Exit(u64),
    /// The deadline had passed before it could be entered.
    Late,
    /// The entry's instruction failed, with this VM-instruction error.
    Failed(u32),
}

/// An event whose window causes a VM exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A maskable interrupt.
    Interrupt,
    /// A non-maskable interrupt.
    Nmi,
    /// MOV to or from a debug register.
    DebugRegisters,
}

impl ControlBlock {
    /// That of a vCPU with `boot`'s registers, whose guest has `ram` and what is granted besides.
    /// One with siblings leaves it when it has executed PAUSE in a loop for long.
    ///
    /// # Errors
    /// No memory for its structures, or the processor refused one.
    ///
    /// # Panics
    /// The grant is of other RAM, or for another vendor's processor.
    pub fn new(
        vmx: &mut Vmx,
        frames: &mut Frames,
        ram: &GuestRam,
        boot: &CpuState,
        grant: &Grant,
        siblings: Siblings<'_, Self>,
    ) -> Result<Self, Error> {
        assert_eq!(grant.vendor(), Vendor::Vmx);
        assert_eq!(grant.reach().ram, ram.granted());
        let capabilities = vmx.capabilities;
        let (has_2m, has_1g) = (capabilities.has_2m_pages(), capabilities.has_1g_pages());
        let has_siblings = !siblings.is_alone();
        let tables = siblings.map(|sibling| &sibling.tables);
        let format = Format { has_2m, has_1g, ..ept::FORMAT };
        let tables = Tables::of_guest(tables, frames, ram, format)?;
        let mut maps = frames.take_row(3)?;
        bitmaps::fill(maps.words_mut(), grant.reach());
        let mut vmcs = frames.take()?;
        vmcs.words_mut()[0] = capabilities.revision().into();
        let controls = Controls::new(&capabilities, has_siblings)?;
        let split = Split::new(&capabilities, grant.reach());
        let virtual_apic = frames.take()?;
        let places = Places {
            bitmaps: maps.address(),
            ept_pointer: ept::pointer(tables.root()),
            virtual_apic: virtual_apic.address(),
            vpid: vmx.vpids + 1,
        };
        vmx.vpids = places.vpid;
        // SAFETY: the region is the processor's from here on, as the block keeps it.
        unsafe { instructions::vmclear(vmcs.address()) }?;
        // SAFETY: as above.
        unsafe { instructions::vmptrld(vmcs.address()) }?;
        vmx.current = vmcs.address();
        for (field, value) in initial::controls(&controls, &split, &places) {
            // SAFETY: the controls deny everything but what is granted.
            unsafe { write(field, value) };
        }
        for (field, value) in initial::optional_controls(&controls, &places) {
            // SAFETY: as above; where the controls are set that they need, the fields exist.
            unsafe { write(field, value) };
        }
        host_state::write_host_state();
        instructions::invept(places.ept_pointer)?;
        if controls.secondary & VPID != 0 {
            instructions::invvpid(places.vpid.into())?;
        }
        let extended = ExtendedState::new(vmx.extensions, grant, frames)?;
        let mut block = Self {
            vmcs,
            tables,
            bitmaps: maps,
            split,
            controls,
            primary: controls.primary,
            tpr_threshold: 0,
            switched_msrs: [0; 5],
            cr2: boot.cr2,
            sees_mce: false,
            virtual_apic,
            is_launched: false,
            timer_shift: capabilities.timer_shift(),
            has_string_information: capabilities.has_string_information(),
            extended,
        };
        Loaded { block: &mut block, _vmx: vmx }.set_initial(boot);
        Ok(block)
    }
}

/// Sets [`SWITCHED_MSRS`] of the guest that has the processor: what was read there, or 0.
fn set_switched_msrs(values: [u64; 5]) {
    for (index, value) in SWITCHED_MSRS.into_iter().zip(values) {
        // SAFETY: SYSCALL's and SWAPGS's registers, which the hypervisor does not use; they hold
        // such values.
        unsafe { cpu::write_msr(index, value) };
    }
}

impl Vmx {
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
        let had_it = before.as_ref().map_or(0, |before| before.vmcs.address());
        assert_eq!(had_it, self.resident, "no state may be left behind");
        block.extended.switched.load(before.as_mut().map(|before| &mut before.extended.switched));
        let before = before.map(|before| {
            for (index, value) in SWITCHED_MSRS.into_iter().zip(&mut before.switched_msrs) {
                *value = cpu::read_msr(index);
            }
            &before.switched_msrs
        });
        if before.is_none_or(|before| differ(before, &block.switched_msrs)) {
            set_switched_msrs(block.switched_msrs);
        }
        self.resident = block.vmcs.address();
        self.loaded(block)
    }

    /// The vCPU that has the processor.
    ///
    /// # Panics
    /// Another has it.
    #[inline]
    pub fn loaded<'a>(&'a mut self, block: &'a mut ControlBlock) -> Loaded<'a> {
        let address = block.vmcs.address();
        assert_eq!(address, self.resident, "the state of another vCPU is in the processor");
        self.make_current(address);
        Loaded { block, _vmx: self }
    }

    /// Makes a block's VMCS the one that is read and written.
    #[inline]
    pub(super) fn make_current(&mut self, address: u64) {
        if self.current != address {
            // SAFETY: the region has been the processor's since the block was made.
            let loaded = unsafe { instructions::vmptrld(address) };
            loaded.expect("it was possible when the block was made");
            self.current = address;
        }
    }
}

impl Loaded<'_> {
    /// Reads a field.
    #[must_use]
    #[inline]
    pub fn read(&self, field: Field) -> u64 {
        read(field)
    }

    /// Reads the field `index` steps of 2 after `first`, as the segment registers' fields lie.
    #[must_use]
    #[inline]
    pub fn read_nth(&self, first: Field, index: usize) -> u64 {
        read_nth(first, index)
    }

    /// Writes a field of the guest-state area.
    ///
    /// # Panics
    /// It is another one.
    #[inline]
    pub fn write(&mut self, field: Field, value: u64) {
        assert!(field.is_guest_state());
        // SAFETY: the guest's registers are its own; what it reaches, the controls decide.
        unsafe { write(field, value) };
    }

    /// [`Loaded::write`] to the field of segment register `index`, in whose row `first` is.
    ///
    /// # Panics
    /// It is not of the guest-state area, or there is no such register.
    pub fn write_segment(&mut self, first: Field, index: usize, value: u64) {
        assert!(first.is_guest_state() && index < 8);
        // SAFETY: as for `write`.
        unsafe { write_nth(first, index, value) };
    }

    /// Delivers this event at the next entry.
    pub fn inject(&mut self, information: u32, error: u32, instruction_length: u32) {
        for (field, value) in [
            (Field::EntryInterruption, information),
            (Field::EntryErrorCode, error),
            (Field::EntryInstructionLength, instruction_length),
        ] {
            // SAFETY: the event goes through the guest's IDT.
            unsafe { write(field, value.into()) };
        }
    }

    /// Causes a VM exit as soon as the guest can take such an event.
    #[inline]
    pub fn want_window(&mut self, window: Window, is_wanted: bool) {
        let control = match window {
            Window::Interrupt => INTERRUPT_WINDOW,
            Window::Nmi => NMI_WINDOW,
            Window::DebugRegisters => MOV_DR,
        };
        let block = &mut *self.block;
        let primary = if is_wanted { block.primary | control } else { block.primary & !control };
        if primary != block.primary {
            block.primary = primary;
            // SAFETY: the controls of the start, and such as add exits.
            unsafe { write(Field::PrimaryControls, primary.into()) };
        }
    }

    /// What is added to the host's TSC to give the guest's.
    pub fn set_tsc_offset(&mut self, offset: u64) {
        // SAFETY: it changes what the guest's RDTSC reads, and nothing else.
        unsafe { write(Field::TscOffset, offset) };
    }

    /// Task priority, CR8\[3:0\].
    #[must_use]
    #[inline]
    pub fn cr8(&self) -> u8 {
        (self.block.virtual_apic.words()[VIRTUAL_TPR] >> 4) as u8
    }

    /// Sets the task priority.
    #[inline]
    pub fn set_cr8(&mut self, cr8: u8) {
        self.block.virtual_apic.words_mut()[VIRTUAL_TPR] = u64::from(cr8) << 4;
    }

    /// Causes a VM exit when the guest lowers CR8 below this.
    #[inline]
    pub fn set_tpr_threshold(&mut self, class: u8) {
        if class != self.block.tpr_threshold {
            self.block.tpr_threshold = class;
            // SAFETY: it adds exits.
            unsafe { write(Field::TprThreshold, u64::from(class & 0xf)) };
        }
    }

    /// CR0 as the guest sees it.
    #[must_use]
    pub fn cr0(&self) -> u64 {
        seen(read(Field::GuestCr0), read(Field::Cr0Shadow), self.block.split.cr0_mask)
    }

    /// Sets it.
    pub fn set_cr0(&mut self, value: u64) {
        self.write(Field::GuestCr0, self.block.split.real_cr0(value));
        // SAFETY: it changes what the guest reads, and nothing else.
        unsafe { write(Field::Cr0Shadow, value) };
    }

    /// CR4 as the guest sees it.
    #[must_use]
    pub fn cr4(&self) -> u64 {
        let shadow = if self.block.sees_mce { cr4::MCE } else { 0 };
        seen(read(Field::GuestCr4), shadow, self.block.split.cr4_mask)
    }

    /// Sets it.
    pub fn set_cr4(&mut self, value: u64) {
        self.write(Field::GuestCr4, self.block.split.real_cr4(value));
        self.block.sees_mce = value & cr4::MCE != 0;
        // SAFETY: as for CR0.
        unsafe { write(Field::Cr4Shadow, value & cr4::MCE) };
    }

    /// Sets EFER, which the mode of the next entry follows.
    pub fn set_efer(&mut self, value: u64) {
        let is_long = value & efer::LMA != 0;
        let entry = self.block.controls.entry | if is_long { IA32E_GUEST } else { 0 };
        self.write(Field::GuestEfer, value);
        // SAFETY: the controls of the start, with the mode that EFER says.
        unsafe { write(Field::EntryControls, entry.into()) };
    }

    /// The registers of SYSCALL and SWAPGS are as after reset.
    pub fn reset_switched_msrs(&mut self) {
        set_switched_msrs([0; 5]);
    }

    /// CR2, which no VMCS holds.
    #[must_use]
    pub const fn cr2(&self) -> u64 {
        self.block.cr2
    }

    /// Sets it.
    pub const fn set_cr2(&mut self, value: u64) {
        self.block.cr2 = value;
    }

    /// DR6 has these causes of a debug exception, bits of an exit's qualification.
    pub fn set_debug_causes(&mut self, causes: u64) {
        // SAFETY: the guest's own, which the processor has while its vCPU is loaded.
        unsafe { cpu::set_dr6((cpu::dr6() & !0xf) | (causes & 0x600f)) };
    }

    /// The vCPU's state outside the control block.
    #[must_use]
    pub const fn extended(&self) -> &ExtendedState {
        &self.block.extended
    }

    /// The same, to change.
    pub const fn extended_mut(&mut self) -> &mut ExtendedState {
        &mut self.block.extended
    }

    /// Exits of INS and OUTS report segment and address size.
    #[must_use]
    pub const fn has_string_information(&self) -> bool {
        self.block.has_string_information
    }

    /// Drops the cached translations, as a change of paging does.
    pub fn drop_translations(&mut self) {
        if self.block.controls.secondary & VPID != 0 {
            let dropped = instructions::invvpid(read(Field::Vpid));
            dropped.expect("it was possible when the block was made");
        }
    }

    /// Calls the host's handler for the interrupt, already acknowledged, that caused the last exit.
    pub fn take_interrupt(&mut self) {
        interrupts::handle(read(Field::ExitInterruption) as u8);
    }

    /// Runs the guest until something happens, at the latest at the host TSC value `deadline`.
    #[inline]
    pub fn enter(&mut self, general: &mut General, deadline: u64) -> Run {
        let now = cpu::tsc();
        if now >= deadline {
            return Run::Late;
        }
        let block = &mut *self.block;
        let timer = preemption_timer::value(deadline - now, block.timer_shift);
        // SAFETY: it ends the guest's run.
        unsafe { write(Field::TimerValue, timer.into()) };
        // SAFETY: every page fault of the hypervisor's ends it.
        unsafe { cpu::set_cr2(block.cr2) };
        // SAFETY: the VMCS holds the host's state as it is and confines the guest to its own; the
        // areas are as large as the switch expects, and borrowed.
        let failed =
            unsafe { vmx_enter(general, &raw mut block.extended.fx, block.is_launched.into()) };
        block.cr2 = cpu::cr2();
        if failed != 0 {
            return Run::Failed(read(Field::InstructionError) as u32);
        }
        let reason = read(Field::ExitReason);
        if !block.is_launched {
            block.is_launched = reason & ENTRY_FAILED == 0;
        }
        Run::Exit(reason)
    }

    fn set_initial(&mut self, boot: &CpuState) {
        for (field, value) in initial::registers(boot) {
            self.write(field, value);
        }
        self.set_cr0(boot.cr0);
        self.set_cr4(boot.cr4);
        self.set_efer(boot.efer);
        for (index, segment) in boot.segments.iter().enumerate() {
            self.write_segment(Field::GuestEs, index, segment.selector.into());
            self.write_segment(Field::GuestEsBase, index, segment.base);
            self.write_segment(Field::GuestEsLimit, index, segment.limit.into());
            self.write_segment(Field::GuestEsAccess, index, segment.access.into());
        }
    }
}
