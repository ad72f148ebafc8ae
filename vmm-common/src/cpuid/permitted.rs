//! The register bits that follow from what a guest's CPUID shows: what it shows, control registers
//! do; what it hides, they refuse.

use super::{CpuidEntry, lookup};

/// Bits that a guest may set; setting any other raises #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permitted {
    /// Of CR4 (SDM vol. 3, 2.5).
    pub cr4: u64,
    /// Of IA32_EFER, less LMA, which the processor keeps (SDM vol. 3, 2.2.1; APM vol. 2, 3.1.7).
    pub efer: u64,
    /// Of XCR0 (SDM vol. 1, 13.3); 0 without XSAVE.
    pub xcr0: u64,
}

/// VME to OSXMMEXCPT. Every processor with long mode has them, and kernels set them unasked, as KVM
/// allows where CPUID hides VME or MCE.
const CR4_ALWAYS: u64 = 0x7ff;

/// A bit of CR4, and the CPUID bit that announces it: leaf, register, bit.
const CR4_FEATURES: [(u64, Feature); 7] = [
    (1 << 11, (7, Register::Ecx, 2)),  // UMIP
    (1 << 16, (7, Register::Ebx, 0)),  // FSGSBASE
    (1 << 17, (1, Register::Ecx, 17)), // PCIDE
    (1 << 18, (1, Register::Ecx, 26)), // OSXSAVE
    (1 << 20, (7, Register::Ebx, 7)),  // SMEP
    (1 << 21, (7, Register::Ebx, 20)), // SMAP
    (1 << 22, (7, Register::Ecx, 3)),  // PKE
];

const EFER_FEATURES: [(u64, Feature); 3] = [
    (1 << 0, (0x8000_0001, Register::Edx, 11)),  // SCE
    (1 << 8, (0x8000_0001, Register::Edx, 29)),  // LME
    (1 << 11, (0x8000_0001, Register::Edx, 20)), // NXE
];

type Feature = (u32, Register, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Ebx,
    Ecx,
    Edx,
}

impl Permitted {
    /// What a guest with this CPUID may set.
    #[must_use]
    pub fn by(table: &[CpuidEntry]) -> Self {
        let is_shown = |(leaf, register, bit): Feature| {
            let result = lookup(table, leaf, 0);
            let word = match register {
                Register::Ebx => result.ebx,
                Register::Ecx => result.ecx,
                Register::Edx => result.edx,
            };
            word >> bit & 1 != 0
        };
        let sum = |features: &[(u64, Feature)]| {
            features.iter().filter(|(_, feature)| is_shown(*feature)).map(|(bit, _)| bit).sum()
        };
        let cr4: u64 = sum(&CR4_FEATURES);
        Self {
            cr4: CR4_ALWAYS | cr4,
            efer: sum(&EFER_FEATURES),
            xcr0: lookup(table, 0xd, 0).eax.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FEATURES, everything};
    use super::super::{CpuidResult, table};
    use super::*;

    #[test]
    fn what_is_hidden_is_refused() {
        let permitted = Permitted::by(&table(FEATURES, everything));
        assert_eq!(permitted.cr4, 0x35_0fff, "no VMXE, SMXE, PCIDE, PKE, CET");
        assert_eq!((permitted.efer, permitted.xcr0), (0x901, 0xe7));
    }

    #[test]
    fn a_processor_without_features_gets_what_all_have() {
        let permitted = Permitted::by(&table(FEATURES, |_, _| CpuidResult::default()));
        assert_eq!(permitted, Permitted { cr4: 0x7ff, efer: 0, xcr0: 0 });
    }
}
