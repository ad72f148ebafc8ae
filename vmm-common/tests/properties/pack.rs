//! The packed plan: what was packed comes back, and any bytes are read or refused.

use crate::plans::plan;
use crate::runner::check;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vmm_common::boot::Images;
use vmm_common::pack::{MAGIC, PackError, Packed, VERSION, pack, unpack};
use vmm_common::plan::{DiskPlan, Writes};

#[test]
fn any_plan_comes_back_with_its_images() {
    let bytes = || vec(any::<u8>(), 0..300);
    let images = vec((bytes(), option::of(bytes())), 70);
    check(200, (plan(), images), |(mut plan, images)| {
        let held: Vec<&[u8]> = images.iter().map(|(kernel, _)| &kernel[..]).collect();
        let disks: Vec<Vec<&[u8]>> = (0..plan.vms.len()).map(|vm| vec![held[vm]; vm % 3]).collect();
        for (vm, disks) in plan.vms.iter_mut().zip(&disks) {
            let disk = |held: &&[u8]| DiskPlan {
                file: String::from("image"),
                bytes: held.len() as u64,
                writes: Writes::Discard,
            };
            vm.virtio.disks = disks.iter().map(disk).collect();
        }
        let images = images.iter().take(plan.vms.len());
        let images = images
            .map(|(kernel, bios)| Images { bios: bios.as_deref(), ..Images::of(kernel) })
            .collect();
        let packed = Packed { plan, images, disks };
        let bytes = pack(&packed.plan, &packed.images, &packed.disks);
        assert_eq!(unpack(&bytes), Ok(packed));
    });
}

#[test]
fn a_changed_pack_is_refused() {
    let change = (any::<prop::sample::Index>(), 1_u8..);
    check(300, (plan(), vec(change, 1..4)), |(plan, changes)| {
        let images = vec![Images::of(b"kernel"); plan.vms.len()];
        let packed = pack(&plan, &images, &vec![vec![]; plan.vms.len()]);
        let mut bytes = packed.clone();
        for (index, difference) in changes {
            bytes[index.index(packed.len())] ^= difference;
        }
        // Two changes may undo each other.
        assert!(bytes == packed || unpack(&bytes).is_err());
    });
}

#[test]
fn any_bytes_are_read_or_refused() {
    // Half of them with a header that is right, so that what is behind it is looked at.
    check(2000, (any::<bool>(), any::<u8>(), vec(any::<u8>(), 0..400)), |(is_led, len, rest)| {
        let mut bytes = rest.clone();
        if is_led {
            let total = 28 + rest.len() as u64;
            let mut covered = total.to_le_bytes().to_vec();
            covered.extend_from_slice(&u32::from(len).to_le_bytes());
            covered.extend_from_slice(&rest);
            let checksum = crc32(&covered).to_le_bytes();
            bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &checksum, &covered].concat();
        }
        let error = unpack(&bytes).err();
        assert!(!is_led || !matches!(error, Some(PackError::Checksum { .. })), "{error:?}");
    });
}

/// CRC-32 as Ethernet and zip have it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
    let byte = |crc, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}
