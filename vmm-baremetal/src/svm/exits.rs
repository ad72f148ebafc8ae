//! Exit codes (APM vol. 2, appendix C) and what they mean.

use crate::guest::vendor::{Event, MemoryAccess, PortEvent, StringOperand};
use metal::svm::Exit;
use metal::svm::vmcb::event;
use vmm_common::registers::{INSTRUCTION_BYTES, segment};
use vmm_common::seam::Fault;

/// The codes that are handled.
#[allow(missing_docs)]
pub mod code {
    pub const READ_CR0: u64 = 0x00;
    pub const READ_CR4: u64 = 0x04;
    pub const WRITE_CR0: u64 = 0x10;
    pub const WRITE_CR4: u64 = 0x14;
    pub const WRITE_CR8: u64 = 0x18;
    pub const DB: u64 = 0x41;
    pub const BP: u64 = 0x43;
    pub const AC: u64 = 0x51;
    pub const MC: u64 = 0x52;
    pub const INTR: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const SMI: u64 = 0x62;
    pub const INIT: u64 = 0x63;
    pub const VINTR: u64 = 0x64;
    pub const CR0_SEL_WRITE: u64 = 0x65;
    pub const RDPMC: u64 = 0x6f;
    pub const CPUID: u64 = 0x72;
    pub const RSM: u64 = 0x73;
    pub const IRET: u64 = 0x74;
    pub const SWINT: u64 = 0x75;
    pub const INVD: u64 = 0x76;
    pub const PAUSE: u64 = 0x77;
    pub const HLT: u64 = 0x78;
    pub const INVLPGA: u64 = 0x7a;
    pub const IOIO: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const TASK_SWITCH: u64 = 0x7d;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const VMSAVE: u64 = 0x83;
    pub const STGI: u64 = 0x84;
    pub const CLGI: u64 = 0x85;
    pub const SKINIT: u64 = 0x86;
    pub const WBINVD: u64 = 0x89;
    pub const MONITOR: u64 = 0x8a;
    pub const MWAIT: u64 = 0x8b;
    pub const MWAIT_CONDITIONAL: u64 = 0x8c;
    pub const XSETBV: u64 = 0x8d;
    pub const RDPRU: u64 = 0x8e;
    pub const NPF: u64 = 0x400;
    pub const BUSY: u64 = -2i64 as u64;
    pub const INVALID: u64 = -1i64 as u64;
}

/// The name of an exit code in a dump.
#[must_use]
pub const fn name(code: u64) -> &'static str {
    match code {
        code::READ_CR0 => "READ_CR0",
        code::READ_CR4 => "READ_CR4",
        code::WRITE_CR0 => "WRITE_CR0",
        code::WRITE_CR4 => "WRITE_CR4",
        code::WRITE_CR8 => "WRITE_CR8",
        code::DB => "EXCEPTION_DB",
        code::BP => "EXCEPTION_BP",
        code::AC => "EXCEPTION_AC",
        code::MC => "EXCEPTION_MC",
        code::INTR => "INTR",
        code::NMI => "NMI",
        code::SMI => "SMI",
        code::INIT => "INIT",
        code::VINTR => "VINTR",
        code::CR0_SEL_WRITE => "CR0_SEL_WRITE",
        code::RDPMC => "RDPMC",
        code::CPUID => "CPUID",
        code::RSM => "RSM",
        code::IRET => "IRET",
        code::SWINT => "SWINT",
        code::INVD => "INVD",
        code::PAUSE => "PAUSE",
        code::HLT => "HLT",
        code::INVLPGA => "INVLPGA",
        code::IOIO => "IOIO",
        code::MSR => "MSR",
        code::TASK_SWITCH => "TASK_SWITCH",
        code::SHUTDOWN => "SHUTDOWN",
        code::VMRUN => "VMRUN",
        code::VMMCALL => "VMMCALL",
        code::VMLOAD => "VMLOAD",
        code::VMSAVE => "VMSAVE",
        code::STGI => "STGI",
        code::CLGI => "CLGI",
        code::SKINIT => "SKINIT",
        code::WBINVD => "WBINVD",
        code::MONITOR => "MONITOR",
        code::MWAIT => "MWAIT",
        code::MWAIT_CONDITIONAL => "MWAIT_CONDITIONAL",
        code::XSETBV => "XSETBV",
        code::RDPRU => "RDPRU",
        code::NPF => "NPF",
        code::BUSY => "BUSY",
        code::INVALID => "INVALID",
        _ => "not intercepted",
    }
}

