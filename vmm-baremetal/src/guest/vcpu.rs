//! One vCPU on bare metal: between the shared loop's seam and a vendor's control block.
//!
//! An [`Event`] is decoded into an exit here, once for both vendors; a pending reply is
//! recorded as [`Awaiting`] and filled in at the next entry.

use super::debug::Debugged;
use super::instruction::{Carried, PagingLimits};
use super::vendor::{
    Event, Flags, Inject, Left, LoadedVcpu, PortEvent, Processor, Register, Resume, code_bits,
};
use crate::host::clock::Clock;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use devices::lapic::TscClock;
use metal::architecture::msr::IA32_TIME_STAMP_COUNTER;
use metal::architecture::vector::{DB, GP, UD};
use metal::architecture::{cr4, rflags};
use metal::guest_ram::GuestRam;
use metal::{General, cpu};
use vmm_common::Instant;
use vmm_common::cpuid::{self, CpuidEntry, CpuidResult};
use vmm_common::grant::Reach;
use vmm_common::registers::{CpuState, general};
use vmm_common::seam::{Entry, Exit, ExitReason, Injection, Reply, TscReading, VcpuBackend};
use vmm_common::x86::Writes;

/// A vCPU: the vendor's part, and what is common to both.
#[derive(Debug)]
pub struct Vcpu<V> {
    vendors: V,
    common: Common,
}

/// The vendor-independent part of a vCPU.
#[derive(Debug)]
pub(super) struct Common {
    pub general: General,
    pub ram: GuestRam,
    clock: Clock,
    pub awaiting: Awaiting,
    /// The instruction of [`Awaiting::Instruction`].
    pub carried: Carried,
    /// For devices, by the instruction before the guest's RIP.
    pub writes: Writes,
    /// The next entry, as far as it is known. Its TSC offset is the guest's.
    pub resume: Resume,
    /// [`Entry::tsc_held_ns`] as of the last entry.
    pub tsc_held_ns: u64,
    /// [`Entry::deadline`] of the last entry.
    deadline: Instant,
    /// State at the last exit; RFLAGS as changed since.
    pub left: Flags,
    cpuid: Vec<CpuidEntry>,
    /// What was last found there, for a leaf and subleaf.
    looked_up: ((u32, u32), CpuidResult),
    pub debugged: Debugged,
    is_apic_enabled: bool,
}

/// A vCPU whose state the processor has.
#[derive(Debug)]
pub struct Loaded<'a, G> {
    pub(super) guest: G,
    pub(super) common: &'a mut Common,
}

/// What the guest waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaiting {
    Nothing,
    In { size: u8 },
    Load,
    Instruction,
    ReadMsr,
    WriteMsr,
}

impl<V> Vcpu<V> {
    /// A vCPU with these parts, and what CPUID answers; the guest's TSC is 0 now.
    pub fn new(
        vendors: V,
        boot: &CpuState,
        ram: GuestRam,
        clock: Clock,
        cpuid: Vec<CpuidEntry>,
    ) -> Self {
        let tsc_offset = cpu::tsc().wrapping_neg();
        let resume = Resume {
            advance: None,
            inject: None,
            has_nmi: false,
            is_again: false,
            wants_window: false,
            cr8: 0,
            tpr_threshold: 0,
            tsc_offset,
            deadline: 0,
        };
        let left = Flags {
            rflags: boot.rflags | rflags::ALWAYS,
            is_shadowed: false,
            has_event: false,
            cr8: 0,
        };
        let common = Common {
            general: boot.general,
            ram,
            clock,
            awaiting: Awaiting::Nothing,
            carried: Carried::none(PagingLimits::of_processor()),
            writes: Writes::default(),
            resume,
            tsc_held_ns: 0,
            deadline: Instant::ZERO,
            left,
            debugged: Debugged::default(),
            looked_up: ((0, 0), cpuid::lookup(&cpuid, 0, 0)),
            cpuid,
            is_apic_enabled: true,
        };
        Self { vendors, common }
    }

    /// The vendor's part.
    pub const fn vendors(&self) -> &V {
        &self.vendors
    }

    /// Makes the guest's time-stamp counter that of `first`.
    pub fn follow_tsc_of(&mut self, first: &Self) {
        self.common.resume.tsc_offset = first.common.resume.tsc_offset;
    }

    /// How the guest's time-stamp counter follows the clock.
    #[must_use]
    pub fn guest_tsc(&self) -> TscClock {
        let Common { clock, resume, .. } = &self.common;
        TscClock { hz: clock.hz(), offset: clock.start().wrapping_add(resume.tsc_offset) }
    }

