//! How CPUID describes a machine's processors: cores of one package, of one thread each, APIC IDs
//! from 0 on (SDM vol. 3, chapter "Multiple-Processor Management", "Detecting Hardware
//! Multi-Threading Support and Topology"; APM vol. 3, appendix E.5, "Multiple Processor
//! Calculation"). A machine with one processor has no leaf of this file.
//!
//! Caches are the host's: levels 1 and 2 are a core's own, higher ones are shared by all.

use super::{CpuidEntry, CpuidResult, EXTENDED_LEAF, lookup};
use alloc::vec::Vec;

/// Deterministic cache parameters (SDM vol. 2, CPUID leaf 4), and AMD's.
const CACHE_LEAF: u32 = 4;
const AMD_CACHE_LEAF: u32 = 0x8000_001d;
/// Extended topology enumeration, of both vendors; its second version is Intel's.
const TOPOLOGY_LEAF: u32 = 0xb;
const TOPOLOGY_V2_LEAF: u32 = 0x1f;
/// AMD's topology extensions: APIC ID, core, node.
const AMD_TOPOLOGY_LEAF: u32 = 0x8000_001e;

/// Where the initial APIC ID and the count of logical processors are in leaf 1's EBX.
const APIC_ID_SHIFT: u32 = 24;
const COUNT_SHIFT: u32 = 16;
/// Leaf 1, EDX: HTT, the count is valid.
const HTT: u32 = 1 << 28;
/// Leaf 0x80000001, ECX: CmpLegacy, the logical processors are cores, and TopologyExtensions.
const CMP_LEGACY: u32 = 1 << 1;
const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;

/// Describes `processors` in a table that describes one, and makes it that of processor 0.
pub(super) fn describe(
    table: &mut Vec<CpuidEntry>,
    processors: u8,
    host: impl Fn(u32, u32) -> CpuidResult,
) {
    if processors <= 1 {
        return;
    }
    let count = u32::from(processors);
    let is_amd = is_amd(lookup(table, 0, 0));
    let has_extensions = is_amd && host(EXTENDED_LEAF + 1, 0).ecx & TOPOLOGY_EXTENSIONS != 0;
    for row in table.iter_mut() {
        let result = &mut row.result;
        match row.leaf {
            0 if !is_amd => result.eax = result.eax.max(TOPOLOGY_V2_LEAF),
            1 => {
                result.ebx =
                    result.ebx & 0x00ff_ffff & !(0xff << COUNT_SHIFT) | count << COUNT_SHIFT;
                result.edx |= HTT;
            }
            EXTENDED_LEAF if has_extensions => result.eax = AMD_TOPOLOGY_LEAF,
            0x8000_0001 if is_amd => {
                result.ecx |= CMP_LEGACY;
                result.ecx |= if has_extensions { TOPOLOGY_EXTENSIONS } else { 0 };
            }
            // The processors less one, and the bits of the APIC ID that tell them apart.
            0x8000_0008 if is_amd => result.ecx = (count - 1) | (id_bits(count) << 12),
            _ => {}
        }
    }
    let mut add = |leaf, subleaf, result| table.push(CpuidEntry { leaf, subleaf, result });
    for (subleaf, result) in levels(count) {
        add(TOPOLOGY_LEAF, Some(subleaf), result);
        if !is_amd {
            add(TOPOLOGY_V2_LEAF, Some(subleaf), result);
        }
    }
    if !is_amd {
        // Here and in leaf 4 a number of IDs is a power of two, less one.
        let ids = count.next_power_of_two() - 1;
        for (subleaf, cache) in caches(CACHE_LEAF, ids, &host) {
            add(CACHE_LEAF, Some(subleaf), CpuidResult { eax: cache.eax | ids << 26, ..cache });
        }
    }
    if has_extensions {
        for (subleaf, cache) in caches(AMD_CACHE_LEAF, count - 1, &host) {
            add(AMD_CACHE_LEAF, Some(subleaf), cache);
        }
        // Core 0 of one thread, node 0 of one.
        add(AMD_TOPOLOGY_LEAF, None, CpuidResult::default());
    }
    table.sort_unstable_by_key(|row| (row.leaf, row.subleaf));
}

/// The table of processor `apic_id` of a machine whose processor 0 has `table`: they differ in
/// their IDs alone.
#[must_use]
pub fn for_processor(table: &[CpuidEntry], apic_id: u8) -> Vec<CpuidEntry> {
    let id = u32::from(apic_id);
    let mut table = table.to_vec();
    for CpuidEntry { leaf, result, .. } in &mut table {
        match *leaf {
            1 => result.ebx = result.ebx & !(0xff << APIC_ID_SHIFT) | id << APIC_ID_SHIFT,
            TOPOLOGY_LEAF | TOPOLOGY_V2_LEAF => result.edx = id,
            AMD_TOPOLOGY_LEAF => {
                result.eax = id;
                result.ebx = id;
            }
            _ => {}
        }
    }
    table
}

