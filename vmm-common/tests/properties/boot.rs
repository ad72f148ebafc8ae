//! `boot::place` on random, plausible and mutated images.

use crate::runner::check;
use proptest::collection::vec;
use proptest::prelude::*;
use vmm_common::boot::{Images, place};
use vmm_common::plan::{BootKind, VmPlan};
use vmm_common::seed::{SeedVm, to_plan};

const KINDS: [BootKind; 5] =
    [BootKind::Auto, BootKind::Multiboot, BootKind::Flat, BootKind::Linux, BootKind::Pvh];
const MULTIBOOT_MAGIC: u32 = 0x1bad_b002;

fn vm(kind: BootKind, cmdline: &str, memory: u64) -> VmPlan {
    let seed = SeedVm { id: 0, memory, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 };
    let mut vm = to_plan(&[seed]).vms.remove(0);
    vm.boot.kind = kind;
    vm.cmdline = cmdline.to_owned();
    vm
}

/// Addresses as headers have them: plausible ones, edges, anything.
fn address() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0x8000_u32..0x2_0000,
        4 => 0x10_0000_u32..0x20_0000,
        1 => Just(0),
        1 => Just(u32::MAX),
        1 => any::<u32>(),
    ]
}

fn ram_bytes() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0_u64..0x1000).prop_map(|pages| pages * 0x1000),
        1 => any::<u64>(),
        1 => Just(0),
    ]
}

/// A multiboot header somewhere in an image, with or without address fields, which in half of the
/// cases agree with the image.
fn multiboot_image() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop_oneof![2 => Just(1_u32 << 16), 1 => Just(0), 1 => any::<u32>()];
    let header = (flags, [address(), address(), address(), address(), address()], any::<bool>());
    (0_u32..0x900, header, 0_usize..0x3000).prop_map(|(word, (flags, fields, agrees), len)| {
        let at = word * 4;
        let mut image = vec![0x90; (at as usize + 12).max(len)];
        let [load, ..] = fields;
        let agreeing = [load.saturating_add(at), load, 0, 0, load];
        let checksum = 0_u32.wrapping_sub(MULTIBOOT_MAGIC.wrapping_add(flags));
        let words = [MULTIBOOT_MAGIC, flags, checksum];
        put(&mut image, at as usize, &words);
        put(&mut image, at as usize + 12, if agrees { &agreeing } else { &fields });
        image
    })
}

/// A 32-bit ELF file with a multiboot header and random program headers.
fn elf_image() -> impl Strategy<Value = Vec<u8>> {
    let offset = prop_oneof![4 => 0_u32..0x100, 1 => any::<u32>()];
    let file_len = prop_oneof![4 => 0_u32..0x100, 1 => 0_u32..0x4000];
    let header = (0_u32..3, offset, address(), file_len, 0_u32..0x10_0000);
    (vec(header, 0..4), any::<u16>(), 0_usize..0x2000).prop_map(|(headers, odd, len)| {
        let mut image = vec![0; 0x200 + len];
        image[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 1]);
        put(&mut image, 28, &[0x40]);
        let counts = if odd % 8 == 0 { [odd, odd] } else { [32, headers.len() as u16] };
        image[42..44].copy_from_slice(&counts[0].to_le_bytes());
        image[44..46].copy_from_slice(&counts[1].to_le_bytes());
        for (index, (kind, offset, address, file_len, memory_len)) in headers.iter().enumerate() {
            let words = [*kind, *offset, 0, *address, *file_len, *memory_len];
            put(&mut image, 0x40 + index * 32, &words);
        }
        put(&mut image, 0x100, &[MULTIBOOT_MAGIC, 0, 0_u32.wrapping_sub(MULTIBOOT_MAGIC)]);
        image
    })
}

/// Writes words into an image, as far as it reaches.
fn put(image: &mut [u8], at: usize, words: &[u32]) {
    for (index, word) in words.iter().enumerate() {
        if let Some(bytes) = image.get_mut(at + index * 4..at + index * 4 + 4) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

fn image() -> impl Strategy<Value = Vec<u8>> {
    let base = prop_oneof![
        vec(any::<u8>(), 0..100),
        multiboot_image(),
        multiboot_image(),
        elf_image(),
        elf_image(),
    ];
    let mutations = prop_oneof![2 => Just(Vec::new()), 1 => vec((any::<u16>(), any::<u8>()), 1..6)];
    (base, mutations).prop_map(|(mut image, mutations)| {
        for (at, value) in mutations {
            let len = image.len().max(1);
            if let Some(byte) = image.get_mut(usize::from(at) % len) {
                *byte = value;
            }
        }
        image
    })
}

#[test]
fn whatever_is_placed_lies_in_the_image_and_in_ram_and_on_nothing_else() {
    let bios = prop_oneof![Just(None), vec(any::<u8>(), 0..0x9000).prop_map(Some)];
    let input = (0..KINDS.len(), image(), bios, "[ -~]{0,60}", ram_bytes());
    check(4_000, input, |(kind, image, bios, cmdline, ram_bytes)| {
        let images = Images { bios: bios.as_deref(), ..Images::of(&image) };
        let Ok(boot) = place(&vm(KINDS[kind], &cmdline, ram_bytes), &images) else { return };
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for (address, bytes) in boot.contents(&images) {
            let end = address.checked_add(bytes.len() as u64).expect("the end is an address");
            assert!(end <= ram_bytes, "{address:#x} to {end:#x} in {ram_bytes:#x}");
            let is_apart = |(begin, before): &(u64, u64)| *before <= address || end <= *begin;
            let is_free = address == end || taken.iter().all(is_apart);
            assert!(is_free, "{address:#x} to {end:#x} lies on one of {taken:x?}");
            if address < end {
                taken.push((address, end));
            }
        }
    });
}

#[test]
fn every_way_of_placing_succeeds_on_some_of_these_images() {
    use std::cell::Cell;
    let placed = [const { Cell::new(0) }; 2];
    check(500, (image(), Just(0x100_0000_u64)), |(image, ram_bytes)| {
        if let Ok(boot) = place(&vm(BootKind::Multiboot, "", ram_bytes), &Images::of(&image)) {
            let is_elf = usize::from(image.starts_with(b"\x7fELF"));
            placed[is_elf].set(placed[is_elf].get() + 1);
            assert!(!boot.pieces.is_empty());
        }
    });
    assert!(placed.iter().all(|count| count.get() > 10), "{placed:?}: the strategy is too wild");
}
