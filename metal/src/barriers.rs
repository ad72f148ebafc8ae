//! Barriers between VMs. They drop what the processor keeps of one VM and another could read by
//! speculation: branch predictions (IBPB), the first-level data cache (L1TF), load and store
//! buffers (MDS, TAA, MMIO stale data, TSA). [`Barriers`] decides which of them a processor needs
//! and has (SDM vol. 4, 2.1; Intel, "Affected Processors"; AMD, "Software Techniques for Managing
//! Speculation").

use crate::{cpu, descriptors};
use core::arch::asm;
use vmm_common::cpuid::CpuidResult;

const IA32_PRED_CMD: u32 = 0x49;
const IA32_FLUSH_CMD: u32 = 0x10b;

/// Barriers at a switch to another VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Barriers {
    /// Predictions of indirect branches are dropped.
    pub has_ibpb: bool,
    /// The first-level data cache is written back and dropped.
    pub has_l1d_flush: bool,
    /// Buffers are overwritten by VERW.
    pub has_verw: bool,
}

impl Barriers {
    /// The barriers that this processor needs and has.
    #[must_use]
    pub fn of_processor() -> Self {
        Self::by(cpu::cpuid, arch_capabilities())
    }

    fn by(cpuid: impl Fn(u32, u32) -> CpuidResult, flaws: u64) -> Self {
        /// Bits of IA32_ARCH_CAPABILITIES.
        const RDCL_NO: u64 = 1 << 0;
        const SKIP_L1DFL_VMENTRY: u64 = 1 << 3;
        const MDS_NO: u64 = 1 << 5;
        const TAA_NO: u64 = 1 << 8;
        const FB_CLEAR: u64 = 1 << 17;
        /// Bits of leaf 7: EBX; EDX.
        const RTM: u32 = 1 << 11;
        const MD_CLEAR: u32 = 1 << 10;
        const IBRS_AND_IBPB: u32 = 1 << 26;
        const L1D_FLUSH: u32 = 1 << 28;
        /// Bits of leaf 8000_0008h, EBX; of leaf 8000_0021h, EAX.
        const AMD_IBPB: u32 = 1 << 12;
        const VERW_CLEAR: u32 = 1 << 5;
        let leaf = |first: u32, leaf| match cpuid(first, 0).eax >= leaf {
            true => cpuid(leaf, 0),
            false => CpuidResult::default(),
        };
        let (seven, amd) = (leaf(0, 7), leaf(0x8000_0000, 0x8000_0008));
        let amd_21 = leaf(0x8000_0000, 0x8000_0021);
        let has = |word: u32, bit| word & bit != 0;
        let is_free_of = |no: u64| flaws & no != 0;
        let leaks_buffers = !is_free_of(MDS_NO)
            || (has(seven.ebx, RTM) && !is_free_of(TAA_NO))
            || flaws & FB_CLEAR != 0;
        Self {
            has_ibpb: has(seven.edx, IBRS_AND_IBPB) || has(amd.ebx, AMD_IBPB),
            has_l1d_flush: has(seven.edx, L1D_FLUSH)
                && !is_free_of(RDCL_NO)
                && !is_free_of(SKIP_L1DFL_VMENTRY),
            has_verw: has(seven.edx, MD_CLEAR) && leaks_buffers || has(amd_21.eax, VERW_CLEAR),
        }
    }

    /// Whether this processor needs, or has, no barrier.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        !self.has_ibpb && !self.has_l1d_flush && !self.has_verw
    }

    /// Their names, for messages.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all =
            [(self.has_ibpb, "IBPB"), (self.has_l1d_flush, "L1D flush"), (self.has_verw, "VERW")];
        all.into_iter().filter_map(|(is_used, name)| is_used.then_some(name))
    }

    /// Executes them.
    #[inline(never)]
    pub fn execute(self) {
        if self.has_ibpb {
            // SAFETY: the processor has the command; it changes no state that software sees.
            unsafe { cpu::write_msr(IA32_PRED_CMD, 1) };
        }
        if self.has_l1d_flush {
            // SAFETY: as above.
            unsafe { cpu::write_msr(IA32_FLUSH_CMD, 1) };
        }
        if self.has_verw {
            let selector = descriptors::DATA;
            // SAFETY: it sets ZF; only the form with a memory operand overwrites buffers.
            unsafe { asm!("verw word ptr [{}]", in(reg) &raw const selector, options(nostack)) };
        }
    }
}

/// IA32_ARCH_CAPABILITIES: the flaws that the processor is free of; 0 where it lacks the MSR (SDM
/// vol. 4).
#[must_use]
pub fn arch_capabilities() -> u64 {
    const IA32_ARCH_CAPABILITIES: u32 = 0x10a;
    const HAS_IT: u32 = 1 << 29;
    let is_there = cpu::cpuid(0, 0).eax >= 7 && cpu::cpuid(7, 0).edx & HAS_IT != 0;
    if is_there { cpu::read_msr(IA32_ARCH_CAPABILITIES) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(ebx_7: u32, edx_7: u32, flaws: u64) -> String {
        let cpuid = |leaf, _| match leaf {
            0 => CpuidResult { eax: 0x16, ..CpuidResult::default() },
            7 => CpuidResult { ebx: ebx_7, edx: edx_7, ..CpuidResult::default() },
            _ => CpuidResult::default(),
        };
        Barriers::by(cpuid, flaws).names().collect::<Vec<_>>().join("+")
    }

    #[test]
    fn an_intel_processor_needs_what_its_flaws_are_and_its_microcode_has() {
        // IBPB, MD_CLEAR, L1D_FLUSH, ARCH_CAPABILITIES.
        const ALL: u32 = 1 << 26 | 1 << 10 | 1 << 28 | 1 << 29;
        assert_eq!(by(0, ALL, 0), "IBPB+L1D flush+VERW", "Skylake");
        assert_eq!(by(1 << 11, ALL, 0x2b), "IBPB+VERW", "Cascade Lake: TAA");
        assert_eq!(by(0, ALL, 0x2b), "IBPB");
        assert_eq!(by(0, ALL, 0x2b | 1 << 17), "IBPB+VERW", "stale data of MMIO");
        assert_eq!(by(0, ALL, 0x28), "IBPB", "a hypervisor beneath flushes");
        assert_eq!(by(0, 0, 0), "", "an old microcode, and the emulators");
    }

    #[test]
    fn an_amd_processor_says_so_in_leaves_of_its_own() {
        let by = |ebx_8, eax_21, most| {
            let cpuid = |leaf, _| match leaf {
                0x8000_0000 => CpuidResult { eax: most, ..CpuidResult::default() },
                0x8000_0008 => CpuidResult { ebx: ebx_8, ..CpuidResult::default() },
                0x8000_0021 => CpuidResult { eax: eax_21, ..CpuidResult::default() },
                _ => CpuidResult::default(),
            };
            Barriers::by(cpuid, 0)
        };
        let none = Barriers::default();
        assert_eq!(by(1 << 12, 0, 0x8000_0008), Barriers { has_ibpb: true, ..none });
        assert_eq!(by(0, 1 << 5, 0x8000_0021), Barriers { has_verw: true, ..none });
        assert_eq!(by(1 << 12, 1 << 5, 0x8000_0007), none);
        assert!(none.is_empty());
    }
}
