//! What a guest reaches, read back from what confines it.

mod isolation;
mod reach;

use alloc::vec::Vec;
use vmm_common::cpuid::{CpuidFeatures, CpuidResult, table};
use vmm_common::grant::{Grant, RamPiece, Vendor};

/// The grant of a guest with this RAM on a processor with all features.
pub fn grant(vendor: Vendor, ram: Vec<RamPiece>) -> Grant {
    let features =
        CpuidFeatures { has_local_apic: true, has_tsc_deadline: true, tsc_hz: 1_000_000_000 };
    let everything = |_, _| CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 };
    Grant::new(vendor, ram, &table(features, everything))
}
