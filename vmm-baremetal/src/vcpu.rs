//! One vCPU on bare metal: between the shared loop's seam and a vendor's control block.
//!
//! An [`Event`] is decoded into an exit here, once for both vendors; what the guest waits for is
//! remembered as [`Awaiting`] and filled in when the next entry brings the reply.

use crate::clock::Clock;
use crate::cpu;
use crate::cpu::cr4;
use crate::cpu::register::{IA32_TSC, RFLAGS_IF};
use crate::cpu::vector::{GP, UD};
use crate::hardware::{Event, General, Hardware, Inject, PortEvent, Register, StringOperand};
use crate::mmio::{self, Access, Target};
use crate::ram::GuestRam;
use crate::state::SwitchedState;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use devices::lapic::TscClock;
use vmm_common::cpuid::{self, CpuidEntry};
use vmm_common::registers::{CpuState, INSTRUCTION_BYTES, general, segment};
use vmm_common::seam::{Entry, Exit, ExitReason, Fault, Injection, Reply, TscReading, VcpuBackend};

const RFLAGS_DF: u64 = 1 << 10;
/// This file's codes of [`Fault::CannotEmulate`]: an access to no RAM that is no plain move; a fetch from
/// no RAM; a string whose memory operand is not mapped RAM.
const NOT_A_MOVE: u32 = 1;
const FETCH_FROM_NOWHERE: u32 = 2;
const STRING_NOWHERE: u32 = 3;

/// A vCPU.
#[derive(Debug)]
pub struct Vcpu<H> {
    hardware: H,
    general: General,
    state: SwitchedState,
    ram: GuestRam,
    clock: Clock,
    awaiting: Awaiting,
    /// Host's TSC plus this is the guest's.
    tsc_offset: u64,
    cpuid: Vec<CpuidEntry>,
}

/// What the guest waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    Nothing,
    In { size: u8 },
    InString { size: u8, operand: StringOperand },
    Load { size: u8, to: Target },
    ReadMsr,
    WriteMsr,
}

impl<H: Hardware> Vcpu<H> {
    /// A vCPU with these parts; the guest's TSC is 0 now.
    pub fn new(
        mut hardware: H,
        state: SwitchedState,
        general: General,
        ram: GuestRam,
        clock: Clock,
    ) -> Self {
        let tsc_offset = cpu::tsc().wrapping_neg();
        hardware.set_tsc_offset(tsc_offset);
        let awaiting = Awaiting::Nothing;
        Self { hardware, general, state, ram, clock, awaiting, tsc_offset, cpuid: Vec::new() }
    }

