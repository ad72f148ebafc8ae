//! CR0 and CR4 of a guest: which bits are the processor's business in VMX operation, and what a guest
//! that changes them gets (SDM vol. 3, 25.6.6 and 2.5).

use super::capabilities::Capabilities;
use crate::cpu::efer;
use crate::cpu::register::CR0_PG;

/// Protection enable.
pub const CR0_PE: u64 = 1 << 0;
const CR0_MP: u64 = 1 << 1;
const CR0_EM: u64 = 1 << 2;
/// Task switched.
pub const CR0_TS: u64 = 1 << 3;
const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
/// All bits of CR0 that exist: those above, NE, WP, AM.
const CR0_EXISTING: u64 = CR0_PE
    | CR0_MP
    | CR0_EM
    | CR0_TS
    | CR0_ET
    | 1 << 5
    | 1 << 16
    | 1 << 18
    | CR0_NW
    | CR0_CD
    | CR0_PG;
const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
/// What guests may have of CR4: VME to UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP, PKE. Not VMXE
/// and SMXE, not LA57, and nothing whose state nobody switches (CET, PKS, user interrupts).
const CR4_GUESTS: u64 = 0xfff | 1 << 16 | CR4_PCIDE | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22;

/// How CR0 and CR4 are split between guest and host. A bit in a mask reads from the shadow, and
/// leaves the guest when written with another value than the shadow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Of CR0.
    pub cr0_mask: u64,
    /// Of CR4. The shadow of these bits is always 0, so that an exit always means #GP.
    pub cr4_mask: u64,
    cr0_forced: u64,
    cr4_forced: u64,
}

/// What a MOV to CR0 depends on and changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// CR0 as the guest sees it.
    pub cr0: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// CS.L.
    pub is_code_64: bool,
}

/// The guest gets #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Split {
    /// For a processor with these capabilities, with unrestricted guests.
    #[must_use]
    pub const fn new(capabilities: &Capabilities) -> Self {
        let cr0_forced = capabilities.cr0_fixed0 & !(CR0_PE | CR0_PG);
        Self {
            cr0_mask: cr0_forced | !capabilities.cr0_fixed1 | CR0_NW | CR0_CD,
            cr4_mask: !(CR4_GUESTS & capabilities.cr4_fixed1),
            cr0_forced,
            cr4_forced: capabilities.cr4_fixed0,
        }
    }

    /// What CR0 really is when the guest sees this. Caches stay on.
    #[must_use]
    pub const fn real_cr0(&self, seen: u64) -> u64 {
        (seen & !self.cr0_mask) | self.cr0_forced
    }

    /// What CR4 really is when the guest sees this.
    #[must_use]
    pub const fn real_cr4(&self, seen: u64) -> u64 {
        (seen & !self.cr4_mask) | self.cr4_forced
    }
}

/// What the guest sees of a register.
#[must_use]
pub const fn seen(real: u64, shadow: u64, mask: u64) -> u64 {
    (real & !mask) | (shadow & mask)
}

/// CR0 and EFER after MOV to CR0 (SDM vol. 2, MOV to control registers; vol. 3, 10.8.5).
///
/// # Errors
/// [`Refused`] where the processor raises #GP.
pub const fn load_cr0(mode: Mode, value: u64) -> Result<Mode, Refused> {
    let is_paging = value & CR0_PG != 0;
    let was_paging = mode.cr0 & CR0_PG != 0;
    if value >> 32 != 0
        || (is_paging && value & CR0_PE == 0)
        || (value & CR0_NW != 0 && value & CR0_CD == 0)
    {
        return Err(Refused);
    }
    let mut efer = mode.efer;
    if is_paging && !was_paging && efer & efer::LME != 0 {
        if mode.cr4 & CR4_PAE == 0 || mode.is_code_64 {
            return Err(Refused);
        }
        efer |= efer::LMA;
    }
    if was_paging && !is_paging {
        let is_64 = efer & efer::LMA != 0 && mode.is_code_64;
        if is_64 || mode.cr4 & CR4_PCIDE != 0 {
            return Err(Refused);
        }
        efer &= !efer::LMA;
    }
    Ok(Mode { cr0: (value & CR0_EXISTING) | CR0_ET, efer, ..mode })
}

/// CR0 that LMSW asks for: PE, MP, EM and TS change, and PE is never cleared.
#[must_use]
pub const fn status_word(cr0: u64, value: u16) -> u64 {
    (cr0 & !(CR0_MP | CR0_EM | CR0_TS)) | (value & 0xf) as u64
}

/// PAE paging without IA-32e mode has four entries that the processor keeps.
#[must_use]
pub const fn has_pdptes(mode: Mode) -> bool {
    mode.cr0 & CR0_PG != 0 && mode.cr4 & CR4_PAE != 0 && mode.efer & efer::LMA == 0
}

#[cfg(test)]
mod tests {
    use super::super::capabilities::tests::skylake;
    use super::*;

    const RESET: Mode = Mode { cr0: 0x6000_0010, cr4: 0, efer: 0, is_code_64: false };

    #[test]
    fn a_guest_boots_with_numeric_errors_on_and_caches_off_as_far_as_it_sees() {
        let split = Split::new(&Capabilities::read(skylake));
        assert_eq!(split.real_cr0(0x6000_0010), 0x30);
        let shown = seen(split.real_cr0(0x6000_0010), 0x6000_0010, split.cr0_mask);
        assert_eq!(shown, 0x6000_0010);
        assert_eq!(split.real_cr4(0x20), 0x2020);
        assert_eq!(seen(0x2020, 0, split.cr4_mask), 0x20);
        assert_eq!(split.cr4_mask & 0x7000, 0x7000);
    }

    #[test]
    fn paging_with_lme_is_long_mode() {
        let ready = Mode { cr0: 0x11, cr4: 0x20, efer: 0x100, is_code_64: false };
        let long = load_cr0(ready, 0x8000_0011).expect("allowed");
        assert_eq!((long.cr0, long.efer), (0x8000_0011, 0x500));
        assert!(!has_pdptes(long));
        assert_eq!(load_cr0(Mode { cr4: 0, ..ready }, 0x8000_0011), Err(Refused));
        assert_eq!(load_cr0(Mode { is_code_64: true, ..ready }, 0x8000_0011), Err(Refused));
        assert_eq!(load_cr0(long, 0x11).map(|mode| mode.efer), Ok(0x100));
        assert_eq!(load_cr0(Mode { is_code_64: true, ..long }, 0x11), Err(Refused));
        let pae = load_cr0(Mode { efer: 0, ..ready }, 0x8000_0011).expect("allowed");
        assert!(has_pdptes(pae));
    }

    #[test]
    fn impossible_values_are_refused() {
        for value in [1 << 32, 0x8000_0010, 0x2000_0010] {
            assert_eq!(load_cr0(RESET, value), Err(Refused), "{value:#x}");
        }
        assert_eq!(load_cr0(RESET, 0x1).map(|mode| mode.cr0), Ok(0x11));
    }

    #[test]
    fn lmsw_never_leaves_protected_mode() {
        assert_eq!(status_word(0x11, 0xfff8), 0x19);
        assert_eq!(status_word(0x10, 1), 0x11);
    }
}
