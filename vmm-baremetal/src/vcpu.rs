//! One vCPU on bare metal: between the shared loop's seam and a vendor's control block.
//!
//! An [`Event`] is decoded into an exit here, once for both vendors; what the guest waits for is
//! remembered as [`Awaiting`] and filled in when the next entry brings the reply.

use crate::clock::Clock;
use crate::cpu;
use crate::cpu::cr4;
use crate::cpu::register::{IA32_TSC, RFLAGS_IF};
use crate::cpu::vector::{GP, UD};
use crate::hardware::{Event, General, Hardware, Inject, PortEvent, Register};
use crate::ram::GuestRam;
use crate::state::SwitchedState;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use devices::lapic::TscClock;
use vmm_common::cpuid::{self, CpuidEntry};
use vmm_common::registers::{CpuState, general, segment};
use vmm_common::seam::{Entry, Exit, ExitReason, Injection, Reply, TscReading, VcpuBackend};
use vmm_common::x86::Writes;

mod instruction;

use instruction::{Carried, PagingLimits};

/// A vCPU.
#[derive(Debug)]
pub struct Vcpu<H> {
    hardware: H,
    general: General,
    state: SwitchedState,
    ram: GuestRam,
    clock: Clock,
    awaiting: Awaiting,
    /// The instruction that [`Awaiting::Instruction`] is about.
    carried: Carried,
    /// For devices, by the instruction before the guest's RIP.
    writes: Writes,
    /// Host's TSC plus this is the guest's.
    tsc_offset: u64,
    /// [`Entry::tsc_held_ns`] as of the last entry.
    tsc_held_ns: u64,
    cpuid: Vec<CpuidEntry>,
    is_apic_enabled: bool,
}

/// What the guest waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    Nothing,
    In { size: u8 },
    Load,
    Instruction,
    ReadMsr,
    WriteMsr,
}

impl<H: Hardware> Vcpu<H> {
    /// A vCPU with these parts, and what CPUID answers; the guest's TSC is 0 now.
    pub fn new(
        mut hardware: H,
        state: SwitchedState,
        general: General,
        ram: GuestRam,
        clock: Clock,
        cpuid: Vec<CpuidEntry>,
    ) -> Self {
        let tsc_offset = cpu::tsc().wrapping_neg();
        hardware.set_tsc_offset(tsc_offset);
        let awaiting = Awaiting::Nothing;
        Self {
            hardware,
            general,
            state,
            ram,
            clock,
            awaiting,
            carried: Carried::none(PagingLimits::of_processor()),
            writes: Writes::default(),
            tsc_offset,
            tsc_held_ns: 0,
            cpuid,
            is_apic_enabled: true,
        }
    }

    /// This vCPU gets the processor.
    pub fn load(&mut self) {
        self.hardware.load();
        self.state.load();
    }

    /// Another vCPU is about to get it.
    pub fn unload(&mut self) {
        self.state.save();
        self.hardware.unload();
    }

    /// What the registers do not tell about how it stopped: the control block's fields, and the
    /// width of the code that the dump of the registers shows.
    pub fn dump(&self) -> String {
        let mut dump = format!("code segment: {} bits\n", self.hardware.code_bits());
        self.hardware.write_dump(&mut dump).expect("a string takes everything");
        dump
    }

    /// How the guest's time-stamp counter follows the clock.
    #[must_use]
    pub fn guest_tsc(&self) -> TscClock {
        let offset = self.clock.start().wrapping_add(self.tsc_offset);
        TscClock { hz: self.clock.hz(), offset }
    }

    /// What the event means for the loop; None if it was dealt with here.
    fn decode(&mut self, event: Event) -> Option<ExitReason> {
        match event {
            Event::Port(port) => self.port(port),
            Event::Cpuid => {
                self.cpuid();
                None
            }
            Event::ReadMsr => {
                self.awaiting = Awaiting::ReadMsr;
                Some(ExitReason::MsrRead { index: self.low(general::RCX) })
            }
            Event::WriteMsr => self.write_msr(),
            Event::Halt => {
                self.hardware.skip_instruction();
                // A guest that single-steps gets its #DB behind HLT, which ends it.
                (!self.hardware.has_pending_exception()).then_some(ExitReason::Halt)
            }
            Event::Hypercall => {
                self.hypercall();
                None
            }
            Event::SetXcr => self.set_xcr(),
            Event::Skip => {
                self.hardware.skip_instruction();
                None
            }
            Event::Handled | Event::HostInterrupt => None,
            Event::Undefined => self.raise(UD, None),
            Event::Memory { address, access } => self.memory(address, access),
            Event::TaskSwitch(switch) => self.task_switch(&switch),
            Event::Window => Some(ExitReason::InterruptWindow),
            Event::Deadline => Some(ExitReason::Preempted),
            Event::Shutdown => Some(ExitReason::Shutdown),
            Event::Fault(fault) => Some(ExitReason::Fault(fault)),
        }
    }

