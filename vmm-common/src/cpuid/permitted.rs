//! The register bits that follow from a guest's CPUID: control registers accept the features that
//! it shows, and refuse those that it hides.

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
pub(crate) const CR4_ALWAYS: u64 = 0x7ff;

/// A bit of a control register, and the CPUID bit that announces it.
pub(crate) struct Announced {
    pub(crate) name: &'static str,
    pub(crate) bit: u32,
    pub(crate) feature: Feature,
}

const fn row(name: &'static str, bit: u32, feature: Feature) -> Announced {
    Announced { name, bit, feature }
}

pub(crate) const CR4_FEATURES: [Announced; 7] = [
    row("UMIP", 11, (7, Register::Ecx, 2)),
    row("FSGSBASE", 16, (7, Register::Ebx, 0)),
    row("PCIDE", 17, (1, Register::Ecx, 17)),
    row("OSXSAVE", 18, (1, Register::Ecx, 26)),
    row("SMEP", 20, (7, Register::Ebx, 7)),
    row("SMAP", 21, (7, Register::Ebx, 20)),
    row("PKE", 22, (7, Register::Ecx, 3)),
];

pub(crate) const EFER_FEATURES: [Announced; 3] = [
    row("SCE", 0, (0x8000_0001, Register::Edx, 11)),
    row("LME", 8, (0x8000_0001, Register::Edx, 29)),
    row("NXE", 11, (0x8000_0001, Register::Edx, 20)),
];

/// Leaf, register, bit.
pub(crate) type Feature = (u32, Register, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
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
        let sum = |rows: &[Announced]| {
            rows.iter().filter(|row| is_shown(row.feature)).map(|row| 1 << row.bit).sum()
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
