//! The processor's rules for writes to CR0 and CR4, for those writes that
//! exit.

use metal::architecture::{cr0, cr4, efer};

/// All bits of CR0 that exist.
const CR0_EXISTING: u64 = cr0::PE
    | cr0::MP
    | cr0::EM
    | cr0::TS
    | cr0::ET
    | cr0::NE
    | cr0::WP
    | cr0::AM
    | cr0::NW
    | cr0::CD
    | cr0::PG;

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

/// CR0 and EFER after MOV to CR0 (SDM vol. 2, MOV to control registers; vol. 3, 10.8.5).
///
/// # Errors
/// [`Refused`] where the processor raises #GP.
pub const fn load_cr0(mode: Mode, value: u64) -> Result<Mode, Refused> {
    let is_paging = value & cr0::PG != 0;
    let was_paging = mode.cr0 & cr0::PG != 0;
    if value >> 32 != 0
        || (is_paging && value & cr0::PE == 0)
        || (value & cr0::NW != 0 && value & cr0::CD == 0)
    {
        return Err(Refused);
    }
    let mut efer = mode.efer;
    if is_paging && !was_paging && efer & efer::LME != 0 {
        if mode.cr4 & cr4::PAE == 0 || mode.is_code_64 {
            return Err(Refused);
        }
        efer |= efer::LMA;
    }
    if was_paging && !is_paging {
        let is_64 = efer & efer::LMA != 0 && mode.is_code_64;
        if is_64 || mode.cr4 & cr4::PCIDE != 0 {
            return Err(Refused);
        }
        efer &= !efer::LMA;
    }
    Ok(Mode { cr0: (value & CR0_EXISTING) | cr0::ET, efer, ..mode })
}

/// CR0 that LMSW asks for: PE, MP, EM and TS change, and PE is never cleared.
#[must_use]
pub const fn status_word(old: u64, value: u16) -> u64 {
    (old & !(cr0::MP | cr0::EM | cr0::TS)) | (value & 0xf) as u64
}

/// PAE paging without IA-32e mode has four entries that the processor keeps.
#[must_use]
pub const fn has_pdptes(mode: Mode) -> bool {
    mode.cr0 & cr0::PG != 0 && mode.cr4 & cr4::PAE != 0 && mode.efer & efer::LMA == 0
}

/// Whether a guest in this state may set CR4 to `value`; #GP if not (SDM vol. 3, 2.5).
#[must_use]
pub const fn accepts_cr4(value: u64, old: u64, cr3: u64, efer: u64, allowed: u64) -> bool {
    const CR3_PCID: u64 = 0xfff;
    let is_long = efer & efer::LMA != 0;
    let begins_pcid = value & !old & cr4::PCIDE != 0;
    value & !allowed == 0
        && !(is_long && value & cr4::PAE == 0)
        && !(begins_pcid && (!is_long || cr3 & CR3_PCID != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Mode = Mode { cr0: 0x6000_0010, cr4: 0, efer: 0, is_code_64: false };

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

    const LONG: u64 = efer::LMA;

    #[test]
    fn what_a_guest_cannot_have_is_refused() {
        let accepts = |value, efer| accepts_cr4(value, 0x20, 0x1000, efer, 0x77_0fff);
        assert!(accepts(0x6a0, LONG));
        for refused in [1 << 13 | 0x20, 1 << 14 | 0x20, 1 << 12 | 0x20, 1 << 23 | 0x20, 1 << 40] {
            assert!(!accepts(refused, LONG), "{refused:#x}");
        }
    }

    #[test]
    fn long_mode_keeps_pae_and_pcid_begins_clean() {
        let accepts = |value, cr3, efer| accepts_cr4(value, 0x20, cr3, efer, 0x77_0fff);
        assert!(!accepts(0, 0x1000, LONG));
        assert!(accepts(0, 0x1000, 0));
        assert!(accepts(cr4::PCIDE | cr4::PAE, 0x1000, LONG));
        assert!(!accepts(cr4::PCIDE | cr4::PAE, 0x1001, LONG));
        assert!(!accepts(cr4::PCIDE | cr4::PAE, 0x1000, 0));
        assert!(accepts_cr4(cr4::PCIDE | cr4::PAE, cr4::PCIDE, 0x1001, LONG, 0x77_0fff));
    }
}
