//! The bitmaps of ports and MSRs that a VMCS points to: what is not granted exits.

use vmm_common::grant::Reach;

/// Words in the two I/O bitmaps, one bit a port, and in the MSR bitmap behind them: four parts,
/// reads low, reads high (from 0xc0000000), writes low, writes high, one bit an MSR. 1 leaves the
/// guest (SDM vol. 3, 25.6.4, 25.6.9).
pub const IO_WORDS: usize = 1024;
const PART_WORDS: usize = 128;
const PART_MSRS: u32 = 0x2000;
const HIGH: u32 = 0xc000_0000;

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

/// Ports, MSRs that are read, and MSRs that are written, which the bitmaps let pass.
#[cfg(test)]
pub fn read(words: &[u64]) -> (Vec<u16>, Vec<u32>, Vec<u32>) {
    let (io, msr) = words.split_at(IO_WORDS);
    let is_open = |words: &[u64], bit: u32| words[bit as usize / 64] >> (bit % 64) & 1 == 0;
    let ports = (0..=u16::MAX).filter(|port| is_open(io, u32::from(*port))).collect();
    let part = |number: usize, base: u32| {
        let words = &msr[number * PART_WORDS..][..PART_WORDS];
        (0..PART_MSRS).filter(move |bit| is_open(words, *bit)).map(move |bit| base + bit)
    };
    let msrs = |first: usize| part(first, 0).chain(part(first + 1, HIGH)).collect();
    (ports, msrs(0), msrs(2))
}
