//! EFER as a guest sees it: in the VMCB SVME is always set, as VMRUN demands; the guest never sees
//! it, and gets #GP for it as on a processor without SVM (APM vol. 2, 3.1.7).

use metal::architecture::cr0::PG;
use metal::architecture::efer::{LMA, LME, SVME};

/// What the VMCB holds when the guest has `value`.
#[must_use]
pub const fn to_vmcb(value: u64) -> u64 {
    value | SVME
}

/// What the guest has when the VMCB holds `value`.
#[must_use]
pub const fn from_vmcb(value: u64) -> u64 {
    value & !SVME
}

/// The guest's EFER after it has written `new` over `old`; None is #GP. LMA is the processor's.
#[must_use]
pub const fn written(old: u64, new: u64, allowed: u64, cr0: u64) -> Option<u64> {
    let has_reserved = new & !(allowed | LMA) != 0;
    let changes_mode = (old ^ new) & LME != 0 && cr0 & PG != 0;
    if has_reserved || changes_mode {
        return None;
    }
    Some((new & !LMA) | (old & LMA))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u64 = 0x901;

    #[test]
    fn long_mode_is_entered_as_kernels_do() {
        assert_eq!(written(0, 0x900, ALLOWED, 0x11), Some(0x900));
        assert_eq!(written(0xd00, 0xd01, ALLOWED, 0x8000_0011), Some(0xd01));
        // LMA written as 0 stays.
        assert_eq!(written(0xd00, 0x901, ALLOWED, 0x8000_0011), Some(0xd01));
    }

    #[test]
    fn reserved_bits_and_svme_are_refused() {
        assert_eq!(written(0, 0x1000, ALLOWED, 0), None);
        assert_eq!(written(0, 0x800, 0x101, 0), None);
        assert_eq!(written(0, 1 << 63, ALLOWED, 0), None);
    }

    #[test]
    fn lme_cannot_change_under_paging() {
        assert_eq!(written(0, 0x100, ALLOWED, 0x8000_0011), None);
        assert_eq!(written(0x500, 0, ALLOWED, 0x8000_0011), None);
    }

    #[test]
    fn svme_is_set_and_hidden() {
        assert_eq!(to_vmcb(0x500), 0x1500);
        assert_eq!(from_vmcb(0x1500), 0x500);
    }
}
