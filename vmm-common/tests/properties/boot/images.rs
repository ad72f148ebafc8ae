//! Images as kernels are, and as they should not be.

use super::samples::{self, ElfFile, LOAD, MACHINE_386, MACHINE_X86_64, NOTE, Segment};
use proptest::collection::vec;
use proptest::prelude::*;

/// Addresses as headers have them: plausible ones, edges, anything.
fn address() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0x8000_u32..0x2_0000,
        3 => 0x8_0000_u32..0xa_0000,
        4 => 0x10_0000_u32..0x20_0000,
        1 => Just(0),
        1 => Just(u32::MAX),
        1 => any::<u32>(),
    ]
}

/// A multiboot header somewhere in an image, with or without address fields, which in half of the
/// cases agree with the image.
fn multiboot() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop_oneof![2 => Just(1_u32 << 16), 1 => Just(0), 1 => any::<u32>()];
    let fields = [address(), address(), address(), address(), address()];
    let image = (0_usize..0x900, flags, fields, any::<bool>(), 0_usize..0x3000);
    image.prop_map(|(word, flags, fields, agrees, len)| {
        let at = word * 4;
        let load = fields[0];
        let agreeing = [load.saturating_add(at as u32), load, 0, 0, load];
        let header = samples::multiboot_header(flags, if agrees { &agreeing } else { &fields });
        let mut image = vec![0x90; at];
        image.extend(header);
        image.resize(image.len().max(len), 0x90);
        image
    })
}

/// What an ELF file is made of, before its parts refer to one another.
#[derive(Clone, Debug)]
struct Parts {
    is_64_bit: bool,
    /// It is for one of the two processors.
    is_ours: bool,
    segments: Vec<Segment>,
    has_multiboot_header: bool,
    has_pvh_note: bool,
    is_entry_virtual: bool,
    /// Bytes from the first segment to the entries.
    into: u64,
}

fn segment() -> impl Strategy<Value = Segment> {
    let kind = prop_oneof![8 => Just(LOAD), 1 => Just(NOTE), 1 => 0_u32..8];
    let above = prop_oneof![4 => Just(0_u64), 4 => Just(0xc000_0000_u64), 1 => any::<u64>()];
    let more = prop_oneof![
        8 => 0_u64..0x1000,
        3 => 0_u64..0x2_0000,
        1 => 0_u64..0x10_0000,
        1 => any::<u64>(),
    ];
    (kind, address(), above, more, vec(any::<u8>(), 0..0x80)).prop_map(
        |(kind, address, above, more, bytes)| Segment {
            kind,
            virtual_address: u64::from(address).wrapping_add(above),
            address: address.into(),
            memory_bytes: (bytes.len() as u64).saturating_add(more),
            bytes,
        },
    )
}

/// An ELF file of either class that may be any kind of kernel, or none.
fn elf() -> impl Strategy<Value = Vec<u8>> {
    let flags = (any::<bool>(), prop::bool::weighted(0.9), any::<bool>(), any::<bool>());
    let into = prop_oneof![4 => 0_u64..0x20, 1 => any::<u64>()];
    (flags, vec(segment(), 0..4), any::<bool>(), into).prop_map(|(flags, segments, entry, into)| {
        let (is_64_bit, is_ours, has_multiboot_header, has_pvh_note) = flags;
        elf_file(Parts {
            is_64_bit,
            is_ours,
            segments,
            has_multiboot_header,
            has_pvh_note,
            is_entry_virtual: entry,
            into,
        })
    })
}

fn elf_file(parts: Parts) -> Vec<u8> {
    let mut segments = parts.segments;
    if parts.has_multiboot_header
        && let Some(first) = segments.first_mut()
    {
        let mut bytes = samples::multiboot_header(3, &[]);
        bytes.append(&mut first.bytes);
        first.memory_bytes = first.memory_bytes.saturating_add(12);
        first.bytes = bytes;
    }
    let first = segments.first().map_or((0, 0), |first| (first.address, first.virtual_address));
    if parts.has_pvh_note {
        let entry = first.0.wrapping_add(parts.into).to_le_bytes();
        let note = samples::note(b"Xen", 18, &entry[..if parts.is_64_bit { 8 } else { 4 }]);
        segments.push(Segment::note(note));
    }
    let machine = if parts.is_64_bit { MACHINE_X86_64 } else { MACHINE_386 };
    ElfFile {
        is_64_bit: parts.is_64_bit,
        machine: if parts.is_ours { machine } else { 0xb7 },
        entry: parts.into.wrapping_add(if parts.is_entry_virtual { first.1 } else { first.0 }),
        segments,
    }
    .build()
}

/// A bzImage of which some fields are others.
fn bzimage() -> impl Strategy<Value = Vec<u8>> {
    /// Where a field begins, its bytes, and values it may well have.
    const FIELDS: [(usize, usize, [u64; 4]); 12] = [
        (0x1f1, 1, [0, 1, 2, 255]),
        (0x1f4, 4, [0, 0x20, 0x21, 0x40]),
        (0x201, 1, [0x3a, 0x62, 0x66, 0x8e]),
        (0x206, 2, [0x205, 0x206, 0x20a, 0x20c]),
        (0x211, 1, [0, 1, 0x41, 0x80]),
        (0x22c, 4, [0, 0x37ff_ffff, 0x7fff_ffff, 0xffff_ffff]),
        (0x230, 4, [0, 0x1000, 0x10_0000, 0x100_0000]),
        (0x234, 1, [0, 1, 2, 255]),
        (0x236, 2, [0, 1, 2, 3]),
        (0x238, 4, [0, 255, 2047, 0xffff_ffff]),
        (0x258, 8, [0, 0x10_0000, 0x80_0000, 0x1_0000_0000]),
        (0x260, 4, [0, 0x1000, 0x20_0000, 0xffff_ffff]),
    ];
    let value = prop_oneof![4 => (0_usize..4).prop_map(Ok), 1 => any::<u64>().prop_map(Err)];
    let changes = vec((0..FIELDS.len(), value), 0..4);
    (changes, 0_usize..0x1000).prop_map(|(changes, more)| {
        let mut image = samples::bzimage();
        image.resize(image.len() + more, 0xf4);
        for (field, value) in changes {
            let (at, len, likely) = FIELDS[field];
            let value = value.map_or_else(|any| any, |index| likely[index]);
            samples::put(&mut image, at, &value.to_le_bytes()[..len]);
        }
        image
    })
}

/// Any of these, in a third of the cases with some bytes changed.
pub fn any_image() -> impl Strategy<Value = Vec<u8>> {
    let base = prop_oneof![
        1 => vec(any::<u8>(), 0..100),
        2 => multiboot(),
        3 => elf(),
        2 => bzimage(),
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
