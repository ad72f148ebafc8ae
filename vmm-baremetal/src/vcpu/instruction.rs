//! Instructions that are carried out here: those that access a device's memory, those whose page
//! tables lie where no RAM is, and string I/O.
//!
//! Each read of a device is an exit, and its reply takes the instruction further; writes follow
//! once it is done. [`vmm_common::x86`] knows how.

use super::{Awaiting, Vcpu};
use crate::cpu::cr4;
use crate::cpu::vector::{GP, UD};
use crate::hardware::{
    General, Hardware, Inject, MemoryAccess, PortEvent, Register, StringOperand,
};
use crate::ram::GuestRam;
use vmm_common::memory::GuestMemory as _;
use vmm_common::registers::{INSTRUCTION_BYTES, Segment, TableRegister, general};
use vmm_common::seam::{ExitReason, Fault, Reply};
use vmm_common::x86::paging::Paging;
use vmm_common::x86::plain::Plain;
use vmm_common::x86::task::{TaskFault, TaskGuest, TaskSwitch, switch_task};
use vmm_common::x86::{
    Exception, Guest, Instruction, Operation, Outcome, PortString, Read, Reads, Refusal, Resolved,
    Write, carry_out, decode_to, flag, plain,
};

/// The instruction that the guest was left at, and how far it has got.
#[derive(Debug)]
pub(super) struct Carried {
    instruction: Instruction,
    /// The bytes and the width of code that it was decoded from; 0 bits: from none.
    bytes: [u8; INSTRUCTION_BYTES],
    code_bits: u8,
    reads: Reads,
    resolved: Option<Resolved>,
    /// What of page tables this processor has.
    limits: PagingLimits,
}

/// MAXPHYADDR, and whether there are pages of 1 GiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct PagingLimits {
    physical_bits: u8,
    has_1g: bool,
}

impl PagingLimits {
    /// What CPUID says (SDM vol. 2, CPUID leaves 8000_0001 and 8000_0008).
    pub fn of_processor() -> Self {
        const PAGES_1G: u32 = 1 << 26;
        Self {
            physical_bits: crate::cpu::cpuid(0x8000_0008, 0).eax as u8,
            has_1g: crate::cpu::cpuid(0x8000_0001, 0).edx & PAGES_1G != 0,
        }
    }
}

impl Carried {
    pub const fn none(limits: PagingLimits) -> Self {
        let instruction = Instruction::new(Operation::FlushLine, 1);
        let bytes = [0; INSTRUCTION_BYTES];
        Self { instruction, bytes, code_bits: 0, reads: Reads::NONE, resolved: None, limits }
    }

    /// Decodes, unless it is the instruction of the last time: drivers poll.
    fn decode(
        &mut self,
        code_bits: u8,
        bytes: &[u8; INSTRUCTION_BYTES],
        len: usize,
    ) -> Result<(), Refusal> {
        let is_whole = len == INSTRUCTION_BYTES;
        if is_whole && self.code_bits == code_bits && self.bytes == *bytes {
            return Ok(());
        }
        self.code_bits = 0;
        decode_to(&mut self.instruction, code_bits, &bytes[..len])?;
        if is_whole {
            (self.bytes, self.code_bits) = (*bytes, code_bits);
        }
        Ok(())
    }
}

impl<H: Hardware> Vcpu<H> {
    /// An access to no RAM.
    pub(super) fn memory(&mut self, address: u64, access: MemoryAccess) -> Option<ExitReason> {
        let fault = |fault| Some(ExitReason::Fault(fault));
        let resolved = match access {
            MemoryAccess::Fetch => return fault(Fault::FetchOutsideRam { address }),
            MemoryAccess::PageTable => None,
            MemoryAccess::Read => Some(Resolved { address, is_write: false }),
            MemoryAccess::Write => Some(Resolved { address, is_write: true }),
        };
        let mut bytes = [0; INSTRUCTION_BYTES];
        let fetched = self.hardware.fetch(&self.ram, &mut bytes);
        let code_bits = self.hardware.code_bits();
        if let Err(refusal) = self.carried.decode(code_bits, &bytes, fetched.len) {
            return match refusal {
                Refusal::Truncated => match fetched.fault {
                    Some(exception) => self.raise_exception(exception),
                    None => {
                        fault(Fault::FetchOutsideRam { address: self.hardware.get(Register::Rip) })
                    }
                },
                Refusal::TooLong => self.raise(GP, Some(0)),
                Refusal::Undefined => self.raise(UD, None),
                Refusal::Unknown if access == MemoryAccess::PageTable => {
                    fault(Fault::PageTableOutsideRam { address })
                }
                Refusal::Unknown => fault(Fault::unknown_instruction(&bytes[..fetched.len])),
            };
        }
        match resolved.and_then(|resolved| self.begin_plain(code_bits, resolved)) {
            Some(reason) => Some(reason),
            None => self.begin(resolved),
        }
    }

