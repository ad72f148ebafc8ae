//! The memory map that every protocol hands over, as the BIOS call e820 would: sorted, no byte
//! twice.

use alloc::vec::Vec;
use core::ops;

/// Where conventional memory ends and the BIOS area begins.
pub(super) const LOW_MEMORY_END: u64 = 0xa_0000;
/// Where extended memory begins.
pub(super) const HIGH_MEMORY: u64 = 0x10_0000;
/// Where in the BIOS area firmware keeps its tables. What lies before is a display's memory and the
/// ROMs of adapters on a PC, which no memory map lists.
pub(super) const TABLES: u64 = 0xe_0000;

/// A range of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) begin: u64,
    pub(super) len: u64,
    pub(super) kind: RangeKind,
}

/// What a range is, by the numbers that e820 gives them (ACPI 6.5, table 15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RangeKind {
    Ram = 1,
    Reserved = 2,
}

/// RAM up to `ram_bytes` and from 4 GiB on, less what is `reserved`, each from its
/// begin to its end.
pub(super) fn with_reserved(
    ram_bytes: u64,
    high_ram: &ops::Range<u64>,
    mut reserved: Vec<(u64, u64)>,
) -> Vec<Range> {
    reserved.push((TABLES, ram_bytes.min(HIGH_MEMORY)));
    let reserved = merged(reserved);
    let mut ram = alloc::vec![
        (0, ram_bytes.min(LOW_MEMORY_END)),
        (HIGH_MEMORY, ram_bytes),
        (high_ram.start, high_ram.end),
    ];
    for taken in &reserved {
        let rest =
            |range: &(u64, u64)| [(range.0, range.1.min(taken.0)), (range.0.max(taken.1), range.1)];
        ram = ram.iter().flat_map(rest).filter(|(begin, end)| begin < end).collect();
    }
    let range = |(begin, end), kind| Range { begin, len: end - begin, kind };
    let ram = ram.into_iter().filter(|(begin, end)| begin < end);
    let ram = ram.map(|ends| range(ends, RangeKind::Ram));
    let reserved = reserved.into_iter().map(|ends| range(ends, RangeKind::Reserved));
    let mut map: Vec<Range> = ram.chain(reserved).collect();
    map.sort_unstable();
    map
}

/// The same bytes in ranges that neither overlap nor touch.
fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|(begin, end)| begin < end);
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (begin, end) in ranges {
        match merged.last_mut() {
            Some(last) if begin <= last.1 => last.1 = last.1.max(end),
            Some(_) | None => merged.push((begin, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn map(ram: u64, above: u64, reserved: &[(u64, u64)]) -> Vec<(u64, u64, u32)> {
        let map = with_reserved(ram, &(1 << 32..(1 << 32) + above), reserved.to_vec());
        map.iter().map(|range| (range.begin, range.len, range.kind as u32)).collect()
    }

    #[test]
    fn ram_and_the_firmwares_tables_are_listed_and_the_display_is_not() {
        let low = [(0, 0xa_0000, 1), (0xe_0000, 0x2_0000, 2), (MIB, 15 * MIB, 1)];
        assert_eq!(map(16 * MIB, 0, &[]), low);
        let high = (0x1_0000_0000, 0x4000_0000, 1);
        assert_eq!(map(16 * MIB, 0x4000_0000, &[]), [low[0], low[1], low[2], high]);
    }

    #[test]
    fn what_is_reserved_is_cut_out_of_ram_and_listed_once() {
        let reserved =
            [(0x9_8000, 0x9_8010), (0x9_7000, 0xa_0000), (0x5000, 0x6000), (0x6000, 0x7000)];
        let low = [
            (0, 0x5000, 1),
            (0x5000, 0x2000, 2),
            (0x7000, 0x9_0000, 1),
            (0x9_7000, 0x9000, 2),
            (0xe_0000, 0x2_0000, 2),
        ];
        assert_eq!(map(2 * MIB, 0, &reserved)[..5], low);
        let whole = [(0, 0xa_0000, 1), (0xe_0000, 0x12_0000, 2)];
        assert_eq!(map(2 * MIB, 0, &[(MIB, 2 * MIB)]), whole, "neighbours are one");
    }
}
