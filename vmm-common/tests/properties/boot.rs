//! `boot::place` on random, plausible and mutated images.

use crate::runner::check;
use case::Case;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use vmm_common::plan::BootKind;

// What a text file or a fuzzer says is not asked here.
#[allow(dead_code)]
#[path = "../images/case.rs"]
mod case;
mod images;
#[path = "../images/promises.rs"]
mod promises;
#[allow(dead_code)]
#[path = "../images/samples.rs"]
mod samples;

const KINDS: [BootKind; 5] =
    [BootKind::Auto, BootKind::Multiboot, BootKind::Flat, BootKind::Linux, BootKind::Pvh];

fn ram_bytes() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0_u64..0x1000).prop_map(|pages| pages * 0x1000),
        1 => any::<u64>(),
        1 => Just(0),
    ]
}

#[test]
fn whatever_is_placed_lies_in_the_image_and_in_ram_and_on_nothing_else() {
    let bios = prop_oneof![Just(None), vec(any::<u8>(), 0..0x9000).prop_map(Some)];
    let modules = vec((vec(any::<u8>(), 0..0x3000), "[ -~]{0,60}"), 0..3);
    let kind = (0..KINDS.len()).prop_map(|index| KINDS[index]);
    let input = (kind, images::any_image(), bios, modules, "[ -~]{0,60}", ram_bytes());
    check(4_000, input, |(kind, kernel, bios, modules, cmdline, ram_bytes)| {
        promises::hold(&Case { kind, ram_bytes, cmdline, kernel, bios, modules });
    });
}

/// How an image was placed.
fn way(case: &Case) -> Option<&'static str> {
    let boot = case.place().ok()?;
    let class = case.kernel.starts_with(b"\x7fELF").then(|| case.kernel[4]);
    Some(match (case.kind, class) {
        (BootKind::Multiboot, None) => "multiboot by addresses",
        (BootKind::Multiboot, Some(1)) => "multiboot, ELF32",
        (BootKind::Multiboot, Some(_)) => "multiboot, ELF64",
        (BootKind::Pvh, Some(1)) => "PVH, ELF32",
        (BootKind::Pvh, _) => "PVH, ELF64",
        (BootKind::Linux, Some(_)) => "vmlinux",
        (BootKind::Linux, None) if boot.registers.efer == 0 => "bzImage, 32-bit entry",
        (BootKind::Linux, None) => "bzImage, 64-bit entry",
        (BootKind::Flat | BootKind::Auto, _) => "flat",
    })
}

#[test]
fn every_way_of_placing_succeeds_on_some_of_these_images() {
    let placed = RefCell::new(BTreeMap::<&str, u32>::new());
    check(2_000, images::any_image(), |kernel| {
        for kind in [BootKind::Multiboot, BootKind::Flat, BootKind::Linux, BootKind::Pvh] {
            let ways = way(&Case::of(kind, kernel.clone()));
            ways.into_iter().for_each(|way| *placed.borrow_mut().entry(way).or_default() += 1);
        }
    });
    let placed = placed.into_inner();
    assert_eq!(placed.len(), 9, "{placed:?}");
    assert!(placed.values().all(|count| *count > 10), "{placed:?}: the strategy is too wild");
}
