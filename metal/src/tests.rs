//! What a guest reaches, read back from what confines it.

mod isolation;
mod reach;

use crate::carve::Region;
use crate::frames::{FRAME_BYTES, Frames};
use crate::loader::multiboot::Range;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use vmm_common::cpuid::{CpuidFeatures, CpuidResult, table};
use vmm_common::grant::{Grant, RamPiece, Vendor};

/// The grant of a guest with this RAM on a processor with all features.
pub fn grant(vendor: Vendor, ram: Vec<RamPiece>) -> Grant {
    let features = CpuidFeatures {
        has_local_apic: true,
        has_tsc_deadline: true,
        tsc_hz: 1_000_000_000,
        processors: 1,
    };
    let everything = |_, _| CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 };
    Grant::new(vendor, ram, &table(features, everything))
}

#[derive(Clone)]
#[repr(align(4096))]
struct Page(#[allow(dead_code)] [u8; 4096]);

/// Frames that are the test's for ever.
pub fn frames(count: usize) -> Frames {
    let begin = Box::leak(vec![Page([0; 4096]); count].into_boxed_slice()).as_mut_ptr() as u64;
    // The memory was leaked for these frames alone.
    Frames::new(Region::of(Range { begin, end: begin + count as u64 * FRAME_BYTES }))
}