    fn low(&self, register: usize) -> u32 {
        self.general[register] as u32
    }

    fn raise(&mut self, vector: u8, error: Option<u32>) -> Option<ExitReason> {
        self.hardware.inject(Inject::Exception { vector, error });
        None
    }

    fn port(&mut self, event: PortEvent) -> Option<ExitReason> {
        let PortEvent { port, size, is_in, string } = event;
        if let Some(operand) = string {
            return self.port_string(event, operand);
        }
        self.hardware.skip_instruction();
        if is_in {
            self.awaiting = Awaiting::In { size };
            return Some(ExitReason::PortIn { port, size });
        }
        let value = self.low(general::RAX) & mask(size) as u32;
        Some(ExitReason::PortOut { port, size, value })
    }

    /// From the table, and the bits that follow the guest's registers (SDM vol. 2, CPUID).
    fn cpuid(&mut self) {
        const OSXSAVE: u32 = 1 << 27;
        const APIC: u32 = 1 << 9;
        let (leaf, subleaf) = (self.low(general::RAX), self.low(general::RCX));
        let mut result = cpuid::lookup(&self.cpuid, leaf, subleaf);
        if leaf == 1 && self.hardware.get(Register::Cr4) & cr4::OSXSAVE != 0 {
            result.ecx |= OSXSAVE;
        }
        if leaf == 1 && !self.is_apic_enabled {
            result.edx &= !APIC;
        }
        if leaf == 0xd && subleaf < 2 {
            result.ebx = cpuid::xsave_bytes(&self.cpuid, subleaf, self.state.xcr0());
        }
        self.general[general::RAX] = result.eax.into();
        self.general[general::RBX] = result.ebx.into();
        self.general[general::RCX] = result.ecx.into();
        self.general[general::RDX] = result.edx.into();
        self.hardware.skip_instruction();
    }

    /// Answers as KVM, whose interface CPUID shows (Linux
    /// Documentation/virt/kvm/x86/hypercalls.rst): none of the features that come with a hypercall
    /// is offered, and VAPIC_POLL_IRQ, which does nothing, needs none.
    fn hypercall(&mut self) {
        const VAPIC_POLL_IRQ: u64 = 1;
        const EPERM: i64 = 1;
        const ENOSYS: i64 = 1000;
        let width = if self.hardware.code_bits() == 64 { u64::MAX } else { 0xffff_ffff };
        let is_ring_0 = self.hardware.segment(segment::SS).access >> 5 & 3 == 0;
        let result = match self.general[general::RAX] & width {
            _ if !is_ring_0 => -EPERM,
            VAPIC_POLL_IRQ => 0,
            _ => -ENOSYS,
        };
        self.general[general::RAX] = result.cast_unsigned() & width;
        self.hardware.skip_instruction();
    }

    fn write_msr(&mut self) -> Option<ExitReason> {
        let value = u64::from(self.low(general::RDX)) << 32 | u64::from(self.low(general::RAX));
        let index = self.low(general::RCX);
        if index == IA32_TSC {
            self.tsc_offset = value.wrapping_sub(cpu::tsc());
            self.hardware.set_tsc_offset(self.tsc_offset);
        }
        self.awaiting = Awaiting::WriteMsr;
        Some(ExitReason::MsrWrite { index, value })
    }

    fn set_xcr(&mut self) -> Option<ExitReason> {
        let value = u64::from(self.low(general::RDX)) << 32 | u64::from(self.low(general::RAX));
        let is_ring_0 = self.hardware.segment(segment::SS).access >> 5 & 3 == 0;
        if is_ring_0 && self.low(general::RCX) == 0 && self.state.set_xcr0(value) {
            self.hardware.skip_instruction();
            return None;
        }
        self.raise(GP, Some(0))
    }

