//! The bitmaps of ports and MSRs that a VMCS points to: what is not granted exits.

use vmm_common::grant::Reach;

/// Words in the two I/O bitmaps, one bit a port, and in the MSR bitmap behind them: four parts,
/// reads low, reads high (from 0xc0000000), writes low, writes high, one bit an MSR. 1 leaves the
/// guest (SDM vol. 3, 25.6.4, 25.6.9).
pub const IO_WORDS: usize = 1024;
pub(super) const PART_WORDS: usize = 128;
pub(super) const PART_MSRS: u32 = 0x2000;
pub(super) const HIGH: u32 = 0xc000_0000;

/// Denies everything but what the guest reaches.
pub fn fill(words: &mut [u64], reach: &Reach) {
    words.fill(u64::MAX);
    let (io, msr) = words.split_at_mut(IO_WORDS);
    for port in &reach.ports {
        io[usize::from(*port) / 64] &= !(1 << (port % 64));
    }
    for (first_part, indices) in [(0, &reach.msr_reads), (2, &reach.msr_writes)] {
        for &index in indices {
            let part = first_part + usize::from(index >= HIGH);
            let word = part * PART_WORDS + (index % PART_MSRS) as usize / 64;
            msr[word] &= !(1 << (index % 64));
        }
    }
}
