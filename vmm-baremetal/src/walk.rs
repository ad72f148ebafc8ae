//! A guest's own page tables, as far as the hypervisor has to follow them: where an instruction's bytes
//! and a string's memory operand lie. Permissions are not checked: the guest's processor did that
//! for the fetch, and string operands are the guest's own memory either way.

use crate::cpu::register::CR0_PG;
use crate::cpu::{cr4, efer};
use crate::ram::GuestRam;

/// The registers that say how linear addresses are translated (SDM vol. 3, 4.1.1).
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
}

const CR4_PSE: u64 = 1 << 4;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl Paging {
    /// Copies what lies at `linear` until something is not mapped or not RAM; how many bytes.
    pub fn read(&self, ram: &GuestRam, linear: u64, to: &mut [u8]) -> usize {
        self.pieces(ram, linear, to.len(), |physical, at, len| {
            ram.read(physical, &mut to[at..at + len])
        })
    }

    /// Copies `from` to `linear` until something is not mapped or not RAM; how many bytes.
    pub fn write(&self, ram: &GuestRam, linear: u64, from: &[u8]) -> usize {
        self.pieces(ram, linear, from.len(), |physical, at, len| {
            ram.write(physical, &from[at..at + len])
        })
    }

    /// Calls `copy` for each part of a page: where it is, from which byte on, and how many. How many
    /// bytes were copied before it failed.
    fn pieces(
        &self,
        ram: &GuestRam,
        linear: u64,
        len: usize,
        mut copy: impl FnMut(u64, usize, usize) -> bool,
    ) -> usize {
        const PAGE_BYTES: u64 = 4096;
        let mut done = 0;
        while done < len {
            let at = linear.wrapping_add(done as u64);
            let here = (len - done).min((PAGE_BYTES - at % PAGE_BYTES) as usize);
            let physical = self.translate(at, |address| ram.word(address));
            if !physical.is_some_and(|physical| copy(physical, done, here)) {
                break;
            }
            done += here;
        }
        done
    }

    /// The guest-physical address of `linear`; `word` reads 64 bits of RAM at a guest-physical
    /// address. None where nothing is mapped.
    pub fn translate(&self, linear: u64, word: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        if self.cr0 & CR0_PG == 0 {
            Some(linear & 0xffff_ffff)
        } else if self.efer & efer::LMA != 0 {
            levels(self.cr3 & ADDRESS, &[39, 30, 21, 12], linear, word)
        } else if self.cr4 & cr4::PAE != 0 {
            let linear = linear & 0xffff_ffff;
            levels(self.cr3 & 0xffff_ffe0, &[30, 21, 12], linear, word)
        } else {
            self.two_levels(linear & 0xffff_ffff, word)
        }
    }

    /// 32-bit paging (SDM vol. 3, 4.3).
    fn two_levels(&self, linear: u64, word: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let entry = |table: u64, index: u64| {
            let pair = word((table + index * 4) & !7)?;
            let entry = if index & 1 == 0 { pair & 0xffff_ffff } else { pair >> 32 };
            (entry & PRESENT != 0).then_some(entry)
        };
        let directory = entry(self.cr3 & 0xffff_f000, linear >> 22)?;
        if directory & LARGE != 0 && self.cr4 & CR4_PSE != 0 {
            let high = (directory >> 13 & 0xff) << 32;
            return Some(high | (directory & 0xffc0_0000) | (linear & 0x3f_ffff));
        }
        let page = entry(directory & 0xffff_f000, linear >> 12 & 0x3ff)?;
        Some((page & 0xffff_f000) | (linear & 0xfff))
    }
}

/// Tables of 64-bit entries, the first one indexed by the bits from `shifts[0]` on.
fn levels(
    root: u64,
    shifts: &[u32],
    linear: u64,
    word: impl Fn(u64) -> Option<u64>,
) -> Option<u64> {
    let mut table = root;
    for shift in shifts {
        let entry = word(table + (linear >> shift & 0x1ff) * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        let is_page = *shift == 12 || (entry & LARGE != 0 && *shift <= 30);
        if is_page {
            let offset = (1 << shift) - 1;
            return Some((entry & ADDRESS & !offset) | (linear & offset));
        }
        table = entry & ADDRESS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn check(paging: Paging, ram: &[(u64, u64)], linear: u64, physical: Option<u64>) {
        let ram: HashMap<u64, u64> = ram.iter().copied().collect();
        let word = |at: u64| Some(ram.get(&at).copied().unwrap_or(0));
        assert_eq!(paging.translate(linear, word), physical, "{linear:#x}");
    }

    const LONG: Paging = Paging { cr0: 1 << 31 | 1, cr3: 0x1000, cr4: 0x20, efer: 0x500 };

    #[test]
    fn four_levels_with_all_page_sizes() {
        let ram = [
            (0x1000, 0x2003),
            (0x2000, 0x3003),
            (0x2008, 0x4000_0083),
            (0x3000, 0x4003),
            (0x3008, 0x60_0083),
            (0x4008, 0x1234_5003),
        ];
        check(LONG, &ram, 0x1abc, Some(0x1234_5abc));
        check(LONG, &ram, 0x20_0abc, Some(0x60_0abc));
        check(LONG, &ram, 0x4012_3456, Some(0x4012_3456));
        check(LONG, &ram, 0x2000, None);
        check(LONG, &ram, 1 << 39, None);
    }

    #[test]
    fn thirty_two_bit_tables_and_none() {
        let paging = Paging { efer: 0, cr4: 0x10, ..LONG };
        let ram = [(0x1000, 0x3003 << 32 | 0x80_0083), (0x3000, 0x7003)];
        check(paging, &ram, 0x1234, Some(0x80_1234));
        check(paging, &ram, 0x40_0123, Some(0x7123));
        check(Paging { cr0: 1, ..paging }, &[], 0x1234, Some(0x1234));
    }
}