/// The levels of the extended topology: one thread in a core, `count` cores in the package, and the
/// end. EAX: bits of the ID below the next level; EBX: logical processors; ECX: subleaf, and type
/// of the level.
fn levels(count: u32) -> [(u32, CpuidResult); 3] {
    const THREAD: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;
    let level = |eax, ebx, ecx| CpuidResult { eax, ebx, ecx, edx: 0 };
    [(0, level(0, 1, THREAD)), (1, level(id_bits(count), count, CORE | 1)), (2, level(0, 0, 2))]
}

/// The host's caches by `leaf`, whose format is the same for both vendors: type in EAX\[4:0\], 0
/// ends the list; level in EAX\[7:5\]. EAX\[25:14\] says how many share one, less one: `shared`
/// from level 3 on. EAX\[31:26\] is 0.
fn caches(
    leaf: u32,
    shared: u32,
    host: impl Fn(u32, u32) -> CpuidResult,
) -> impl Iterator<Item = (u32, CpuidResult)> {
    const MAX_CACHES: u32 = 8;
    let listed = (0..MAX_CACHES).map(move |subleaf| (subleaf, host(leaf, subleaf)));
    listed.take_while(|(_, cache)| cache.eax & 0x1f != 0).map(move |(subleaf, cache)| {
        let sharing = if cache.eax >> 5 & 0b111 >= 3 { shared } else { 0 };
        (subleaf, CpuidResult { eax: cache.eax & 0x3fff | sharing << 14, ..cache })
    })
}

