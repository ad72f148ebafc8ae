//! A vCPU under VMX: its VMCS, its tables, and what of its exits is VMX's own business.
//!
//! All registers are in the VMCS, which must be the current one for everything but `load`.

use super::control_registers::{self, Split};
use super::controls::{self, Controls, IA32E_GUEST, INTERRUPT_WINDOW, NMI_WINDOW, VPID};
use super::entry::vmx_enter;
use super::exits::{self, Decision};
use super::handling::{HAS_ERROR, Pending, TYPE_EXCEPTION, TYPE_NMI, VALID};
use super::vmcs::{self, Field, read, read_nth};
use super::{Error, Vmx, ept, host, setup};
use crate::cpu;
use crate::cpu::register::{RFLAGS_IF, RFLAGS_RF, RFLAGS_TF};
use crate::cpu::vector::{DB, MC};
use crate::frames::{Frame, Frames};
use crate::hardware::{ACCESS_LONG, Event, General, Hardware, Inject, Register};
use crate::ram::GuestRam;
use crate::second_level::{Format, Tables};
use crate::state::FxArea;
use vmm_common::cpuid::Permitted;
use vmm_common::registers::{CpuState, Segment, TableRegister, segment};
use vmm_common::seam::Fault;

/// IA32_STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE: neither entries nor exits switch them.
const SWITCHED_MSRS: [u32; 5] = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0102];
/// The word of the virtual-APIC page with the task-priority register, at byte 0x80.
const VIRTUAL_TPR: usize = 0x80 / 8;
/// BS in the pending debug exceptions.
pub(super) const SINGLE_STEP: u64 = 1 << 14;
/// Interruptibility: by STI, by MOV SS, by NMI.
pub(super) const BLOCKED_BY_STI_OR_MOV_SS: u64 = 0b11;
pub(super) const BLOCKED_BY_NMI: u64 = 1 << 3;
/// Machine checks are the host's. Debug and alignment exceptions whose delivery raises them again
/// would hold the processor for ever.
const EXCEPTIONS: u64 = 1 << DB | 1 << 17 | 1 << MC;

/// A vCPU.
#[derive(Debug)]
pub struct VmxVcpu {
    vmcs: Frame,
    _tables: Tables,
    _bitmaps: Frame,
    pub(super) ram: GuestRam,
    pub(super) split: Split,
    pub(super) controls: Controls,
    primary: u32,
    fx_area: FxArea,
    switched_msrs: [u64; 5],
    cr2: u64,
    /// Its task-priority register is what the guest reads and writes as CR8 (SDM vol. 3, 30.3).
    virtual_apic: Frame,
    tpr_threshold: u8,
    is_launched: bool,
    pub(super) pending: Option<Pending>,
    /// As the VMCS has them, which takes an instruction more to read.
    pub(super) rflags: u64,
    pub(super) interruptibility: u64,
    has_nmi: bool,
    failure: u32,
    timer_shift: u32,
    has_string_information: bool,
    handle_interrupt: fn(u8),
}

