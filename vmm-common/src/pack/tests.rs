use super::*;
use crate::plan::{ImageSource, ModulePlan};
use crate::seed::{SeedVm, to_plan};
use alloc::string::ToString;
use alloc::vec;

/// Restated: where the images of the sample begin follows from these.
const HEADER: usize = 28;

fn plan(vms: u64) -> Plan {
    let vm = |id| SeedVm { id, memory: 1 << 24, vcpu_count: 1, io_apic: 1, hpet: 0, local_apic: 1 };
    to_plan(&(0..vms).map(vm).collect::<Vec<_>>())
}

fn sample() -> Vec<u8> {
    let (left, right) = (Images::of(b"left kernel"), b"right".as_slice());
    pack(&plan(2), &[left, Images { bios: Some(b"bios"), ..Images::of(right) }], &[vec![], vec![]])
}

/// `bytes` with the checksum that they should have.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes[16..]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// A pack whose checksum is right and whose contents are these.
fn forged(contents: &[u8]) -> Vec<u8> {
    let mut bytes = sample()[..HEADER].to_vec();
    bytes.extend_from_slice(contents);
    let total = bytes.len() as u64;
    bytes[16..24].copy_from_slice(&total.to_le_bytes());
    bytes[24..28].copy_from_slice(&(contents.len() as u32).to_le_bytes());
    with_checksum(bytes)
}

#[test]
fn what_was_packed_is_unpacked() {
    let images = [
        Images { bios: Some(b"stub"), ..Images::of(b"one") },
        Images { modules: vec![b"module", b"other"], ..Images::of(b"") },
        Images { bios: Some(b""), ..Images::of(b"three") },
    ];
    let mut plan = plan(3);
    let module = ModulePlan { source: ImageSource::File("m".into()), cmdline: "a b".into() };
    plan.vms[1].boot.modules = vec![module.clone(), module];
    let bytes = pack(&plan, &images, &[vec![], vec![], vec![]]);
    assert_eq!(
        unpack(&bytes),
        Ok(Packed { plan, images: images.to_vec(), disks: vec![vec![], vec![], vec![]] })
    );
}

#[test]
fn the_same_image_is_stored_once() {
    let kernel = vec![0x5a; 1 << 20];
    let size = |vms: u64| {
        let images = vec![Images { bios: Some(&kernel), ..Images::of(&kernel) }; vms as usize];
        pack(&plan(vms), &images, &vec![vec![]; vms as usize]).len()
    };
    assert!(size(64) < kernel.len() + 64 * 1024, "{}", size(64));
}

#[test]
fn every_truncation_is_told_with_what_there_is_and_what_is_needed() {
    let bytes = sample();
    for has in 0..bytes.len() {
        let needed = if has < HEADER { HEADER } else { bytes.len() } as u64;
        let error = PackError::Truncated { has: has as u64, needed };
        assert_eq!(unpack(&bytes[..has]), Err(error), "{has} bytes");
    }
}

#[test]
fn every_changed_bit_is_refused() {
    let bytes = sample();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = unpack(&bytes).expect_err("it was changed");
        let is_expected = match bit / 8 {
            0..8 => error == PackError::NoMagic,
            8..12 => matches!(error, PackError::Version { .. }),
            16..24 => matches!(error, PackError::Truncated { .. } | PackError::Checksum { .. }),
            _ => matches!(error, PackError::Checksum { .. }),
        };
        assert!(is_expected, "bit {bit}: {error}");
    }
}

#[test]
fn what_follows_the_pack_is_not_looked_at() {
    let bytes = [sample(), vec![0; 4096]].concat();
    assert!(unpack(&bytes).is_ok());
}

#[test]
fn a_length_within_the_header_is_refused() {
    for total in 0..HEADER as u64 {
        let mut bytes = sample();
        bytes[16..24].copy_from_slice(&total.to_le_bytes());
        let error = PackError::Truncated { has: total, needed: HEADER as u64 };
        assert_eq!(unpack(&bytes), Err(error));
    }
}

#[test]
fn contents_longer_than_the_pack_are_refused() {
    let mut bytes = sample();
    let total = bytes.len();
    bytes[24..28].copy_from_slice(&(total as u32).to_le_bytes());
    let error = PackError::Truncated { has: (total - HEADER) as u64, needed: total as u64 };
    assert_eq!(unpack(&with_checksum(bytes)), Err(error));
}

#[test]
fn contents_that_are_no_plan_are_refused() {
    assert!(matches!(unpack(&forged(&[])), Err(PackError::BadPlan { .. })));
    assert!(matches!(unpack(&forged(&[0xff; 40])), Err(PackError::BadPlan { .. })));
}

#[test]
fn an_image_outside_of_the_pack_is_refused() {
    for (offset, len) in [(0, 1), (1, 0), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
        let spans = [ImageSpans {
            kernel: Span { offset, len },
            bios: None,
            modules: Vec::new(),
            disks: Vec::new(),
        }]
        .to_vec();
        let contents = postcard::to_allocvec(&(plan(1), spans)).expect("there is memory");
        let error = PackError::ImageRange { vm: 0, offset, len, has: 0 };
        assert_eq!(unpack(&forged(&contents)), Err(error));
    }
}

#[test]
fn as_many_images_as_vms_are_needed() {
    let image = Images::of(b"kernel");
    let bytes = pack(&plan(2), &vec![image; 3], &vec![vec![]; 3]);
    assert_eq!(unpack(&bytes), Err(PackError::ImageCount { images: 3, vms: 2 }));
}

#[test]
fn errors_name_the_amounts() {
    let error = |bytes: &[u8]| unpack(bytes).expect_err("it is no pack").to_string();
    assert_eq!(error(b"TANDEMPK"), "the packed plan has 8 bytes; needed: 28");
    assert_eq!(error(b"tandem"), "the packed plan does not begin with its magic, TANDEMPK");
    let mut bytes = sample();
    bytes[8] = 200;
    assert_eq!(
        error(&bytes),
        alloc::format!("the packed plan has version 200; allowed: {VERSION}")
    );
}
