//! Instructions that are carried out here: those that access a device's memory, those whose page
//! tables lie where no RAM is, and string I/O.
//!
//! Each read of a device is an exit, and its reply continues the instruction; writes follow
//! once it is done. [`vmm_common::x86`] emulates it.

use super::vcpu::{Awaiting, Loaded};
use super::vendor::{
    LoadedVcpu, MemoryAccess, PortEvent, Register, StringOperand, code_bits, fetch, paging,
};
use metal::General;
use metal::architecture::cr0::TS;
use metal::architecture::cr4;
use metal::architecture::vector::{GP, UD};
use metal::cpu::cpuid;
use metal::guest_ram::GuestRam;
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

/// The instruction that caused the exit, and its progress.
#[derive(Debug)]
pub(super) struct Carried {
    instruction: Instruction,
    /// The bytes and the width of code that it was decoded from; 0 bits: from none.
    bytes: [u8; INSTRUCTION_BYTES],
    code_bits: u8,
    reads: Reads,
    resolved: Option<Resolved>,
    /// This processor's paging features.
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
            physical_bits: cpuid(0x8000_0008, 0).eax as u8,
            has_1g: cpuid(0x8000_0001, 0).edx & PAGES_1G != 0,
        }
    }
}

impl Carried {
    pub const fn none(limits: PagingLimits) -> Self {
        let instruction = Instruction::new(Operation::FlushLine, 1);
        let bytes = [0; INSTRUCTION_BYTES];
        Self { instruction, bytes, code_bits: 0, reads: Reads::NONE, resolved: None, limits }
    }

