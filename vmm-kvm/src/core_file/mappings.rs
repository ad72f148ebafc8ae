//! The linear memory that a guest's page tables map to RAM, in pieces.
//!
//! Tables may say anything. What is looked at is bounded, for each entry of the highest level
//! apart: tables that lead to themselves, as some kernels have on purpose, hide no other part.

use vmm_common::architecture::{cr0, cr4, efer};
use vmm_common::memory::GuestMemory;
use vmm_common::registers::CpuState;

/// A piece of linear memory, and the RAM behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub linear: u64,
    pub physical: u64,
    pub bytes: u64,
}

/// Pieces at most: a program header each.
const MOST: usize = 16_000;
/// Entries that are read beneath one of the highest level.
const ENTRIES: u32 = 1 << 19;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// EFER.LMA.
pub const fn is_long(state: &CpuState) -> bool {
    state.efer & efer::LMA != 0
}

/// What a processor in this state reaches, in ascending order.
pub fn of(state: &CpuState, memory: &impl GuestMemory) -> Vec<Mapping> {
    if state.cr0 & cr0::PG == 0 {
        return flat(memory);
    }
    let (is_pae, is_4_mib) = (state.cr4 & cr4::PAE != 0, state.cr4 & cr4::PSE != 0);
    let mut walk = Walk { memory, mapped: Vec::new(), left: 0, bits: 9, has_large: true };
    let (root, levels, top_entries) = match (is_long(state), is_pae) {
        (true, _) => (state.cr3 & ADDRESS, 4, 512),
        (false, true) => (state.cr3 & 0xffff_ffe0, 3, 4),
        (false, false) => {
            (walk.bits, walk.has_large) = (10, is_4_mib);
            (state.cr3 & 0xffff_f000, 2, 1024)
        }
    };
    for entry in 0..top_entries {
        walk.left = ENTRIES;
        walk.entry(root, entry, levels, 0);
    }
    walk.mapped
}

/// RAM as it is.
fn flat(memory: &impl GuestMemory) -> Vec<Mapping> {
    const STEP: u64 = 1 << 20;
    /// What 32-bit code reaches.
    const END: u64 = 1 << 32;
    let mut mapped = Vec::new();
    for at in (0..END).step_by(STEP as usize).filter(|at| memory.has(*at, STEP)) {
        add(&mut mapped, Mapping { linear: at, physical: at, bytes: STEP });
    }
    mapped
}

struct Walk<'a, M> {
    memory: &'a M,
    mapped: Vec<Mapping>,
    /// Entries that may still be read.
    left: u32,
    /// Of an index.
    bits: u32,
    has_large: bool,
}

impl<M: GuestMemory> Walk<'_, M> {
    /// An entry of a table of this level, 1 for those of pages.
    fn entry(&mut self, table: u64, index: u64, level: u32, base: u64) {
        let Some(left) = self.left.checked_sub(1).filter(|_| self.mapped.len() < MOST) else {
            return;
        };
        self.left = left;
        let shift = 12 + self.bits * (level - 1);
        let bytes = if self.bits == 10 { 4 } else { 8 };
        let mut value = [0; 8];
        let is_there = self.memory.read(table + index * bytes, &mut value[..bytes as usize]);
        let value = u64::from_le_bytes(value);
        if !is_there || value & PRESENT == 0 {
            return;
        }
        let linear = canonical(base | index << shift, self.bits == 9 && shift == 39);
        let is_large = self.has_large && value & LARGE != 0 && (level == 2 || level == 3);
        if level == 1 || is_large {
            let len = 1 << shift;
            let physical = value & ADDRESS & !(len - 1);
            let len = (0..=shift - 12).map(|half| len >> half);
            // The last large page may reach beyond the RAM.
            if let Some(bytes) = len.into_iter().find(|len| self.memory.has(physical, *len)) {
                add(&mut self.mapped, Mapping { linear, physical, bytes });
            }
            return;
        }
        for next in 0..1 << self.bits {
            self.entry(value & ADDRESS, next, level - 1, linear);
        }
    }
}

