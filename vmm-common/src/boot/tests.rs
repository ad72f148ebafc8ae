//! Helpers for all boot protocols' tests, and detection of an image's kind.

use super::{Boot, BootError, Content, Images, place};
use crate::plan::{BootKind, ImageSource, ModulePlan, VmPlan};
use crate::seed::{SeedVm, to_plan};
use alloc::vec::Vec;

// Each user takes some of it.
#[allow(dead_code)]
#[path = "../../tests/images/samples.rs"]
pub(super) mod samples;

pub(super) const RAM: u64 = 0x100_0000;

/// A machine with all devices and so much RAM.
pub(super) fn vm(kind: BootKind, cmdline: &str, memory: u64) -> VmPlan {
    let seed = SeedVm { id: 0, memory, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 };
    let mut vm = to_plan(&[seed]).vms.remove(0);
    vm.boot.kind = kind;
    vm.cmdline = cmdline.into();
    vm
}

/// Places a kernel with modules, each with its command line.
pub(super) fn place_with(
    vm: &mut VmPlan,
    kernel: &[u8],
    modules: &[(&[u8], &str)],
) -> Result<Boot, BootError> {
    let plan = |cmdline: &str| ModulePlan {
        source: ImageSource::File("module".into()),
        cmdline: cmdline.into(),
    };
    vm.boot.modules = modules.iter().map(|(_, cmdline)| plan(cmdline)).collect();
    let modules = modules.iter().map(|(bytes, _)| *bytes).collect();
    place(vm, &Images { modules, ..Images::of(kernel) })
}

/// RAM as it is before the first instruction, as far as bytes were made for it.
pub(super) struct Ram<'a>(pub(super) &'a Boot);

impl Ram<'_> {
    /// The bytes from there to the end of their piece.
    pub(super) fn at(&self, address: u64) -> &[u8] {
        let bytes = self.0.pieces.iter().find_map(|piece| match &piece.content {
            Content::Bytes(bytes) => {
                let bytes = bytes.get(address.checked_sub(piece.address)? as usize..)?;
                (!bytes.is_empty()).then_some(bytes)
            }
            _ => None,
        });
        bytes.unwrap_or_else(|| panic!("nothing was made for {address:#x}"))
    }

    pub(super) fn u32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.at(address)[..4].try_into().expect("four bytes"))
    }

    pub(super) fn u64(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.at(address)[..8].try_into().expect("eight bytes"))
    }

    /// The text there, up to its zero.
    pub(super) fn text(&self, address: u64) -> &str {
        let bytes = self.at(address).split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(bytes).expect("it is text")
    }

    /// Asserts that ACPI's root pointer lies there.
    pub(super) fn assert_rsdp(&self, address: u64) {
        assert_eq!(&self.at(address)[..8], b"RSD PTR ");
    }
}

/// The memory map of a machine with [`RAM`] whose EBDA begins at `ebda`: address, length, type.
pub(super) const fn map(ebda: u64) -> [(u64, u64, u32); 4] {
    [
        (0, ebda, 1),
        (ebda, 0xa_0000 - ebda, 2),
        (0xe_0000, 0x2_0000, 2),
        (0x10_0000, RAM - 0x10_0000, 1),
    ]
}

#[test]
fn an_image_is_what_it_says_it_is() {
    let kind = |image: &[u8]| super::kind_of(image).expect("it says");
    assert_eq!(kind(&samples::multiboot_by_addresses()), BootKind::Multiboot);
    for is_64_bit in [false, true] {
        assert_eq!(kind(&samples::multiboot_elf(is_64_bit)), BootKind::Multiboot);
        assert_eq!(kind(&samples::pvh(is_64_bit)), BootKind::Pvh);
    }
    assert_eq!(kind(&samples::bzimage()), BootKind::Linux);
    assert_eq!(kind(&samples::vmlinux()), BootKind::Linux);
    assert_eq!(kind(&[0xf4]), BootKind::Flat);
}

#[test]
fn an_elf_file_that_says_nothing_is_no_flat_image() {
    let mut image = samples::vmlinux();
    samples::put(&mut image, 18, &samples::MACHINE_386.to_le_bytes());
    let error = super::kind_of(&image).unwrap_err();
    assert!(error.why.contains("e_machine 3 that has neither"), "{error}");
    assert!(super::kind_of(b"\x7fELF").is_err());
}

#[test]
fn every_valid_sample_is_placed_as_what_it_is() {
    let images: [(BootKind, Vec<u8>); 8] = [
        (BootKind::Multiboot, samples::multiboot_by_addresses()),
        (BootKind::Multiboot, samples::multiboot_elf(false)),
        (BootKind::Multiboot, samples::multiboot_elf(true)),
        (BootKind::Pvh, samples::pvh(false)),
        (BootKind::Pvh, samples::pvh(true)),
        (BootKind::Linux, samples::vmlinux()),
        (BootKind::Linux, samples::bzimage()),
        (BootKind::Flat, [0xf4].to_vec()),
    ];
    for (index, (kind, image)) in images.iter().enumerate() {
        for kind in [*kind, BootKind::Auto] {
            let placed = place(&vm(kind, "", RAM), &Images::of(image));
            assert!(placed.is_ok(), "{index} as {kind:?}: {}", placed.unwrap_err());
        }
    }
}