impl VmxVcpu {
    /// A vCPU with `boot`'s registers and `ram`, not yet loaded, whose guest may set what is
    /// `permitted`. `vpid` must not be 0 and no other vCPU's. No other vCPU may be loaded
    /// meanwhile.
    ///
    /// # Errors
    /// No memory for its structures, or the processor refused one.
    pub fn new(
        vmx: &Vmx,
        frames: &mut Frames,
        ram: GuestRam,
        boot: &CpuState,
        permitted: Permitted,
        vpid: u16,
    ) -> Result<Self, Error> {
        let capabilities = &vmx.capabilities;
        let (has_2m, has_1g) = (capabilities.has_2m_pages(), capabilities.has_1g_pages());
        let format = Format { has_2m, has_1g, ..ept::FORMAT };
        let tables = Tables::new(frames, &ram, format)?;
        let ept_pointer = ept::pointer(tables.root());
        let mut bitmaps = frames.take_row(3)?;
        let (io, msr) = bitmaps.words_mut().split_at_mut(controls::IO_BITMAP_WORDS);
        controls::fill_io_bitmaps(io);
        controls::fill_msr_bitmap(msr);
        let mut vmcs = frames.take()?;
        vmcs.words_mut()[0] = capabilities.revision().into();
        let controls = Controls::new(capabilities)?;
        let split = Split::new(capabilities, permitted.cr4);
        let virtual_apic = frames.take()?;
        // SAFETY: the region is the processor's from here on, as the vCPU keeps it.
        unsafe { vmcs::vmclear(vmcs.address()) }?;
        // SAFETY: as above.
        unsafe { vmcs::vmptrld(vmcs.address()) }?;
        let places = setup::Places {
            bitmaps: bitmaps.address(),
            ept_pointer,
            virtual_apic: virtual_apic.address(),
            vpid,
            exceptions: EXCEPTIONS,
        };
        setup::write_controls(&controls, &split, &places);
        setup::write_guest(boot, &split, &controls);
        host::write_host_state();
        vmcs::invept(ept_pointer)?;
        if controls.secondary & VPID != 0 {
            vmcs::invvpid(vpid.into())?;
        }
        Ok(Self {
            vmcs,
            _tables: tables,
            _bitmaps: bitmaps,
            ram,
            split,
            controls,
            primary: controls.primary,
            fx_area: FxArea::INITIAL,
            switched_msrs: [0; 5],
            cr2: boot.cr2,
            virtual_apic,
            tpr_threshold: 0,
            is_launched: false,
            pending: None,
            rflags: boot.rflags | setup::RFLAGS_ALWAYS,
            interruptibility: 0,
            has_nmi: false,
            failure: 0,
            timer_shift: capabilities.timer_shift(),
            has_string_information: capabilities.has_string_information(),
            handle_interrupt: vmx.handle_interrupt,
        })
    }

    /// Writes what the next entry alone needs.
    fn prepare(&mut self, timer: u32) {
        let blocked = BLOCKED_BY_STI_OR_MOV_SS | BLOCKED_BY_NMI;
        if self.has_nmi && self.pending.is_none() && self.interruptibility & blocked == 0 {
            self.has_nmi = false;
            self.pending = Some(Pending::new(VALID | TYPE_NMI | 2, 0));
        }
        self.set_primary(NMI_WINDOW, self.has_nmi);
        if let Some(pending) = self.pending.take() {
            put(Field::EntryInterruption, pending.information.into());
            put(Field::EntryErrorCode, pending.error.into());
            put(Field::EntryInstructionLength, pending.instruction_length.into());
        }
        put(Field::TimerValue, timer.into());
        // SAFETY: the hypervisor takes no page faults that it goes on after.
        unsafe { cpu::set_cr2(self.cr2) };
    }

    /// Ends this blocking of events.
    pub(super) fn unblock(&mut self, blocking: u64) {
        if self.interruptibility & blocking != 0 {
            self.interruptibility &= !blocking;
            put(Field::GuestInterruptibility, self.interruptibility);
        }
    }

    fn set_primary(&mut self, control: u32, is_on: bool) {
        let primary = if is_on { self.primary | control } else { self.primary & !control };
        if primary != self.primary {
            self.primary = primary;
            put(Field::PrimaryControls, primary.into());
        }
    }
}

/// Writes a field of the guest's.
pub(super) fn put(field: Field, value: u64) {
    // SAFETY: this file writes fields of the guest, and controls that only add exits or events.
    unsafe { vmcs::write(field, value) };
}

/// The same of the field `index` steps of 2 behind `first`.
fn put_nth(first: Field, index: usize, value: u64) {
    // SAFETY: as for `put`.
    unsafe { vmcs::write_nth(first, index, value) };
}

/// What the preemption timer is set to for so many ticks of the TSC.
fn timer_value(ticks: u64, shift: u32) -> u32 {
    u32::try_from((ticks >> shift) + 1).unwrap_or(u32::MAX)
}

impl Hardware for VmxVcpu {
    fn load(&mut self) {
        // SAFETY: the region has been the processor's since `new`.
        let loaded = unsafe { vmcs::vmptrld(self.vmcs.address()) };
        loaded.expect("`new` has loaded it once");
        for (index, value) in SWITCHED_MSRS.into_iter().zip(self.switched_msrs) {
            // SAFETY: SYSCALL's and SWAPGS's registers, which the hypervisor does not use; the
            // value was read from there.
            unsafe { cpu::write_msr(index, value) };
        }
    }

    fn unload(&mut self) {
        self.switched_msrs = SWITCHED_MSRS.map(cpu::read_msr);
    }