    /// Decodes, unless it is the same instruction as before: drivers poll.
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

impl<G: LoadedVcpu> Loaded<'_, G> {
    /// An access to no RAM.
    #[inline(never)]
    pub(super) fn memory(&mut self, address: u64, access: MemoryAccess) -> Option<ExitReason> {
        let fault = |fault| Some(ExitReason::Fault(fault));
        let resolved = match access {
            MemoryAccess::Fetch => return fault(Fault::FetchOutsideRam { address }),
            MemoryAccess::PageTable => None,
            MemoryAccess::Read => Some(Resolved { address, is_write: false }),
            MemoryAccess::Write => Some(Resolved { address, is_write: true }),
        };
        let mut bytes = [0; INSTRUCTION_BYTES];
        let fetched =
            fetch(&self.guest, self.guest.get(Register::Rip), &self.common.ram, &mut bytes);
        let code_bits = code_bits(&self.guest);
        if let Err(refusal) = self.common.carried.decode(code_bits, &bytes, fetched.len) {
            return match refusal {
                Refusal::Truncated => match fetched.fault {
                    Some(exception) => self.raise_exception(exception),
                    None => {
                        fault(Fault::FetchOutsideRam { address: self.guest.get(Register::Rip) })
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

    /// INS or OUTS. The processor has checked IOPL and the I/O permission map, but not the
    /// memory operand (SDM vol. 3, 26.1.1; APM vol. 2, 15.10.2).
    #[inline(never)]
    pub(super) fn port_string(
        &mut self,
        event: PortEvent,
        operand: StringOperand,
    ) -> Option<ExitReason> {
        let len =
            self.guest.get(Register::NextRip).wrapping_sub(self.guest.get(Register::Rip)) as u8;
        self.common.carried.code_bits = 0;
        self.common.carried.instruction = Instruction::port_string(PortString {
            is_in: event.is_in,
            size: event.size,
            segment: operand.segment,
            address_bits: operand.address_bits,
            is_repeated: operand.is_repeated,
            len,
        });
        self.begin(None)
    }

    /// A MOV, which needs only one exit.
    fn begin_plain(&mut self, code_bits: u8, resolved: Resolved) -> Option<ExitReason> {
        let Carried { instruction, limits, .. } = &self.common.carried;
        let mut guest = View {
            code_bits,
            guest: &mut self.guest,
            general: &mut self.common.general,
            ram: &self.common.ram,
            limits: *limits,
        };
        let plain = plain::of(&mut guest, instruction, resolved)?;
        let next_rip = guest.rip().wrapping_add(instruction.len.into());
        self.advance_to(next_rip);
        let address = resolved.address;
        Some(match plain {
            Plain::Load { size } => {
                self.common.awaiting = Awaiting::Load;
                ExitReason::MmioRead { address, size }
            }
            Plain::Store { size, value } => ExitReason::MmioWrite { address, size, value },
        })
    }

    /// Completes it with what the device has returned.
    #[inline(never)]
    pub(super) fn complete_plain(&mut self, value: u64) {
        let Carried { instruction, limits, .. } = &self.common.carried;
        let mut guest = View {
            code_bits: 64,
            guest: &mut self.guest,
            general: &mut self.common.general,
            ram: &self.common.ram,
            limits: *limits,
        };
        plain::complete(&mut guest, instruction, value);
    }

    fn begin(&mut self, resolved: Option<Resolved>) -> Option<ExitReason> {
        self.common.carried.reads = Reads::NONE;
        self.common.carried.resolved = resolved;
        self.go_on()
    }

    /// Continues the instruction with a device's reply; returns its next exit.
    #[inline(never)]
    pub(super) fn go_on_with(&mut self, reply: Reply) -> Option<ExitReason> {
        self.common.awaiting = Awaiting::Nothing;
        self.common.carried.reads.push(match reply {
            Reply::Value(value) => value,
            Reply::None | Reply::GeneralProtection => 0,
        });
        self.go_on()
    }

    fn go_on(&mut self) -> Option<ExitReason> {
        let Carried { instruction, reads, resolved, limits, .. } = &self.common.carried;
        let mut guest = View {
            code_bits: code_bits(&self.guest),
            guest: &mut self.guest,
            general: &mut self.common.general,
            ram: &self.common.ram,
            limits: *limits,
        };
        let outcome = carry_out(&mut guest, instruction, reads, *resolved);
        self.common.left.rflags = self.guest.get(Register::Rflags);
        match outcome {
            Outcome::Wants(read) => {
                self.common.awaiting = Awaiting::Instruction;
                Some(match read {
                    Read::Memory { address, size } => ExitReason::MmioRead { address, size },
                    Read::Port { port, size } => ExitReason::PortIn { port, size },
                })
            }
            Outcome::Done { next_rip, writes } => {
                let is_repeated = next_rip == self.guest.get(Register::Rip);
                self.advance_to(next_rip);
                if is_repeated {
                    // The next element is no new instruction to a breakpoint (SDM vol. 3,
                    // 18.3.1.1).
                    self.set_rflags(self.common.left.rflags | flag::RF);
                }
                self.common.writes = writes;
                self.next_write()
            }
            Outcome::Exception(exception) => self.raise_exception(exception),
        }
    }

    /// Switches to another task of the guest, where the processor leaves that to software.
    #[inline(never)]
    pub(super) fn task_switch(&mut self, switch: &TaskSwitch) -> Option<ExitReason> {
        let mut guest = View {
            code_bits: code_bits(&self.guest),
            guest: &mut self.guest,
            general: &mut self.common.general,
            ram: &self.common.ram,
            limits: self.common.carried.limits,
        };
        let switched = switch_task(&mut guest, switch);
        self.common.left.rflags = self.guest.get(Register::Rflags);
        match switched {
            Ok(rip) => {
                self.guest.set(Register::Rip, rip);
                None
            }
            Err(TaskFault::Raises { exception, rip }) => {
                self.guest.set(Register::Rip, rip);
                self.raise_exception(exception)
            }
            Err(TaskFault::OutsideRam(address)) => {
                Some(ExitReason::Fault(Fault::DeliveryOutsideRam { address }))
            }
        }
    }

    /// The last instruction's next pending write to a device.
    #[inline(never)]
    pub(super) fn next_write(&mut self) -> Option<ExitReason> {
        self.common.writes.take().map(|write| match write {
            Write::Memory { address, size, value } => {
                ExitReason::MmioWrite { address, size, value }
            }
            Write::Port { port, size, value } => ExitReason::PortOut { port, size, value },
        })
    }

    fn raise_exception(&mut self, exception: Exception) -> Option<ExitReason> {
        let Exception { vector, error, cr2 } = exception;
        if let Some(address) = cr2 {
            self.guest.set(Register::Cr2, address);
        }
        self.raise(vector, error)
    }
}

/// The guest as an emulated instruction sees it.
struct View<'a, G> {
    guest: &'a mut G,
    general: &'a mut General,
    ram: &'a GuestRam,
    code_bits: u8,
    limits: PagingLimits,
}

impl<G: LoadedVcpu> TaskGuest for View<'_, G> {
    fn gdtr(&self) -> TableRegister {
        let (base, limit) = (Register::GdtrBase, Register::GdtrLimit);
        TableRegister { base: self.guest.get(base), limit: self.guest.get(limit) as u16 }
    }

    fn set_segment(&mut self, index: u8, value: Segment) {
        self.guest.set_segment(index.into(), value);
    }

    fn set_cr3(&mut self, value: u64) {
        self.guest.set(Register::Cr3, value);
        if G::KEEPS_PDPTES && self.guest.get(Register::Cr4) & cr4::PAE != 0 {
            let table = value & 0xffff_ffe0;
            for index in 0..4 {
                // An entry outside RAM reads as not present.
                let entry = self.ram.word(table + 8 * u64::from(index)).unwrap_or(0);
                self.guest.set(Register::Pdpte(index), entry);
            }
        }
    }

    fn begin_task(&mut self) {
        const LOCAL_ENABLE: u64 = 0x55;
        self.guest.set(Register::Cr0, self.guest.get(Register::Cr0) | TS);
        self.guest.set(Register::Dr7, self.guest.get(Register::Dr7) & !LOCAL_ENABLE);
    }
}

impl<G: LoadedVcpu> Guest for View<'_, G> {
    type Memory = GuestRam;

    fn general(&self, index: u8) -> u64 {
        match usize::from(index) {
            general::RSP => self.guest.get(Register::Rsp),
            index => self.general[index],
        }
    }

    fn set_general(&mut self, index: u8, value: u64) {
        match usize::from(index) {
            general::RSP => self.guest.set(Register::Rsp, value),
            index => self.general[index] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.guest.get(Register::Rip)
    }

    fn rflags(&self) -> u64 {
        self.guest.get(Register::Rflags)
    }

    fn set_rflags(&mut self, value: u64) {
        self.guest.set(Register::Rflags, value);
    }

    fn segment(&self, index: u8) -> Segment {
        self.guest.segment(index.into())
    }

    fn code_bits(&self) -> u8 {
        self.code_bits
    }

    fn cpl(&self) -> u8 {
        self.guest.get(Register::Cpl) as u8
    }

    fn paging(&self) -> Paging {
        let PagingLimits { physical_bits, has_1g } = self.limits;
        Paging { physical_bits, has_1g, ..paging(self.guest) }
    }

    fn vector(&self, index: u8) -> u128 {
        self.guest.extended().fx.vector(index.into())
    }

    fn set_vector(&mut self, index: u8, value: u128) {
        self.guest.extended_mut().fx.set_vector(index.into(), value);
    }

    fn memory(&self) -> &GuestRam {
        self.ram
    }
}
