//! Whether executable pages of 2 MiB and 1 GiB may be in a guest's EPT: on processors with the
//! erratum of machine checks on page-size changes a guest could halt the machine by them
//! (CVE-2018-12207; Intel, "Machine Check Error Avoidance on Page Size Change").

use super::emulator::Beneath;

/// PSCHANGE_MC_NO of IA32_ARCH_CAPABILITIES (SDM vol. 4, 10Ah): the processor is free of the
/// erratum.
const PSCHANGE_MC_NO: u64 = 1 << 6;

/// Whether guests get pages of 4 KiB only: on an Intel processor that does not say that it is free
/// of the erratum. Bochs executes what is mapped, and has no TLB that could hold two sizes.
#[must_use]
pub fn needs_small_pages(is_intel: bool, arch_capabilities: u64, beneath: Beneath) -> bool {
    is_intel && arch_capabilities & PSCHANGE_MC_NO == 0 && beneath != Beneath::Bochs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pages_are_for_processors_that_say_they_are_free_of_the_erratum() {
        const NO: u64 = 0x40;
        assert!(needs_small_pages(true, 0, Beneath::Processor));
        assert!(needs_small_pages(true, !NO, Beneath::Processor));
        assert!(needs_small_pages(true, 0, Beneath::Hypervisor), "it would pass the bit on");
        assert!(!needs_small_pages(true, NO, Beneath::Processor));
        assert!(!needs_small_pages(true, 0, Beneath::Bochs));
        assert!(!needs_small_pages(false, 0, Beneath::Processor));
    }
}
