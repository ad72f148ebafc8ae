//! No host page is in two VMs, or in a VM and the hypervisor: RAM is carved as at the start, both
//! vendors' tables are built, and what they map is read back from them.

use crate::carve::{Free, Region};
use crate::frames::{FRAME_BYTES, Frames};
use crate::guest_ram::GuestRam;
use crate::loader::multiboot::Range;
use crate::second_level::{Format, Tables};
use crate::svm::npt;
use crate::vmx::ept;
use vmm_common::grant::RamPiece;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const PAGE: u64 = 4 * KIB;
/// Where a guest has devices instead of RAM, up to 4 GiB.
const HOLE: u64 = 3584 * MIB;
/// The start aligns RAM to this.
const LARGE_PAGE: u64 = 2 * MIB;
/// A PC: RAM below 640 KiB, from 1 MiB to the devices' hole, and above 4 GiB.
const PC: [Range; 3] = [
    Range { begin: 0, end: 0x9_f000 },
    Range { begin: MIB, end: 0xbffd_f000 },
    Range { begin: 4 * GIB, end: 200 * GIB },
];
/// What no VM gets: the first MiB, the image, the plan, whose ends are odd.
const RESERVED: [Range; 3] = [
    Range { begin: 0, end: MIB },
    Range { begin: MIB, end: 0x24_5000 },
    Range { begin: 0x300_0000, end: 0x312_3000 },
];
const HEAP_BYTES: u64 = 8 * MIB;
const FRAMES_BYTES: u64 = 8 * MIB;

/// A stretch that a VM's tables map: from where in the guest, to where in the host.
type Mapped = (u64, Range);

#[derive(Clone, Copy)]
#[repr(align(4096))]
struct Page(#[expect(dead_code)] [u8; PAGE as usize]);

/// Frames for tables. Their addresses are pointers, so the memory is ours, not the machine's.
fn frames(memory: &mut [Page]) -> Frames {
    let begin = memory.as_mut_ptr() as u64;
    // The memory is borrowed here alone, and outlives the frames in `check`.
    Frames::new(Region::of(Range { begin, end: begin + memory.len() as u64 * FRAME_BYTES }))
}

/// What each VM of these sizes gets to see, by tables of this format.
fn all_mapped(sizes: &[u64], format: Format) -> (Vec<Range>, Vec<Vec<Mapped>>) {
    let mut free = Free::new(&PC, &RESERVED, Range::default());
    let mut hypervisors = RESERVED.to_vec();
    for bytes in [HEAP_BYTES, FRAMES_BYTES] {
        hypervisors.push(free.take(bytes, PAGE, 4 * GIB).expect("there is room").range());
    }
    let mut memory = vec![Page([0; PAGE as usize]); (FRAMES_BYTES / PAGE) as usize];
    let mut frames = frames(&mut memory);
    let mut mapped = Vec::new();
    for &bytes in sizes {
        // Nothing is read or written through it; tables are made of the numbers.
        let ram = GuestRam::new(free.take(bytes, LARGE_PAGE, u64::MAX).expect("there is room"));
        let tables = Tables::new(&mut frames, &ram, format).expect("there are enough frames");
        let host = |host, bytes| Range { begin: host, end: host + bytes };
        let pieces = tables.mappings().expect("its own tables");
        let bytes = |piece: &RamPiece| piece.guest.end - piece.guest.start;
        mapped.push(pieces.iter().map(|m| (m.guest.start, host(m.host, bytes(m)))).collect());
    }
    (hypervisors, mapped)
}

/// Guest-physical addresses from 0 to the size, once each, and all host memory apart from all
/// other.
fn check_isolated(sizes: &[u64], (hypervisors, vms): (Vec<Range>, Vec<Vec<Mapped>>)) {
    let mut owned = hypervisors;
    assert_eq!(vms.len(), sizes.len());
    for (bytes, mapped) in sizes.iter().zip(vms) {
        let mut next = 0;
        for (guest, host) in mapped {
            // RAM that does not fit below the devices' hole continues at 4 GiB.
            let expected = if next < HOLE { next } else { next - HOLE + 4 * GIB };
            assert_eq!(guest, expected, "a hole, or mapped twice, {sizes:x?}");
            assert!(PC.iter().any(|ram| ram.begin <= host.begin && host.end <= ram.end));
            next += host.end - host.begin;
            owned.push(host);
        }
        assert_eq!(next, *bytes, "all RAM, and nothing else, {sizes:x?}");
    }
    // The first two reserved ranges touch, and none overlap: comparing neighbours is enough.
    owned.sort_unstable();
    for pair in owned.windows(2) {
        assert!(pair[0].end <= pair[1].begin, "{pair:x?} overlap, {sizes:x?}");
    }
}

fn check(sizes: &[u64]) {
    for has_1g in [true, false] {
        for format in [ept::FORMAT, npt::FORMAT] {
            let format = Format { has_2m: true, has_1g, ..format };
            check_isolated(sizes, all_mapped(sizes, format));
        }
    }
}

#[test]
fn two_vms_share_no_page() {
    check(&[16 * MIB, 16 * MIB]);
}

#[test]
fn vms_of_odd_sizes_share_no_page() {
    check(&[PAGE, 5 * PAGE, MIB + PAGE, LARGE_PAGE - PAGE, LARGE_PAGE + PAGE, 3 * LARGE_PAGE]);
    check(&[16 * MIB + 3 * PAGE, 7 * PAGE, 64 * MIB - PAGE, 16 * MIB]);
}

#[test]
fn vms_beyond_a_gib_share_no_page() {
    check(&[GIB, GIB + PAGE, 3 * GIB + 5 * MIB, 2 * GIB - PAGE, 3 * GIB + 512 * MIB]);
    check(&[5 * GIB, HOLE + PAGE, 64 * GIB, HOLE - PAGE]);
}

#[test]
fn as_many_vms_as_a_plan_may_have_share_no_page() {
    let sizes: Vec<u64> = (0..64).map(|vm| MIB + vm * 0x3_7000).collect();
    check(&sizes);
    check(&[2 * GIB + PAGE; 64]);
}

#[test]
fn pages_of_4_kib_alone_isolate_as_well() {
    let sizes = [5 * MIB + PAGE, 16 * MIB, 7 * PAGE];
    check_isolated(&sizes, all_mapped(&sizes, ept::FORMAT));
}

#[test]
fn random_vms_share_no_page() {
    const RUNS: usize = 100;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    println!("SEED={seed}");
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..RUNS {
        let count = 1 + random(12);
        // As often small as large.
        let sizes: Vec<u64> = (0..count)
            .map(|_| {
                let most = 1 << random(20);
                (1 + random(most)) * PAGE
            })
            .collect();
        check(&sizes);
    }
}