/// Bits of an APIC ID that tell `count` processors apart.
const fn id_bits(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

/// Of AMD or Hygon, by the name in EBX, EDX and ECX of leaf 0.
fn is_amd(leaf_0: CpuidResult) -> bool {
    let name = [leaf_0.ebx, leaf_0.edx, leaf_0.ecx].map(u32::to_le_bytes);
    [*b"AuthenticAMD", *b"HygonGenuine"].iter().any(|vendor| name.as_flattened() == vendor)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::super::tests::FEATURES;
    use super::*;
    use crate::cpuid::CpuidFeatures;

    fn vendor(name: &[u8; 12]) -> CpuidResult {
        let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().expect("4 bytes"));
        CpuidResult { eax: 0x20, ebx: word(0), edx: word(4), ecx: word(8) }
    }

    /// Four caches that 64 threads share two by two, and a package of 64 cores, in both formats.
    fn host(name: &'static [u8; 12]) -> impl Fn(u32, u32) -> CpuidResult {
        let cache = |kind: u32, level: u32| CpuidResult {
            eax: 63 << 26 | 1 << 14 | 1 << 8 | level << 5 | kind,
            ebx: 0x1c0_003f,
            ecx: 0x3f,
            edx: 1,
        };
        move |leaf, subleaf| match (leaf, subleaf) {
            (0, _) => vendor(name),
            (4 | 0x8000_001d, 0) => cache(1, 1),
            (4 | 0x8000_001d, 1) => cache(2, 1),
            (4 | 0x8000_001d, 2) => cache(3, 2),
            (4 | 0x8000_001d, 3) => cache(3, 3),
            (4 | 0x8000_001d, _) => CpuidResult::default(),
            (1, _) => CpuidResult { ebx: 0x2a40_0800, edx: !0, ..CpuidResult::default() },
            (0x8000_0001, _) => CpuidResult { ecx: !0, ..CpuidResult::default() },
            (0x8000_0008, _) => CpuidResult { eax: 0x3030, ecx: 0x603f, ..CpuidResult::default() },
            _ => CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 },
        }
    }

    const INTEL: &[u8; 12] = b"GenuineIntel";
    const AMD: &[u8; 12] = b"AuthenticAMD";

    /// The table of the last processor.
    fn last_of(processors: u8, name: &'static [u8; 12]) -> Vec<CpuidEntry> {
        let features = CpuidFeatures { processors, ..FEATURES };
        for_processor(&table(features, host(name)), processors - 1)
    }

    fn registers(table: &[CpuidEntry], leaf: u32, subleaf: u32) -> [u32; 4] {
        let CpuidResult { eax, ebx, ecx, edx } = lookup(table, leaf, subleaf);
        [eax, ebx, ecx, edx]
    }

    #[test]
    fn leaf_1_has_id_count_and_htt() {
        for (processors, ebx, htt) in [
            (1, 0x0001_0800, 0),
            (2, 0x0102_0800, 1),
            (3, 0x0203_0800, 1),
            (4, 0x0304_0800, 1),
            (16, 0x0f10_0800, 1),
        ] {
            for name in [INTEL, AMD] {
                let leaf = lookup(&last_of(processors, name), 1, 0);
                assert_eq!((leaf.ebx, leaf.edx >> 28 & 1), (ebx, htt), "{processors}");
            }
        }
    }

    #[test]
    fn extended_topology_has_a_thread_a_core() {
        for (processors, bits) in [(2, 1), (3, 2), (4, 2), (16, 4)] {
            let id = u32::from(processors) - 1;
            for name in [INTEL, AMD] {
                let table = last_of(processors, name);
                let shown = |leaf| [0, 1, 2].map(|subleaf| registers(&table, leaf, subleaf));
                let levels =
                    [[0, 1, 0x100, id], [bits, processors.into(), 0x201, id], [0, 0, 2, id]];
                assert_eq!(shown(0xb), levels);
                assert_eq!(shown(0x1f), if name == INTEL { levels } else { [[0; 4]; 3] });
                let max = if name == INTEL { 0x1f } else { 0x16 };
                assert_eq!(lookup(&table, 0, 0).eax, max);
            }
        }
    }

    #[test]
    fn intels_caches_say_who_shares_them_and_how_many_cores_there_are() {
        for (processors, own, shared) in [
            (2, 0x0400_0121, 0x0400_4163),
            (3, 0x0c00_0121, 0x0c00_c163),
            (4, 0x0c00_0121, 0x0c00_c163),
            (16, 0x3c00_0121, 0x3c03_c163),
        ] {
            let table = last_of(processors, INTEL);
            assert_eq!(registers(&table, 4, 0), [own, 0x1c0_003f, 0x3f, 1]);
            assert_eq!(lookup(&table, 4, 3).eax, shared, "{processors}");
            assert_eq!(registers(&table, 4, 4), [0; 4]);
            assert_eq!(lookup(&table, 0x8000_001d, 0), CpuidResult::default());
        }
    }

    #[test]
    fn amds_leaves_count_cores_and_name_the_processor() {
        for (processors, sizes, shared) in [
            (2, 0x1001, 0x0000_4163),
            (3, 0x2002, 0x0000_8163),
            (4, 0x2003, 0x0000_c163),
            (16, 0x400f, 0x0003_c163),
        ] {
            let table = last_of(processors, AMD);
            let id = u32::from(processors) - 1;
            assert_eq!(lookup(&table, 0x8000_0000, 0).eax, 0x8000_001e);
            assert_eq!(lookup(&table, 0x8000_0001, 0).ecx, 0x0040_01e3);
            assert_eq!(registers(&table, 0x8000_0008, 0), [0x3030, 0, sizes, 0]);
            assert_eq!(registers(&table, 0x8000_001e, 0), [id, id, 0, 0]);
            assert_eq!(lookup(&table, 0x8000_001d, 0).eax, 0x0000_0121);
            assert_eq!(lookup(&table, 0x8000_001d, 3).eax, shared);
            assert_eq!(lookup(&table, 4, 0), CpuidResult::default());
        }
    }

    #[test]
    fn topology_extensions_are_shown_where_the_host_has_them() {
        let features = CpuidFeatures { processors: 2, ..FEATURES };
        let table = table(features, |leaf, subleaf| match leaf {
            0x8000_0001 => CpuidResult::default(),
            _ => host(AMD)(leaf, subleaf),
        });
        assert_eq!(lookup(&table, 0x8000_0000, 0).eax, 0x8000_0008);
        assert_eq!(lookup(&table, 0x8000_0001, 0).ecx, 2);
        assert_eq!(lookup(&table, 0x8000_001e, 0), CpuidResult::default());
    }

    #[test]
    fn one_processor_has_the_table_that_it_always_had() {
        for name in [INTEL, AMD] {
            let table = last_of(1, name);
            for leaf in [4, 0xb, 0x1f, 0x8000_001d, 0x8000_001e] {
                assert!(table.iter().all(|row| row.leaf != leaf), "{leaf:#x}");
            }
            assert_eq!(lookup(&table, 0, 0).eax, 0x16);
            assert_eq!(lookup(&table, 0x8000_0000, 0).eax, 0x8000_0008);
            assert_eq!(lookup(&table, 0x8000_0001, 0).ecx, 0x1e1);
            assert_eq!(lookup(&table, 0x8000_0008, 0).ecx, 0);
        }
    }

    #[test]
    fn leaves_stay_in_ascending_order() {
        for name in [INTEL, AMD] {
            let table = last_of(4, name);
            assert!(table.is_sorted_by_key(|row| (row.leaf, row.subleaf)));
        }
    }
}
