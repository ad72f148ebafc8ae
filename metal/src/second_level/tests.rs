use super::*;
use crate::carve::Region;
use crate::loader::multiboot::Range;
use crate::{svm::npt, vmx::ept};
use vmm_common::grant::RamPiece;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Where RAM is interrupted by devices, up to 4 GiB.
const HOLE: u64 = 3584 * MIB;

/// Each vendor's entries, with pages of 1 GiB and without, and EPT's with pages of 4 KiB alone.
const EPT: [Format; 3] = [
    Format { has_2m: true, has_1g: true, ..ept::FORMAT },
    Format { has_2m: true, has_1g: false, ..ept::FORMAT },
    ept::FORMAT,
];
const NPT: [Format; 2] = [Format { has_1g: true, ..npt::FORMAT }, npt::FORMAT];

#[derive(Clone)]
#[repr(align(4096))]
struct Page(#[allow(dead_code)] [u8; 4096]);

fn frames(count: usize) -> Frames {
    let begin = Box::leak(vec![Page([0; 4096]); count].into_boxed_slice()).as_mut_ptr() as u64;
    // The memory was leaked for these frames alone.
    Frames::new(Region::of(Range { begin, end: begin + count as u64 * FRAME_BYTES }))
}

fn ram(host: u64, bytes: u64) -> GuestRam {
    // Tables are made of the addresses; nothing is read or written there.
    GuestRam::new(Region::of(Range { begin: host, end: host + bytes }))
}

/// Checks that exactly the RAM is mapped, by exactly so many tables.
fn check_one(host: u64, bytes: u64, format: Format, tables: usize) {
    let built = Tables::new(&mut frames(tables), &ram(host, bytes), format);
    let built = built.expect("that many tables suffice");
    assert_eq!(built.frames.len(), tables);
    let low = RamPiece { guest: 0..bytes.min(HOLE), host };
    let above = 4 * GIB..4 * GIB + bytes.saturating_sub(HOLE);
    let high = RamPiece { guest: above, host: host + HOLE };
    let mapped: Vec<_> = [low, high].into_iter().filter(|part| !part.guest.is_empty()).collect();
    assert_eq!(built.mappings(), Ok(mapped));
}

/// [`check_one`] for both vendors: tables with pages of 1 GiB, and without.
fn check(host: u64, bytes: u64, tables: usize, tables_without_1g: usize) {
    for formats in [&EPT[..2], &NPT] {
        check_one(host, bytes, formats[0], tables);
        check_one(host, bytes, formats[1], tables_without_1g);
    }
}

#[test]
fn aligned_ram_is_mapped_by_2_mib_pages() {
    check(16 * MIB, 64 * MIB, 3, 3);
    check(64 * MIB, 16 * MIB, 3, 3);
}

#[test]
fn ram_that_ends_within_2_mib_has_its_last_pages_mapped_singly() {
    check(16 * MIB, 64 * MIB + 0x5000, 4, 4);
    check(64 * MIB, 5 * MIB + 0x3000, 4, 4);
}

#[test]
fn ram_at_an_odd_frame_is_mapped_by_4_kib_pages() {
    check(64 * MIB + 0x1000, 4 * MIB, 5, 5);
    check(MIB, 4 * MIB, 5, 5);
}

#[test]
fn large_pages_are_used_where_the_processor_has_them_and_ram_is_aligned() {
    check(4 * GIB, 2 * GIB, 2, 4);
    check(4 * GIB, 2 * GIB + 2 * MIB, 3, 5);
    check(4 * GIB + 2 * MIB, 2 * GIB, 4, 4);
    check_one(16 * MIB, 64 * MIB, EPT[2], 35);
}

#[test]
fn more_than_one_root_entry_is_filled() {
    // What lies at 4 GiB is mapped by pages of 1 GiB where its host memory is aligned to that. Two
    // roots' entries, and a directory for the last half GiB below the hole and from 512.5 GiB on.
    for format in [EPT[0], NPT[0]] {
        check_one(1024 * GIB + 512 * MIB, 513 * GIB, format, 3 + 4 + 1);
        check_one(1024 * GIB, 513 * GIB, format, 3 + 1 + 510);
    }
}

#[test]
fn ram_beyond_the_hole_goes_on_at_4_gib() {
    // Pages of 2 MiB: root, pointers, 4 directories below the hole and 2 above it. With pages of 1
    // GiB the first three directories go; above the hole host memory is not aligned to them.
    check(4 * GIB, 5 * GIB, 2 + 1 + 2, 2 + 4 + 2);
    check(4 * GIB, HOLE, 3, 6);
    check(4 * GIB, HOLE + 0x1000, 3 + 2, 6 + 2);
    check(4 * GIB, 64 * GIB, 2 + 1 + 61, 2 + 4 + 61);
}

#[test]
fn entries_are_as_the_manuals_say() {
    let entries = |format| {
        let built = Tables::new(&mut frames(4), &ram(64 * MIB, 2 * MIB + 0x1000), format);
        let words = |index: usize| built.as_ref().expect("it fits").frames[index].words().to_vec();
        // The lowest table is complete first.
        (words(0)[0], words(1)[0], words(2)[0] & 0xfff, words(0)[1])
    };
    assert_eq!(entries(EPT[0]), (0x420_0037, 0x400_00b7, 7, 0));
    assert_eq!(entries(NPT[0]), (0x420_0067, 0x400_00e7, 0x27, 0));
    assert_eq!(ept::pointer(0x5000), 0x501e);
}

#[test]
fn too_few_frames_is_an_error() {
    for format in EPT.into_iter().chain(NPT) {
        for count in 0..3 {
            let built = Tables::new(&mut frames(count), &ram(64 * MIB, 16 * MIB), format);
            assert_eq!(built.err(), Some(OutOfFrames));
        }
    }
}

#[test]
#[should_panic(expected = "4 KiB")]
fn part_of_a_page_is_not_mapped() {
    let _ = Tables::new(&mut frames(4), &ram(64 * MIB, 0x1800), NPT[0]);
}

#[test]
fn tables_of_two_vms_share_no_host_address() {
    let end = |piece: &RamPiece| piece.host + (piece.guest.end - piece.guest.start);
    for format in [EPT[0], NPT[0]] {
        let mut frames = frames(16);
        let mut mapped = |host, bytes| {
            let built = Tables::new(&mut frames, &ram(host, bytes), format);
            built.expect("it fits").mappings().expect("its own tables")
        };
        let (first, second) = (mapped(64 * MIB, 6 * MIB), mapped(70 * MIB, 10 * MIB));
        for a in &first {
            for b in &second {
                assert!(end(a) <= b.host || end(b) <= a.host);
            }
        }
    }
}