    /// Gives the processor to this vCPU, after `before`, which has it, if one has.
    pub fn switch<P: Processor<Vcpu = V>>(&mut self, processor: &mut P, before: Option<&mut Self>) {
        processor.switch(&mut self.vendors, before.map(|before| &mut before.vendors));
    }

    /// What its guest reaches, as [`Processor::reach`].
    pub fn reach<P: Processor<Vcpu = V>>(&self, processor: &mut P) -> Result<Reach, &'static str> {
        processor.reach(&self.vendors)
    }

    /// This vCPU, which has the processor.
    pub fn loaded<'a, P: Processor<Vcpu = V>>(
        &'a mut self,
        processor: &'a mut P,
    ) -> Loaded<'a, P::Loaded<'a>> {
        Loaded { guest: processor.loaded(&mut self.vendors), common: &mut self.common }
    }
}

impl Common {
    /// Of the table. Guests that serialize with CPUID ask for one leaf again and again.
    fn lookup(&mut self, leaf: u32, subleaf: u32) -> CpuidResult {
        if self.looked_up.0 != (leaf, subleaf) {
            self.looked_up = ((leaf, subleaf), cpuid::lookup(&self.cpuid, leaf, subleaf));
        }
        self.looked_up.1
    }

    /// Moves the guest's time-stamp counter back by what `held_ns` has grown by.
    fn hold_tsc(&mut self, held_ns: u64) {
        let before_ns = core::mem::replace(&mut self.tsc_held_ns, held_ns);
        if before_ns == held_ns {
            return;
        }
        let ticks = TscClock::fall(self.clock.hz(), before_ns, held_ns);
        self.resume.tsc_offset = self.resume.tsc_offset.wrapping_sub(ticks);
        self.resume.is_again = false;
    }

    /// What an entry brings that differs from the one before.
    #[inline(never)]
    fn take_changes(&mut self, entry: &Entry) {
        self.hold_tsc(entry.tsc_held_ns);
        self.is_apic_enabled = entry.is_apic_enabled;
        let resume = &mut self.resume;
        match entry.inject {
            Some(Injection::Interrupt(vector)) => resume.inject = Some(Inject::Interrupt(vector)),
            Some(Injection::Nmi) => resume.has_nmi = true,
            None => {}
        }
        resume.is_again = false;
        resume.cr8 = entry.cr8;
        resume.tpr_threshold = entry.tpr_threshold;
        resume.wants_window = entry.wants_window;
    }

    fn read_tsc(&self) -> TscReading {
        let Self { clock, resume, .. } = self;
        let tsc = cpu::tsc();
        let at = clock.instant_of(tsc);
        TscReading { hz: clock.hz(), tsc: tsc.wrapping_add(resume.tsc_offset), at }
    }
}