    /// INS or OUTS. The processor has checked IOPL and the I/O permission map, and nothing of the
    /// memory operand (SDM vol. 3, 26.1.1; APM vol. 2, 15.10.2).
    pub(super) fn port_string(
        &mut self,
        event: PortEvent,
        operand: StringOperand,
    ) -> Option<ExitReason> {
        let len = self.hardware.next_rip().wrapping_sub(self.hardware.get(Register::Rip)) as u8;
        self.carried.code_bits = 0;
        self.carried.instruction = Instruction::port_string(PortString {
            is_in: event.is_in,
            size: event.size,
            segment: operand.segment,
            address_bits: operand.address_bits,
            is_repeated: operand.is_repeated,
            len,
        });
        self.begin(None)
    }

    /// A MOV, which needs one exit and no more.
    fn begin_plain(&mut self, code_bits: u8, resolved: Resolved) -> Option<ExitReason> {
        let Carried { instruction, limits, .. } = &self.carried;
        let mut guest = View {
            code_bits,
            hardware: &mut self.hardware,
            general: &mut self.general,
            ram: &self.ram,
            limits: *limits,
        };
        let plain = plain::of(&mut guest, instruction, resolved)?;
        let next_rip = guest.rip().wrapping_add(instruction.len.into());
        self.hardware.advance_to(next_rip);
        let address = resolved.address;
        Some(match plain {
            Plain::Load { size } => {
                self.awaiting = Awaiting::Load;
                ExitReason::MmioRead { address, size }
            }
            Plain::Store { size, value } => ExitReason::MmioWrite { address, size, value },
        })
    }

    /// Completes it with what the device has returned.
    pub(super) fn complete_plain(&mut self, value: u64) {
        let Carried { instruction, limits, .. } = &self.carried;
        let mut guest = View {
            code_bits: 64,
            hardware: &mut self.hardware,
            general: &mut self.general,
            ram: &self.ram,
            limits: *limits,
        };
        plain::complete(&mut guest, instruction, value);
    }

    fn begin(&mut self, resolved: Option<Resolved>) -> Option<ExitReason> {
        self.carried.reads = Reads::NONE;
        self.carried.resolved = resolved;
        self.go_on()
    }

    /// A device has returned what the instruction waits for; what it asks for next.
    pub(super) fn go_on_with(&mut self, reply: Reply) -> Option<ExitReason> {
        self.awaiting = Awaiting::Nothing;
        self.carried.reads.push(match reply {
            Reply::Value(value) => value,
            Reply::None | Reply::GeneralProtection => 0,
        });
        self.go_on()
    }

    fn go_on(&mut self) -> Option<ExitReason> {
        let Carried { instruction, reads, resolved, limits, .. } = &self.carried;
        let mut guest = View {
            code_bits: self.hardware.code_bits(),
            hardware: &mut self.hardware,
            general: &mut self.general,
            ram: &self.ram,
            limits: *limits,
        };
        match carry_out(&mut guest, instruction, reads, *resolved) {
            Outcome::Wants(read) => {
                self.awaiting = Awaiting::Instruction;
                Some(match read {
                    Read::Memory { address, size } => ExitReason::MmioRead { address, size },
                    Read::Port { port, size } => ExitReason::PortIn { port, size },
                })
            }
            Outcome::Done { next_rip, writes } => {
                let is_repeated = next_rip == self.hardware.get(Register::Rip);
                self.hardware.advance_to(next_rip);
                if is_repeated {
                    // The next element is no new instruction to a breakpoint (SDM vol. 3,
                    // 18.3.1.1).
                    let flags = self.hardware.get(Register::Rflags);
                    self.hardware.set(Register::Rflags, flags | flag::RF);
                }
                self.writes = writes;
                self.next_write()
            }
            Outcome::Exception(exception) => self.raise_exception(exception),
        }
    }