    fn run(&mut self, general: &mut General, deadline: u64) -> Event {
        let now = cpu::tsc();
        if now >= deadline {
            return Event::Deadline;
        }
        self.prepare(timer_value(deadline - now, self.timer_shift));
        // SAFETY: the VMCS holds the host's state as it is and confines the guest to its own; the
        // areas are as large as the switch expects, and the vCPU's own.
        let failed =
            unsafe { vmx_enter(general, &raw mut self.fx_area, u64::from(self.is_launched)) };
        self.cr2 = cpu::cr2();
        if failed != 0 {
            self.failure = read(Field::InstructionError) as u32;
            return Event::Fault(Fault::EntryFailed { reason: self.failure.into() });
        }
        let decision = exits::decode(read, self.has_string_information);
        if !matches!(decision, Decision::Event(Event::Fault(Fault::EntryFailed { .. }))) {
            self.is_launched = true;
            self.rflags = read(Field::GuestRflags);
            self.interruptibility = read(Field::GuestInterruptibility);
            self.keep_cut_event();
        }
        match decision {
            Decision::Event(Event::TaskSwitch(switch)) => self.task_switch(switch),
            Decision::Event(event) => event,
            Decision::ExternalInterrupt => {
                (self.handle_interrupt)(read(Field::ExitInterruption) as u8);
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

    fn get(&self, register: Register) -> u64 {
        match register {
            Register::Rip => read(Field::GuestRip),
            Register::Rsp => read(Field::GuestRsp),
            Register::Rflags => self.rflags,
            Register::Cr0 => {
                let (real, shadow) = (read(Field::GuestCr0), read(Field::Cr0Shadow));
                control_registers::seen(real, shadow, self.split.cr0_mask)
            }
            Register::Cr2 => self.cr2,
            Register::Cr3 => read(Field::GuestCr3),
            Register::Cr4 => control_registers::seen(read(Field::GuestCr4), 0, self.split.cr4_mask),
            Register::Efer => read(Field::GuestEfer),
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        match register {
            Register::Rip => put(Field::GuestRip, value),
            Register::Rsp => put(Field::GuestRsp, value),
            Register::Rflags => {
                self.rflags = value;
                put(Field::GuestRflags, value);
            }
            Register::Cr0 => {
                put(Field::GuestCr0, self.split.real_cr0(value));
                put(Field::Cr0Shadow, value);
            }
            Register::Cr2 => self.cr2 = value,
            Register::Cr3 => put(Field::GuestCr3, value),
            Register::Cr4 => put(Field::GuestCr4, self.split.real_cr4(value)),
            Register::Efer => {
                let is_long = value & cpu::efer::LMA != 0;
                let entry = self.controls.entry | if is_long { IA32E_GUEST } else { 0 };
                put(Field::GuestEfer, value);
                put(Field::EntryControls, entry.into());
            }
        }
    }

    fn segment(&self, index: usize) -> Segment {
        Segment {
            selector: read_nth(Field::GuestEs, index) as u16,
            base: read_nth(Field::GuestEsBase, index),
            limit: read_nth(Field::GuestEsLimit, index) as u32,
            access: read_nth(Field::GuestEsAccess, index) as u32,
        }
    }

    fn set_segment(&mut self, index: usize, segment: Segment) {
        let Segment { selector, base, limit, access } = segment;
        put_nth(Field::GuestEs, index, selector.into());
        put_nth(Field::GuestEsBase, index, base);
        put_nth(Field::GuestEsLimit, index, limit.into());
        put_nth(Field::GuestEsAccess, index, access.into());
    }

    fn load_cr3(&mut self, cr3: u64, pdptes: Option<[u64; 4]>) {
        put(Field::GuestCr3, cr3);
        for (index, entry) in pdptes.into_iter().flatten().enumerate() {
            put_nth(Field::GuestPdpte0, index, entry);
        }
        if self.controls.secondary & VPID != 0 {
            vmcs::invvpid(read(Field::Vpid)).expect("it was possible when the vCPU was made");
        }
    }

    fn begin_task(&mut self) {
        const LOCAL_ENABLE: u64 = 0x55;
        let cr0 = self.get(Register::Cr0);
        self.set(Register::Cr0, cr0 | crate::control_registers::CR0_TS);
        put(Field::GuestDr7, read(Field::GuestDr7) & !LOCAL_ENABLE);
    }

    fn tables(&self) -> (TableRegister, TableRegister) {
        let table = |base, limit| TableRegister { base: read(base), limit: read(limit) as u16 };
        (
            table(Field::GuestGdtrBase, Field::GuestGdtrLimit),
            table(Field::GuestIdtrBase, Field::GuestIdtrLimit),
        )
    }

    fn inject(&mut self, inject: Inject) {
        let (information, error) = match inject {
            Inject::Interrupt(vector) => (u32::from(vector), 0),
            Inject::Nmi => {
                self.has_nmi = true;
                return;
            }
            Inject::Exception { vector, error } => {
                if vector != DB {
                    self.set(Register::Rflags, self.rflags | RFLAGS_RF);
                }
                // Real mode pushes none.
                let is_protected = read(Field::GuestCr0) & crate::control_registers::CR0_PE != 0;
                let error = error.filter(|_| is_protected);
                let has_error = if error.is_some() { HAS_ERROR } else { 0 };
                (TYPE_EXCEPTION | has_error | u32::from(vector), error.unwrap_or(0))
            }
        };
        self.pending = Some(Pending::new(VALID | information, error));
    }

    fn want_window(&mut self, is_wanted: bool) {
        self.set_primary(INTERRUPT_WINDOW, is_wanted);
    }

    fn has_pending_exception(&self) -> bool {
        self.pending.is_some() || read(Field::GuestPendingDebug) != 0
    }

    fn is_interruptible(&self) -> bool {
        self.pending.is_none()
            && self.rflags & RFLAGS_IF != 0
            && self.interruptibility & BLOCKED_BY_STI_OR_MOV_SS == 0
    }

    fn next_rip(&self) -> u64 {
        read(Field::GuestRip).wrapping_add(read(Field::InstructionLength))
    }

    fn code_access(&self) -> u32 {
        read_nth(Field::GuestEsAccess, segment::CS) as u32
    }

    fn cpl(&self) -> u8 {
        (read_nth(Field::GuestEsAccess, segment::SS) >> 5 & 3) as u8
    }

    fn pdptes(&self) -> Option<[u64; 4]> {
        let fields =
            [Field::GuestPdpte0, Field::GuestPdpte1, Field::GuestPdpte2, Field::GuestPdpte3];
        Some(fields.map(read))
    }

    fn fx_area(&self) -> &FxArea {
        &self.fx_area
    }

    fn fx_area_mut(&mut self) -> &mut FxArea {
        &mut self.fx_area
    }

    fn advance_to(&mut self, rip: u64) {
        let is_64 = self.code_access() & ACCESS_LONG != 0;
        put(Field::GuestRip, if is_64 { rip } else { rip & 0xffff_ffff });
        self.unblock(BLOCKED_BY_STI_OR_MOV_SS);
        if self.rflags & RFLAGS_RF != 0 {
            self.set(Register::Rflags, self.rflags & !RFLAGS_RF);
        }
        if self.rflags & RFLAGS_TF != 0 {
            put(Field::GuestPendingDebug, read(Field::GuestPendingDebug) | SINGLE_STEP);
        }
    }

    fn cr8(&self) -> u8 {
        (self.virtual_apic.words()[VIRTUAL_TPR] >> 4) as u8
    }

    fn set_cr8(&mut self, cr8: u8) {
        self.virtual_apic.words_mut()[VIRTUAL_TPR] = u64::from(cr8) << 4;
    }

    fn set_tpr_threshold(&mut self, class: u8) {
        if class != self.tpr_threshold {
            self.tpr_threshold = class;
            put(Field::TprThreshold, class.into());
        }
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        put(Field::TscOffset, offset);
    }

    fn write_dump(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let reason = read(Field::ExitReason);
        let name = exits::name(reason as u16);
        writeln!(
            to,
            "exit {reason:08x} ({name})  qualification {:016x}",
            read(Field::Qualification)
        )?;
        let linear = read(Field::GuestLinearAddress);
        let physical = read(Field::GuestPhysicalAddress);
        writeln!(to, "guest-linear {linear:016x}  guest-physical {physical:016x}")?;
        for (name, field) in [
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
        ] {
            writeln!(to, "{name} {:08x}", read(field))?;
        }
        if self.failure != 0 {
            writeln!(to, "VM-instruction error: {}", vmcs::error_name(self.failure))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_never_runs_out_much_early_and_never_overflows() {
        assert_eq!(timer_value(1, 0), 2);
        assert_eq!(timer_value(63, 5), 2);
        assert_eq!(timer_value(1 << 40, 5), u32::MAX);
    }
}