impl<G: LoadedVcpu> Loaded<'_, G> {
    /// What a dump of the registers lacks: the control block's fields, and the
    /// width of the code at RIP.
    pub fn dump(&self) -> String {
        let mut dump = format!("code segment: {} bits\n", code_bits(&self.guest));
        self.guest.write_dump(&mut dump).expect("a string takes everything");
        dump
    }

    /// The event as an exit to the loop; None if it was handled here.
    pub(super) fn decode(&mut self, event: Event) -> Option<ExitReason> {
        match event {
            Event::Port(port) => match port.string {
                Some(operand) => self.port_string(port, operand),
                None => Some(self.port(port)),
            },
            Event::Cpuid => {
                self.cpuid();
                None
            }
            Event::ReadMsr => {
                self.common.awaiting = Awaiting::ReadMsr;
                Some(ExitReason::MsrRead { index: self.low(general::RCX) })
            }
            Event::WriteMsr => self.write_msr(),
            Event::Halt => {
                self.skip_instruction();
                Some(ExitReason::Halt)
            }
            Event::Hypercall => {
                self.hypercall();
                None
            }
            Event::SetXcr => self.set_xcr(),
            Event::Skip => {
                self.skip_instruction();
                None
            }
            Event::Pause => {
                self.skip_instruction();
                Some(ExitReason::Pause)
            }
            Event::Handled | Event::HostInterrupt => None,
            Event::Undefined => self.raise(UD, None),
            Event::Memory { address, access } => self.memory(address, access),
            Event::TaskSwitch(switch) => self.task_switch(&switch),
            Event::Window => Some(ExitReason::InterruptWindow),
            Event::Deadline => Some(ExitReason::Preempted),
            Event::Debug(event) => Some(ExitReason::Debug(event)),
            Event::DebugRegister => self.debug_register(),
            Event::Shutdown => Some(ExitReason::Shutdown),
            Event::Fault(fault) => Some(ExitReason::Fault(fault)),
        }
    }

    fn low(&self, register: usize) -> u32 {
        self.common.general[register] as u32
    }

    /// The guest's instruction raises an exception. A fault sets RFLAGS.RF, as its handler finds it
    /// (SDM vol. 3, 18.3.1.1).
    #[inline(never)]
    pub(super) fn raise(&mut self, vector: u8, error: Option<u32>) -> Option<ExitReason> {
        if vector != DB {
            self.set_rflags(self.common.left.rflags | rflags::RF);
        }
        self.common.resume.inject = Some(Inject::Exception { vector, error });
        None
    }

    pub(super) fn set_rflags(&mut self, value: u64) {
        self.common.left.rflags = value;
        self.guest.set(Register::Rflags, value);
    }

    /// The next entry resumes after the instruction that caused the exit.
    pub(super) fn skip_instruction(&mut self) {
        self.advance_to(self.guest.get(Register::NextRip));
    }

    /// The next entry resumes at `rip`, as after an instruction.
    pub(super) fn advance_to(&mut self, rip: u64) {
        self.common.resume.advance = Some(rip);
        if self.common.left.rflags & rflags::RF != 0 {
            self.set_rflags(self.common.left.rflags & !rflags::RF);
        }
    }

    /// IN or OUT of a register.
    #[inline(always)]
    fn port(&mut self, event: PortEvent) -> ExitReason {
        let PortEvent { port, size, is_in, string: _ } = event;
        self.skip_instruction();
        if is_in {
            self.common.awaiting = Awaiting::In { size };
            return ExitReason::PortIn { port, size };
        }
        let value = self.low(general::RAX) & mask(size) as u32;
        ExitReason::PortOut { port, size, value }
    }

    /// From the table, and the bits that follow the guest's registers (SDM vol. 2, CPUID).
    fn cpuid(&mut self) {
        const OSXSAVE: u32 = 1 << 27;
        const APIC: u32 = 1 << 9;
        let (leaf, subleaf) = (self.low(general::RAX), self.low(general::RCX));
        let mut result = self.common.lookup(leaf, subleaf);
        if leaf == 1 && self.guest.get(Register::Cr4) & cr4::OSXSAVE != 0 {
            result.ecx |= OSXSAVE;
        }
        if leaf == 1 && !self.common.is_apic_enabled {
            result.edx &= !APIC;
        }
        if leaf == 0xd && subleaf < 2 {
            result.ebx = cpuid::xsave_bytes(
                &self.common.cpuid,
                subleaf,
                self.guest.extended().switched.xcr0(),
            );
        }
        self.common.general[general::RAX] = result.eax.into();
        self.common.general[general::RBX] = result.ebx.into();
        self.common.general[general::RCX] = result.ecx.into();
        self.common.general[general::RDX] = result.edx.into();
        self.skip_instruction();
    }

    #[inline(never)]
    fn write_msr(&mut self) -> Option<ExitReason> {
        let value = u64::from(self.low(general::RDX)) << 32 | u64::from(self.low(general::RAX));
        let index = self.low(general::RCX);
        if index == IA32_TIME_STAMP_COUNTER {
            self.common.resume.tsc_offset = value.wrapping_sub(cpu::tsc());
            self.common.resume.is_again = false;
        }
        self.common.awaiting = Awaiting::WriteMsr;
        Some(ExitReason::MsrWrite { index, value })
    }

    #[inline(never)]
    fn set_xcr(&mut self) -> Option<ExitReason> {
        let value = u64::from(self.low(general::RDX)) << 32 | u64::from(self.low(general::RAX));
        let is_ring_0 = self.guest.get(Register::Cpl) == 0;
        if is_ring_0
            && self.low(general::RCX) == 0
            && self.guest.extended_mut().switched.set_xcr0(value)
        {
            self.skip_instruction();
            return None;
        }
        self.raise(GP, Some(0))
    }

    /// Continues what the last exit began; the next exit, if one comes without an entry.
    fn answer(&mut self, reply: Reply) -> Option<ExitReason> {
        match self.common.awaiting {
            Awaiting::Nothing => self.next_write(),
            Awaiting::Instruction => self.go_on_with(reply),
            Awaiting::In { .. } | Awaiting::Load | Awaiting::ReadMsr | Awaiting::WriteMsr => {
                self.bring(reply);
                None
            }
        }
    }

    /// Completes the exit with its reply.
    fn bring(&mut self, reply: Reply) {
        let awaiting = core::mem::replace(&mut self.common.awaiting, Awaiting::Nothing);
        let value = match reply {
            Reply::Value(value) => value,
            Reply::None | Reply::GeneralProtection => 0,
        };
        match awaiting {
            Awaiting::Nothing | Awaiting::Instruction => {}
            Awaiting::In { size } => {
                let rax = &mut self.common.general[general::RAX];
                // A 32-bit result clears the upper half.
                let kept = if size == 4 { 0 } else { *rax & !mask(size) };
                *rax = kept | (value & mask(size));
            }
            Awaiting::Load => self.complete_plain(value),
            Awaiting::ReadMsr | Awaiting::WriteMsr => self.answer_msr(awaiting, reply, value),
        }
    }

    fn answer_msr(&mut self, awaiting: Awaiting, reply: Reply, value: u64) {
        if reply == Reply::GeneralProtection {
            self.raise(GP, Some(0));
            return;
        }
        if awaiting == Awaiting::ReadMsr {
            self.common.general[general::RAX] = value & 0xffff_ffff;
            self.common.general[general::RDX] = value >> 32;
        }
        self.skip_instruction();
    }

    /// As [`Entry::wants_tsc`].
    #[cold]
    fn enter_for_tsc(&mut self, entry: &Entry) -> Exit {
        self.common.hold_tsc(entry.tsc_held_ns);
        Exit { tsc: Some(self.common.read_tsc()), ..self.exit(ExitReason::Preempted) }
    }

    pub(super) fn exit(&self, reason: ExitReason) -> Exit {
        // An entry that delivers an exception, or continues an instruction, delivers nothing
        // else.
        let is_open = match self.common.awaiting {
            Awaiting::Nothing | Awaiting::In { .. } | Awaiting::Load => true,
            Awaiting::Instruction | Awaiting::ReadMsr | Awaiting::WriteMsr => false,
        };
        let Common { left, resume, .. } = &*self.common;
        // No shadow outlives an instruction; a single step's #DB comes first.
        let is_enabled = left.rflags & rflags::IF != 0;
        let is_blocked = match resume.advance {
            None => left.is_shadowed,
            Some(_) => left.rflags & rflags::TF != 0,
        };
        let is_taken = left.has_event || resume.inject.is_some();
        Exit {
            reason,
            is_interrupt_flag_set: is_enabled,
            is_interruptible: is_enabled && is_open && !is_blocked && !is_taken,
            cr8: left.cr8,
            left_guest: true,
            overhead_ns: 0,
            has_more: !self.common.writes.is_empty(),
            tsc: None,
        }
    }
}