    /// Gives the guest what it waits for.
    fn answer(&mut self, reply: Reply) {
        let awaiting = core::mem::replace(&mut self.awaiting, Awaiting::Nothing);
        let value = match reply {
            Reply::Value(value) => value,
            Reply::None | Reply::GeneralProtection => 0,
        };
        match awaiting {
            Awaiting::Nothing | Awaiting::Instruction => {}
            Awaiting::In { size } => {
                let rax = &mut self.general[general::RAX];
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
            self.hardware.inject(Inject::Exception { vector: GP, error: Some(0) });
            return;
        }
        if awaiting == Awaiting::ReadMsr {
            self.general[general::RAX] = value & 0xffff_ffff;
            self.general[general::RDX] = value >> 32;
        }
        self.hardware.skip_instruction();
    }

    fn inject(&mut self, injection: Option<Injection>) {
        match injection {
            Some(Injection::Interrupt(vector)) => self.hardware.inject(Inject::Interrupt(vector)),
            Some(Injection::Nmi) => self.hardware.inject(Inject::Nmi),
            None => {}
        }
    }

    /// Moves the guest's time-stamp counter back by what `held_ns` has grown by.
    fn hold_tsc(&mut self, held_ns: u64) {
        let added_ns = held_ns - core::mem::replace(&mut self.tsc_held_ns, held_ns);
        let ticks = u128::from(added_ns) * u128::from(self.clock.hz()) / 1_000_000_000;
        self.tsc_offset = self.tsc_offset.wrapping_sub(ticks as u64);
        self.hardware.set_tsc_offset(self.tsc_offset);
    }

    fn read_tsc(&self) -> TscReading {
        let tsc = cpu::tsc();
        let at = self.clock.instant_of(tsc);
        TscReading { hz: self.clock.hz(), tsc: tsc.wrapping_add(self.tsc_offset), at }
    }

    fn exit(&self, reason: ExitReason) -> Exit {
        // An entry that delivers an exception, or goes on with an instruction, delivers nothing
        // else.
        let is_open = match self.awaiting {
            Awaiting::Nothing | Awaiting::In { .. } | Awaiting::Load => true,
            Awaiting::Instruction | Awaiting::ReadMsr | Awaiting::WriteMsr => false,
        };
        Exit {
            reason,
            is_interrupt_flag_set: self.hardware.get(Register::Rflags) & RFLAGS_IF != 0,
            is_interruptible: is_open && self.hardware.is_interruptible(),
            cr8: self.hardware.cr8(),
            left_guest: true,
            overhead_ns: 0,
            has_more: !self.writes.is_empty(),
            tsc: None,
        }
    }
}

impl<H: Hardware> VcpuBackend for Vcpu<H> {
    fn enter(&mut self, entry: &Entry) -> Exit {
        if entry.tsc_held_ns != self.tsc_held_ns {
            self.hold_tsc(entry.tsc_held_ns);
        }
        if entry.wants_tsc {
            return Exit { tsc: Some(self.read_tsc()), ..self.exit(ExitReason::Preempted) };
        }
        let further = match self.awaiting {
            Awaiting::Instruction => self.go_on_with(entry.reply),
            _ if !self.writes.is_empty() => self.next_write(),
            _ => {
                self.answer(entry.reply);
                None
            }
        };
        self.inject(entry.inject);
        self.hardware.set_cr8(entry.cr8);
        self.hardware.set_tpr_threshold(entry.tpr_threshold);
        self.is_apic_enabled = entry.is_apic_enabled;
        self.hardware.want_window(entry.wants_window);
        if let Some(reason) = further {
            return Exit { left_guest: false, ..self.exit(reason) };
        }
        let deadline = self.clock.tsc_of(entry.deadline);
        loop {
            let event = self.hardware.run(&mut self.general, deadline);
            if let Some(reason) = self.decode(event) {
                return self.exit(reason);
            }
        }
    }

    fn registers(&mut self) -> CpuState {
        let get = |register| self.hardware.get(register);
        let (gdtr, idtr) = self.hardware.tables();
        let mut state = CpuState {
            general: self.general,
            rip: get(Register::Rip),
            rflags: get(Register::Rflags),
            cr0: get(Register::Cr0),
            cr2: get(Register::Cr2),
            cr3: get(Register::Cr3),
            cr4: get(Register::Cr4),
            efer: get(Register::Efer),
            gdtr,
            idtr,
            ..CpuState::default()
        };
        state.general[general::RSP] = get(Register::Rsp);
        for (index, segment) in state.segments.iter_mut().enumerate() {
            *segment = self.hardware.segment(index);
        }
        state.instruction_len = self.hardware.fetch(&self.ram, &mut state.instruction).len as u8;
        state
    }
}

const fn mask(size: u8) -> u64 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}
