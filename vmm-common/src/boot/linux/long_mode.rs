//! The mode of a 64-bit entry (boot.rst, "64-bit Boot Protocol"), and the descriptors of both.

use super::super::protected_mode_registers;
use super::{Entry, SELECTORS};
use crate::architecture::{cr0, cr4, efer};
use crate::registers::{CpuState, segment};
use alloc::vec;
use alloc::vec::Vec;

/// Null twice, then code and data at [`SELECTORS`], flat. A kernel loads its segments from there.
pub(super) fn gdt(entry: Entry) -> Vec<u8> {
    const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
    const CODE_64: u64 = 0x00af_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    let code = match entry {
        Entry::Protected(_) => CODE_32,
        Entry::Long(_) => CODE_64,
    };
    [0, 0, code, DATA].into_iter().flat_map(u64::to_le_bytes).collect()
}

/// PML4, page-directory pointers, four directories.
pub(super) const PAGE_TABLE_BYTES: u64 = 6 * 0x1000;

/// Identity maps 4 GiB in pages of 2 MiB; the tables lie at `address`.
pub(super) fn page_tables(address: u64) -> Vec<u8> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    const TABLE: u64 = 0x1000;
    let mut entries = vec![0_u64; PAGE_TABLE_BYTES as usize / 8];
    entries[0] = (address + TABLE) | PRESENT_WRITABLE;
    for gib in 0..4 {
        entries[512 + gib] = (address + TABLE * (2 + gib as u64)) | PRESENT_WRITABLE;
    }
    for (page, entry) in entries[1024..].iter_mut().enumerate() {
        *entry = (page as u64) << 21 | LARGE | PRESENT_WRITABLE;
    }
    entries.into_iter().flat_map(u64::to_le_bytes).collect()
}

pub(super) fn registers(entry: u64, page_tables: u64, stack: u64) -> CpuState {
    /// 64-bit execute/read code, accessed, present, 4 KiB granularity.
    const CODE_64: u32 = 0xa09b;
    let mut registers = protected_mode_registers(0, stack, SELECTORS);
    registers.rip = entry;
    registers.cr0 |= cr0::PG;
    registers.cr3 = page_tables;
    registers.cr4 = cr4::PAE;
    registers.efer = efer::LME | efer::LMA;
    registers.segments[segment::CS].access = CODE_64;
    registers
}