impl<G: LoadedVcpu> VcpuBackend for Loaded<'_, G> {
    #[inline(always)]
    fn enter(&mut self, entry: &Entry) -> Exit {
        if entry.wants_tsc {
            return self.enter_for_tsc(entry);
        }
        if !entry.is_again {
            self.common.take_changes(entry);
        }
        let is_waiting =
            self.common.awaiting != Awaiting::Nothing || !self.common.writes.is_empty();
        if is_waiting && let Some(reason) = self.answer(entry.reply) {
            return Exit { left_guest: false, ..self.exit(reason) };
        }
        if entry.deadline != self.common.deadline {
            self.common.deadline = entry.deadline;
            self.common.resume.deadline = self.common.clock.tsc_of(entry.deadline);
        }
        if self.common.debugged.is_stepping {
            return self.enter_stepping();
        }
        loop {
            let Common { general, resume, left, .. } = &mut *self.common;
            let Left { event, flags } = self.guest.resume(general, resume);
            *left = flags;
            (resume.advance, resume.inject, resume.has_nmi) = (None, None, false);
            resume.is_again = true;
            // Fast path: almost every exit is such an access.
            if let Event::Port(port @ PortEvent { string: None, .. }) = event {
                let reason = self.port(port);
                return self.exit(reason);
            }
            if let Some(reason) = self.decode(event) {
                return self.exit(reason);
            }
        }
    }

    fn start_up(&mut self, registers: &CpuState) {
        self.begin_anew(registers);
    }
    fn power_on(&mut self, registers: &CpuState) {
        self.switch_on(registers);
    }

    fn registers(&mut self) -> CpuState {
        self.all_registers()
    }
}

const fn mask(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * (size & 0xf) as u32)
}
