//! A processor's registers as data: what a VM boots with, and what a dump shows.

use crate::architecture::cr0;
use core::fmt;

/// A segment register with its hidden part (SDM vol. 3, 3.4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes, less one.
    pub limit: u32,
    /// Access rights as in a VMCS (SDM vol. 3, 25.4.1): type in 3:0, S 4, DPL 6:5, P 7, AVL 12,
    /// L 13, D/B 14, G 15, unusable 16.
    pub access: u32,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes, less one.
    pub limit: u16,
}

/// The most instruction bytes a dump shows: no x86 instruction is longer than 15.
pub const INSTRUCTION_BYTES: usize = 15;

/// One processor's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15 (the order of their encoding).
    pub general: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// ES, CS, SS, DS, FS, GS (the order of their encoding), then LDTR and TR.
    pub segments: [Segment; 8],
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
    /// The bytes at CS:RIP, as far as they could be read.
    pub instruction: [u8; INSTRUCTION_BYTES],
    /// How many of them could be read.
    pub instruction_len: u8,
}

impl CpuState {
    /// The registers after INIT (SDM vol. 3, table 10-1), but for RIP and CS, which are 0, and EDX.
    #[must_use]
    pub fn after_init() -> Self {
        /// RFLAGS: bit 1 always reads 1.
        const RFLAGS_FIXED: u64 = 1 << 1;
        /// Cache disabled and not write-through, extension type.
        const CR0_RESET: u64 = cr0::CD | cr0::NW | cr0::ET;
        /// Read/write data, accessed, present.
        const DATA: u32 = 0x93;
        /// Execute/read code, accessed, present.
        const CODE: u32 = 0x9b;
        /// LDT, present.
        const LDT: u32 = 0x82;
        /// Busy 32-bit TSS, present. (VM entry requires a busy one.)
        const TSS: u32 = 0x8b;
        let table = TableRegister { base: 0, limit: 0xffff };
        let data = Segment { selector: 0, base: 0, limit: 0xffff, access: DATA };
        let mut segments = [data; 8];
        segments[segment::CS].access = CODE;
        segments[segment::LDTR].access = LDT;
        segments[segment::TR].access = TSS;
        Self {
            rflags: RFLAGS_FIXED,
            cr0: CR0_RESET,
            segments,
            gdtr: table,
            idtr: table,
            ..Self::default()
        }
    }

    /// The same at a start-up IPI with this vector: real mode at the start of that page of the
    /// first megabyte (SDM vol. 3, 9.4.4).
    #[must_use]
    pub fn started_up(vector: u8) -> Self {
        /// A processor of family 6: what Linux's KVM leaves where CPUID has no table.
        const SIGNATURE: u64 = 0x600;
        let mut state = Self::after_init();
        state.general[general::RDX] = SIGNATURE;
        let code = &mut state.segments[segment::CS];
        code.selector = u16::from(vector) << 8;
        code.base = u64::from(vector) << 12;
        state
    }

    /// CR0 of a processor that INIT gives these registers, where it was `before`: INIT does not
    /// change CD and NW (SDM vol. 3, table 10-1).
    #[must_use]
    pub const fn cr0_from(&self, before: u64) -> u64 {
        const KEPT: u64 = cr0::CD | cr0::NW;
        self.cr0 & !KEPT | before & KEPT
    }
}

/// The place of each general register in [`CpuState::general`].
#[allow(missing_docs)]
pub mod general {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

/// The place of each segment register in [`CpuState::segments`].
#[allow(missing_docs)]
pub mod segment {
    pub const ES: usize = 0;
    pub const CS: usize = 1;
    pub const SS: usize = 2;
    pub const DS: usize = 3;
    pub const FS: usize = 4;
    pub const GS: usize = 5;
    pub const LDTR: usize = 6;
    pub const TR: usize = 7;
}

const GENERAL_NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8 ", "r9 ", "r10", "r11", "r12",
    "r13", "r14", "r15",
];
const SEGMENT_NAMES: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];

impl fmt::Display for CpuState {
    /// A dump of some 15 lines, each ended by a newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rip {:016x}  rflags {:08x}", self.rip, self.rflags)?;
        for (names, values) in GENERAL_NAMES.chunks(4).zip(self.general.chunks(4)) {
            for (i, (name, value)) in names.iter().zip(values).enumerate() {
                write!(f, "{}{name} {value:016x}", if i == 0 { "" } else { "  " })?;
            }
            writeln!(f)?;
        }
        let (cr0, cr2, cr3, cr4) = (self.cr0, self.cr2, self.cr3, self.cr4);
        writeln!(f, "cr0 {cr0:08x}  cr2 {cr2:016x}  cr3 {cr3:016x}  cr4 {cr4:08x}")?;
        writeln!(f, "efer {:08x}", self.efer)?;
        for (name, s) in SEGMENT_NAMES.iter().zip(&self.segments) {
            let (selector, base, limit, access) = (s.selector, s.base, s.limit, s.access);
            writeln!(f, "{name:4} {selector:04x} base {base:016x} limit {limit:08x} {access:05x}")?;
        }
        writeln!(f, "gdtr base {:016x} limit {:04x}", self.gdtr.base, self.gdtr.limit)?;
        writeln!(f, "idtr base {:016x} limit {:04x}", self.idtr.base, self.idtr.limit)?;
        write!(f, "code")?;
        for byte in &self.instruction[..usize::from(self.instruction_len).min(INSTRUCTION_BYTES)] {
            write!(f, " {byte:02x}")?;
        }
        writeln!(f, "{}", if self.instruction_len == 0 { " (unreadable)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_processor_begins_at_its_page_with_cr0_as_init_leaves_it() {
        for (vector, selector, base) in
            [(0x00, 0, 0), (0x9a, 0x9a00, 0x9_a000), (0xff, 0xff00, 0xf_f000)]
        {
            let state = CpuState::started_up(vector);
            let code = state.segments[segment::CS];
            assert_eq!((code.selector, code.base, code.limit), (selector, base, 0xffff));
            assert_eq!((state.rip, state.rflags, state.cr0), (0, 2, 0x6000_0010));
            // Paging, protection and FPU bits go; the cache stays as it was.
            assert_eq!(state.cr0_from(0x8005_003b), 0x10);
            assert_eq!(state.cr0_from(0xe005_003b), 0x6000_0010);
            assert_eq!(state.cr0_from(0xc005_003b), 0x4000_0010);
        }
    }
}