    /// Switches to another task of the guest's, where the processor leaves that to software.
    pub(super) fn task_switch(&mut self, switch: &TaskSwitch) -> Option<ExitReason> {
        let mut guest = View {
            code_bits: self.hardware.code_bits(),
            hardware: &mut self.hardware,
            general: &mut self.general,
            ram: &self.ram,
            limits: self.carried.limits,
        };
        match switch_task(&mut guest, switch) {
            Ok(rip) => {
                self.hardware.set(Register::Rip, rip);
                None
            }
            Err(TaskFault::Raises { exception, rip }) => {
                self.hardware.set(Register::Rip, rip);
                self.raise_exception(exception)
            }
            Err(TaskFault::OutsideRam(address)) => {
                Some(ExitReason::Fault(Fault::DeliveryOutsideRam { address }))
            }
        }
    }

    /// What the last instruction has yet to write to a device.
    pub(super) fn next_write(&mut self) -> Option<ExitReason> {
        self.writes.take().map(|write| match write {
            Write::Memory { address, size, value } => {
                ExitReason::MmioWrite { address, size, value }
            }
            Write::Port { port, size, value } => ExitReason::PortOut { port, size, value },
        })
    }

    fn raise_exception(&mut self, exception: Exception) -> Option<ExitReason> {
        let Exception { vector, error, cr2 } = exception;
        if let Some(address) = cr2 {
            self.hardware.set(Register::Cr2, address);
        }
        self.hardware.inject(Inject::Exception { vector, error });
        None
    }
}

/// The guest as an instruction that is carried out sees it.
struct View<'a, H> {
    hardware: &'a mut H,
    general: &'a mut General,
    ram: &'a GuestRam,
    code_bits: u8,
    limits: PagingLimits,
}

impl<H: Hardware> TaskGuest for View<'_, H> {
    fn gdtr(&self) -> TableRegister {
        self.hardware.tables().0
    }

    fn set_segment(&mut self, index: u8, value: Segment) {
        self.hardware.set_segment(index.into(), value);
    }

    fn set_cr3(&mut self, value: u64) {
        const PDPTES: [u64; 4] = [0, 8, 16, 24];
        let is_pae = self.hardware.get(Register::Cr4) & cr4::PAE != 0;
        let table = value & 0xffff_ffe0;
        // One that lies where no RAM is is not present.
        let pdptes = PDPTES.map(|at| self.ram.word(table + at).unwrap_or(0));
        self.hardware.load_cr3(value, is_pae.then_some(pdptes));
    }

    fn begin_task(&mut self) {
        self.hardware.begin_task();
    }
}

impl<H: Hardware> Guest for View<'_, H> {
    type Memory = GuestRam;

    fn general(&self, index: u8) -> u64 {
        match usize::from(index) {
            general::RSP => self.hardware.get(Register::Rsp),
            index => self.general[index],
        }
    }

    fn set_general(&mut self, index: u8, value: u64) {
        match usize::from(index) {
            general::RSP => self.hardware.set(Register::Rsp, value),
            index => self.general[index] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.hardware.get(Register::Rip)
    }

    fn rflags(&self) -> u64 {
        self.hardware.get(Register::Rflags)
    }

    fn set_rflags(&mut self, value: u64) {
        self.hardware.set(Register::Rflags, value);
    }

    fn segment(&self, index: u8) -> Segment {
        self.hardware.segment(index.into())
    }

    fn code_bits(&self) -> u8 {
        self.code_bits
    }

    fn cpl(&self) -> u8 {
        self.hardware.cpl()
    }

    fn paging(&self) -> Paging {
        let PagingLimits { physical_bits, has_1g } = self.limits;
        Paging { physical_bits, has_1g, ..self.hardware.paging() }
    }

    fn vector(&self, index: u8) -> u128 {
        self.hardware.fx_area().vector(index.into())
    }

    fn set_vector(&mut self, index: u8, value: u128) {
        self.hardware.fx_area_mut().set_vector(index.into(), value);
    }

    fn memory(&self) -> &GuestRam {
        self.ram
    }
}