/// Bits 63:48 are as bit 47.
const fn canonical(linear: u64, is_top: bool) -> u64 {
    if is_top { ((linear << 16) as i64 >> 16) as u64 } else { linear }
}

/// Adds a piece, or makes the last one longer.
fn add(mapped: &mut Vec<Mapping>, next: Mapping) {
    match mapped.last_mut() {
        Some(last)
            if last.linear.wrapping_add(last.bytes) == next.linear
                && last.physical + last.bytes == next.physical =>
        {
            last.bytes += next.bytes;
        }
        _ => mapped.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const RAM_BYTES: u64 = 4 << 20;

    struct Ram(RefCell<Vec<u8>>);

    impl Ram {
        fn new(entries: &[(u64, u64)]) -> Self {
            let ram = Self(RefCell::new(vec![0; RAM_BYTES as usize]));
            for (at, entry) in entries {
                assert!(ram.write(*at, &entry.to_le_bytes()));
            }
            ram
        }
    }

    impl GuestMemory for Ram {
        fn read(&self, address: u64, to: &mut [u8]) -> bool {
            let is_there = self.has(address, to.len() as u64);
            if is_there {
                to.copy_from_slice(&self.0.borrow()[address as usize..][..to.len()]);
            }
            is_there
        }

        fn write(&self, address: u64, from: &[u8]) -> bool {
            let is_there = self.has(address, from.len() as u64);
            if is_there {
                self.0.borrow_mut()[address as usize..][..from.len()].copy_from_slice(from);
            }
            is_there
        }

        fn has(&self, address: u64, bytes: u64) -> bool {
            address.checked_add(bytes).is_some_and(|end| end <= RAM_BYTES)
        }
    }

    fn long_mode() -> CpuState {
        CpuState { cr0: 0x8000_0011, cr3: 0x1000, cr4: 0x20, efer: 0x500, ..CpuState::default() }
    }

    #[test]
    fn pieces_are_joined_and_upper_addresses_are_canonical() {
        let ram = Ram::new(&[
            (0x1000, 0x2003),
            (0x1ff8, 0x2003),
            (0x2000, 0x3003),
            // 2 MiB twice, and one beyond the RAM.
            (0x3000, 0x83),
            (0x3008, 0x20_0083),
            (0x3010, 0x8000_0083),
        ]);
        let piece = |linear| Mapping { linear, physical: 0, bytes: 4 << 20 };
        assert_eq!(of(&long_mode(), &ram), [piece(0), piece(0xffff_ff80_0000_0000)]);
        let state = CpuState { cr0: 0x11, ..long_mode() };
        assert_eq!(of(&state, &ram), [piece(0)], "without paging");
    }

    #[test]
    fn tables_that_lead_to_themselves_end_and_hide_no_other_part() {
        let ram = Ram::new(&[(0x1000, 0x1003), (0x1ff8, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)]);
        let mapped = of(&long_mode(), &ram);
        assert!(mapped.len() <= MOST);
        let last = mapped.last().expect("some are mapped");
        assert_eq!((last.linear, last.bytes), (0xffff_ff80_0000_0000, 2 << 20));
        // Every entry of the highest level leads to itself.
        let all: Vec<(u64, u64)> = (0..512).map(|entry| (0x1000 + 8 * entry, 0x1003)).collect();
        assert!(of(&long_mode(), &Ram::new(&all)).len() <= MOST);
    }

    #[test]
    fn paging_of_32_bits_has_pages_of_4_mib() {
        let ram = Ram::new(&[(0x1000, 0x83), (0x1c00, 0x2003), (0x2004, 0x5003)]);
        let state = CpuState { cr4: 0x10, efer: 0, ..long_mode() };
        assert_eq!(
            of(&state, &ram),
            [
                Mapping { linear: 0, physical: 0, bytes: 4 << 20 },
                Mapping { linear: 0xc000_1000, physical: 0x5000, bytes: 0x1000 },
            ]
        );
    }
}