/// VMRUN was refused. QEMU reports it in the lower half of the code.
#[must_use]
pub const fn is_refused(exit_code: u64) -> bool {
    exit_code as u32 == code::INVALID as u32
}

/// The event of an exit, but for IN and OUT, which are [`port`]'s.
pub fn decode(exit: &Exit) -> Event {
    match exit.code {
        code::INTR | code::NMI | code::SMI | code::INIT => Event::HostInterrupt,
        code::VINTR => Event::Window,
        code::CPUID => Event::Cpuid,
        code::INVD | code::WBINVD => Event::Skip,
        code::HLT => Event::Halt,
        code::MSR if exit.info1 & 1 == 0 => Event::ReadMsr,
        code::MSR => Event::WriteMsr,
        code::SHUTDOWN => Event::Shutdown,
        code::XSETBV => Event::SetXcr,
        code::RSM | code::INVLPGA | code::RDPRU => Event::Undefined,
        code::VMMCALL => Event::Hypercall,
        code::VMRUN | code::VMLOAD | code::VMSAVE => Event::Undefined,
        code::STGI | code::CLGI | code::SKINIT => Event::Undefined,
        code::MONITOR | code::MWAIT | code::MWAIT_CONDITIONAL => Event::Undefined,
        code::NPF => nested_page_fault(exit),
        refused if is_refused(refused) => Event::Fault(Fault::EntryFailed { reason: refused }),
        other => Event::Fault(Fault::Unexpected { exit: other as u32 }),
    }
}

/// EXITINFO1 as of an ordinary page fault, but that QEMU never sets bit 0, P.
fn nested_page_fault(exit: &Exit) -> Event {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    const PAGE_TABLE: u64 = 1 << 33;
    let (info, address) = (exit.info1, exit.info2);
    if exit.interrupt_info & event::VALID != 0 {
        return Event::Fault(Fault::DeliveryOutsideRam { address });
    }
    let access = if info & PAGE_TABLE != 0 {
        MemoryAccess::PageTable
    } else if info & FETCH != 0 {
        MemoryAccess::Fetch
    } else if info & WRITE != 0 {
        MemoryAccess::Write
    } else {
        MemoryAccess::Read
    };
    Event::Memory { address, access }
}

/// EXITINFO1 of IN and OUT (APM vol. 2, 15.10.2). Its segment is there only with decode assists,
/// and QEMU leaves the address size out: both follow from the instruction.
#[inline]
pub fn port(info: u64, instruction: impl FnOnce() -> Instruction) -> PortEvent {
    const IN: u64 = 1 << 0;
    const STRING: u64 = 1 << 2;
    const REPEATED: u64 = 1 << 3;
    let is_in = info & IN != 0;
    let string = (info & STRING != 0).then(|| {
        let instruction = instruction();
        let prefixes = instruction.prefixes();
        StringOperand {
            segment: if is_in { segment::ES } else { prefixes.segment.unwrap_or(segment::DS) },
            address_bits: match info >> 7 & 7 {
                1 => 16,
                2 => 32,
                4 => 64,
                _ => instruction.address_bits(&prefixes),
            },
            is_repeated: info & REPEATED != 0,
        }
    });
    PortEvent { port: (info >> 16) as u16, size: (info >> 4 & 7) as u8, is_in, string }
}

/// The instruction that caused the exit.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// Its bytes and what follows.
    pub bytes: [u8; INSTRUCTION_BYTES],
    /// How many of them could be read.
    pub len: usize,
    /// The code segment's default: 16, 32 or 64.
    pub code_bits: u8,
}