    /// What CPUID answers.
    pub fn set_cpuid(&mut self, table: Vec<CpuidEntry>) {
        self.cpuid = table;
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

    /// What the registers do not tell about how it stopped: the instruction it was left at, and the
    /// control block's fields.
    pub fn dump(&self) -> String {
        let mut bytes = [0; INSTRUCTION_BYTES];
        let len = self.hardware.fetch(&self.ram, &mut bytes);
        let rip = self.hardware.get(Register::Rip);
        let code_bits = self.hardware.code_bits().into();
        let instruction = mmio::disassembly(code_bits, rip, &bytes[..len]);
        let mut dump = format!("instruction: {instruction}\n");
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
                Some(ExitReason::Halt)
            }
            Event::SetXcr => self.set_xcr(),
            Event::Skip => {
                self.hardware.skip_instruction();
                None
            }
            Event::Handled | Event::HostInterrupt => None,
            Event::Undefined => self.raise(UD, None),
            Event::Memory { is_fetch: true, .. } => {
                Some(ExitReason::Fault(Fault::CannotEmulate { code: FETCH_FROM_NOWHERE }))
            }
            Event::Memory { address, .. } => self.memory(address),
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

    /// One element; the guest comes back for the next, since it is not moved on before the last.
    fn port_string(&mut self, event: PortEvent, operand: StringOperand) -> Option<ExitReason> {
        let PortEvent { port, size, is_in, .. } = event;
        let count = self.general[general::RCX] & address_mask(operand.address_bits);
        if operand.is_repeated && count == 0 {
            self.hardware.skip_instruction();
            return None;
        }
        if is_in {
            self.awaiting = Awaiting::InString { size, operand };
            return Some(ExitReason::PortIn { port, size });
        }
        let mut value = [0; 4];
        let bytes = &mut value[..usize::from(size)];
        let linear = self.operand_address(operand, general::RSI);
        if self.hardware.paging().read(&self.ram, linear, bytes) < bytes.len() {
            return Some(ExitReason::Fault(Fault::CannotEmulate { code: STRING_NOWHERE }));
        }
        self.advance_string(operand, general::RSI, size);
        Some(ExitReason::PortOut { port, size, value: u32::from_le_bytes(value) })
    }

    fn operand_address(&self, operand: StringOperand, register: usize) -> u64 {
        let offset = self.general[register] & address_mask(operand.address_bits);
        let has_base = self.hardware.code_bits() != 64 || operand.segment >= segment::FS;
        let base = if has_base { self.hardware.segment(operand.segment).base } else { 0 };
        base.wrapping_add(offset)
    }

    fn advance_string(&mut self, operand: StringOperand, register: usize, size: u8) {
        let mask = address_mask(operand.address_bits);
        let is_down = self.hardware.get(Register::Rflags) & RFLAGS_DF != 0;
        let step = if is_down { u64::from(size).wrapping_neg() } else { size.into() };
        let add = |value: &mut u64, step: u64| {
            let sum = value.wrapping_add(step) & mask;
            // A 32-bit result clears the upper half; a 16-bit one keeps the rest.
            *value = if operand.address_bits == 16 { (*value & !mask) | sum } else { sum };
            sum
        };
        add(&mut self.general[register], step);
        let left = match operand.is_repeated {
            true => add(&mut self.general[general::RCX], u64::MAX),
            false => 0,
        };
        if left == 0 {
            self.hardware.skip_instruction();
        }
    }

    /// From the table, and the bits that follow the guest's registers (SDM vol. 2, CPUID).
    fn cpuid(&mut self) {
        const OSXSAVE: u32 = 1 << 27;
        let (leaf, subleaf) = (self.low(general::RAX), self.low(general::RCX));
        let mut result = cpuid::lookup(&self.cpuid, leaf, subleaf);
        if leaf == 1 && self.hardware.get(Register::Cr4) & cr4::OSXSAVE != 0 {
            result.ecx |= OSXSAVE;
        }
        if leaf == 0xd && subleaf < 2 && result.ebx != 0 {
            // The processor's own answer, as XCR0 is the guest's.
            result.ebx = cpu::cpuid(leaf, subleaf).ebx;
        }
        self.general[general::RAX] = result.eax.into();
        self.general[general::RBX] = result.ebx.into();
        self.general[general::RCX] = result.ecx.into();
        self.general[general::RDX] = result.edx.into();
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

    fn memory(&mut self, address: u64) -> Option<ExitReason> {
        let mut bytes = [0; INSTRUCTION_BYTES];
        let len = self.hardware.fetch(&self.ram, &mut bytes);
        self.general[general::RSP] = self.hardware.get(Register::Rsp);
        let Some(decoded) =
            mmio::decode(self.hardware.code_bits().into(), &bytes[..len], &self.general)
        else {
            return Some(ExitReason::Fault(Fault::CannotEmulate { code: NOT_A_MOVE }));
        };
        self.hardware.advance_to(self.hardware.get(Register::Rip).wrapping_add(decoded.len));
        Some(match decoded.access {
            Access::Load { size, to } => {
                self.awaiting = Awaiting::Load { size, to };
                ExitReason::MmioRead { address, size }
            }
            Access::Store { size, value } => {
                ExitReason::MmioWrite { address, size, value: value & mask(size) }
            }
        })
    }

    /// Gives the guest what it waits for; why it cannot go on, if it cannot.
    fn answer(&mut self, reply: Reply) -> Result<(), Fault> {
        let awaiting = core::mem::replace(&mut self.awaiting, Awaiting::Nothing);
        let value = match reply {
            Reply::Value(value) => value,
            Reply::None | Reply::GeneralProtection => 0,
        };
        match awaiting {
            Awaiting::Nothing => {}
            Awaiting::In { size } => {
                let rax = &mut self.general[general::RAX];
                // A 32-bit result clears the upper half.
                let kept = if size == 4 { 0 } else { *rax & !mask(size) };
                *rax = kept | (value & mask(size));
            }
            Awaiting::InString { size, operand } => {
                let linear = self.operand_address(operand, general::RDI);
                let bytes = &value.to_le_bytes()[..usize::from(size)];
                if self.hardware.paging().write(&self.ram, linear, bytes) < bytes.len() {
                    return Err(Fault::CannotEmulate { code: STRING_NOWHERE });
                }
                self.advance_string(operand, general::RDI, size);
            }
            Awaiting::Load { size, to } => {
                to.store(&mut self.general, size, value);
                let rsp = self.general[general::RSP];
                self.hardware.set(Register::Rsp, rsp);
            }
            Awaiting::ReadMsr | Awaiting::WriteMsr => self.answer_msr(awaiting, reply, value),
        }
        Ok(())
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

    fn exit(&self, reason: ExitReason) -> Exit {
        // An entry that delivers #GP, or goes on with a string, delivers nothing else.
        let is_open = match self.awaiting {
            Awaiting::Nothing | Awaiting::In { .. } | Awaiting::Load { .. } => true,
            Awaiting::InString { .. } | Awaiting::ReadMsr | Awaiting::WriteMsr => false,
        };
        Exit {
            reason,
            is_interrupt_flag_set: self.hardware.get(Register::Rflags) & RFLAGS_IF != 0,
            is_interruptible: is_open && self.hardware.is_interruptible(),
            cr8: self.hardware.cr8(),
            left_guest: true,
            overhead_ns: 0,
            has_more: false,
        }
    }
}

impl<H: Hardware> VcpuBackend for Vcpu<H> {
    fn enter(&mut self, entry: &Entry) -> Exit {
        if let Err(fault) = self.answer(entry.reply) {
            return self.exit(ExitReason::Fault(fault));
        }
        self.inject(entry.inject);
        self.hardware.set_cr8(entry.cr8);
        self.hardware.want_window(entry.wants_window);
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
            cr2: cpu::cr2(),
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
        state.instruction_len = self.hardware.fetch(&self.ram, &mut state.instruction) as u8;
        state
    }

    fn write_ram(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.ram.write(address, bytes)
    }

    fn hold_tsc(&mut self, ns: u64) {
        let ticks = u128::from(ns) * u128::from(self.clock.hz()) / 1_000_000_000;
        self.tsc_offset = self.tsc_offset.wrapping_sub(ticks as u64);
        self.hardware.set_tsc_offset(self.tsc_offset);
    }

    fn read_tsc(&mut self) -> Option<TscReading> {
        let tsc = cpu::tsc();
        let at = self.clock.instant_of(tsc);
        Some(TscReading { hz: self.clock.hz(), tsc: tsc.wrapping_add(self.tsc_offset), at })
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

const fn address_mask(bits: u8) -> u64 {
    match bits {
        16 => 0xffff,
        32 => 0xffff_ffff,
        _ => u64::MAX,
    }
}