/// A write to a control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRegisterWrite {
    /// The general register it takes.
    pub general: usize,
    /// LMSW.
    pub is_status_word: bool,
}

/// A read of a control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRegisterRead {
    /// The general register that gets it.
    pub general: usize,
    /// How much of it: 2, 4 or 8.
    pub bytes: u8,
}

/// The prefixes of an opcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Bytes of them.
    pub len: u64,
    /// The segment that overrides DS, one that counts in this mode.
    pub segment: Option<usize>,
    /// 0x67.
    pub has_address_size: bool,
    /// 0x66.
    pub has_operand_size: bool,
}

impl Instruction {
    /// The prefixes (APM vol. 3, 1.2).
    #[must_use]
    pub fn prefixes(&self) -> Prefixes {
        let is_long = self.code_bits == 64;
        let mut found = Prefixes::default();
        for byte in &self.bytes[..self.len] {
            match byte {
                // Without effect in 64-bit mode.
                0x26 | 0x2e | 0x36 | 0x3e if is_long => {}
                0x26 => found.segment = Some(segment::ES),
                0x2e => found.segment = Some(segment::CS),
                0x36 => found.segment = Some(segment::SS),
                0x3e => found.segment = Some(segment::DS),
                0x64 => found.segment = Some(segment::FS),
                0x65 => found.segment = Some(segment::GS),
                0x67 => found.has_address_size = true,
                0x66 => found.has_operand_size = true,
                0xf0 | 0xf2 | 0xf3 => {}
                0x40..=0x4f if is_long => {}
                _ => break,
            }
            found.len += 1;
        }
        found
    }

    /// What is written to a control register: MOV (0F 22 /r) or LMSW of a register (0F 01 /6).
    #[must_use]
    pub fn control_register_write(&self) -> Option<ControlRegisterWrite> {
        let (opcode, modrm, rex) = self.control_register_access()?;
        let general = usize::from((modrm & 7) | (rex & 1) << 3);
        match opcode {
            0x22 => Some(ControlRegisterWrite { general, is_status_word: false }),
            0x01 if modrm & 0xf8 == 0xf0 => {
                Some(ControlRegisterWrite { general, is_status_word: true })
            }
            _ => None,
        }
    }

    /// Decodes an instruction that reads a control register into a general one: MOV (0F 20 /r), of
    /// 4 bytes outside 64-bit code, or SMSW (0F 01 /4), by the operand size.
    #[must_use]
    pub fn control_register_read(&self) -> Option<ControlRegisterRead> {
        const REX_W: u8 = 8;
        let (opcode, modrm, rex) = self.control_register_access()?;
        let general = usize::from((modrm & 7) | (rex & 1) << 3);
        let is_64 = self.code_bits == 64;
        let is_16 = (self.code_bits == 16) != self.prefixes().has_operand_size;
        let bytes = match opcode {
            0x20 => Some(if is_64 { 8 } else { 4 }),
            0x01 if modrm & 0xf8 == 0xe0 && rex & REX_W != 0 => Some(8),
            0x01 if modrm & 0xf8 == 0xe0 => Some(if is_16 { 2 } else { 4 }),
            _ => None,
        };
        bytes.map(|bytes| ControlRegisterRead { general, bytes })
    }

    /// Opcode behind 0F, ModRM byte, REX prefix or 0.
    fn control_register_access(&self) -> Option<(u8, u8, u8)> {
        let at = self.prefixes().len as usize;
        let &[0x0f, opcode, modrm] = self.bytes[..self.len].get(at..at + 3)? else { return None };
        let before = at.checked_sub(1).map(|at| self.bytes[at]);
        let rex = before.filter(|byte| self.code_bits == 64 && byte & 0xf0 == 0x40).unwrap_or(0);
        Some((opcode, modrm, rex))
    }

    fn address_bits(&self, prefixes: &Prefixes) -> u8 {
        match (self.code_bits, prefixes.has_address_size) {
            (64, false) => 64,
            (32, false) | (64 | 16, true) => 32,
            (_, _) => 16,
        }
    }
}

#[cfg(test)]
mod tests;
