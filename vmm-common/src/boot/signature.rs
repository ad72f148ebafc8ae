//! Types of files that no protocol starts, by signature, so that they are refused by name instead
//! of run as raw code.

use super::{elf, multiboot, read_u16, read_u32};
use alloc::format;
use alloc::string::{String, ToString};

/// An offset, the bytes there, and the file's type.
struct Signature(usize, &'static [u8], &'static str);

/// Why it is none: the format's own specification has the magic number; where it lies follows.
#[rustfmt::skip]
const SIGNATURES: [Signature; 37] = [
    // Compressed (the magic numbers of the formats' specifications).
    Signature(0, &[0x1f, 0x8b], "compressed with gzip: unpack it"),
    Signature(0, &[0xfd, b'7', b'z', b'X', b'Z', 0], "compressed with xz: unpack it"),
    Signature(0, b"BZh", "compressed with bzip2: unpack it"),
    Signature(0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd: unpack it"),
    Signature(0, &[0x04, 0x22, 0x4d, 0x18], "compressed with lz4: unpack it"),
    Signature(0, &[0x02, 0x21, 0x4c, 0x18], "compressed with lz4: unpack it"),
    Signature(0, &[0x5d, 0, 0], "compressed with lzma: unpack it"),
    Signature(0, &[0x89, b'L', b'Z', b'O', 0], "compressed with lzop: unpack it"),
    // Kernels of other machines (Linux, Documentation/arch/arm64/booting.rst,
    // riscv/boot-image-header.rst).
    Signature(0x38, b"ARM\x64", "a Linux kernel for arm64 (an Image)"),
    Signature(0x38, b"RSC\x05", "a Linux kernel for RISC-V (an Image)"),
    Signature(0x24, &[0x18, 0x28, 0x6f, 0x01], "a Linux kernel for ARM (a zImage)"),
    Signature(0, &[0x27, 0x05, 0x19, 0x56], "a U-Boot image (uImage): the kernel in it is another \
        file"),
    Signature(0, &[0xd0, 0x0d, 0xfe, 0xed], "a device tree, or a U-Boot image in one (FIT)"),
    Signature(0, b"ANDROID!", "an Android boot image: the kernel in it is another file"),
    // Programs of other systems.
    Signature(0, &[0xcf, 0xfa, 0xed, 0xfe], "a Mach-O program"),
    Signature(0, &[0xce, 0xfa, 0xed, 0xfe], "a Mach-O program"),
    Signature(0, &[0xca, 0xfe, 0xba, 0xbe], "a Mach-O program, or a Java class"),
    Signature(0, b"\0asm", "a WebAssembly program"),
    // Archives and file systems.
    Signature(0, b"070701", "a cpio archive, which an initrd may be"),
    Signature(0, b"070702", "a cpio archive, which an initrd may be"),
    Signature(0, b"070707", "a cpio archive, which an initrd may be"),
    Signature(0, &[0xc7, 0x71], "a cpio archive, which an initrd may be"),
    Signature(257, b"ustar", "a tar archive"),
    Signature(0, b"PK\x03\x04", "a zip archive"),
    Signature(0, &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "a 7z archive"),
    Signature(0, b"!<arch>\n", "an archive of ar, as libraries and Debian's packages are"),
    Signature(0, &[0xed, 0xab, 0xee, 0xdb], "an RPM package"),
    Signature(0, b"hsqs", "a squashfs file system"),
    Signature(0x8001, b"CD001", "an ISO 9660 image of a CD: the kernel in it is another file"),
    Signature(0x200, b"EFI PART", "an image of a disk with a GPT: the kernel in it is another \
        file"),
    Signature(0x438, &[0x53, 0xef], "an ext2, ext3 or ext4 file system: the kernel in it is \
        another file"),
    Signature(0, b"QFI\xfb", "a QCOW disk image"),
    Signature(0, b"KDMV", "a VMDK disk image"),
    Signature(0, b"conectix", "a VHD disk image"),
    Signature(0x28, b"_FVH", "a UEFI firmware volume"),
    // A BIOS starts these.
    Signature(0x1fe, &[0x55, 0xaa], "a boot sector, or a disk that begins with one, which a BIOS \
        starts"),
    Signature(0, &[0x55, 0xaa], "an option ROM, which a BIOS starts"),
];

/// The type of `image`, if known and one that no protocol here starts.
pub(super) fn foreign(image: &[u8]) -> Option<String> {
    if let Some(why) = multiboot::near_miss(image) {
        return Some(why);
    }
    if elf::is_elf(image) {
        return None;
    }
    // Before the table: those of other machines may be EFI programs as well, and so are bzImages.
    let found = SIGNATURES.iter().find(|Signature(at, bytes, _)| {
        image.get(*at..).is_some_and(|rest| rest.starts_with(bytes))
    });
    if let Some(Signature(_, _, what)) = found.filter(|found| found.0 == 0x38) {
        return Some(what.to_string());
    }
    if let Some(what) = portable_executable(image) {
        return Some(what);
    }
    found.map(|Signature(_, _, what)| what.to_string()).or_else(|| plain(image))
}

/// A program for EFI, Windows or DOS (Microsoft's PE format, "MS-DOS Stub" and "COFF File Header").
fn portable_executable(image: &[u8]) -> Option<String> {
    const POINTER: usize = 0x3c;
    if !image.starts_with(b"MZ") {
        return None;
    }
    let at = read_u32(image, POINTER)? as usize;
    if image.get(at..).is_none_or(|rest| !rest.starts_with(b"PE\0\0")) {
        return Some(String::from("a program for DOS"));
    }
    Some(match read_u16(image, at + 4) {
        Some(0x8664 | 0x14c) => String::from("an EFI or Windows program (PE)"),
        Some(0xaa64) => String::from("an EFI or Windows program (PE) for arm64"),
        machine => {
            format!("an EFI or Windows program (PE) for machine {:#x}", machine.unwrap_or(0))
        }
    })
}

/// Text, or all zeros. A few bytes of code may look like anything.
fn plain(image: &[u8]) -> Option<String> {
    const LEAST_BYTES: usize = 16;
    const MOST_BYTES: usize = 4096;
    let begin = &image[..image.len().min(MOST_BYTES)];
    if begin.len() < LEAST_BYTES {
        return None;
    }
    if image.iter().all(|byte| *byte == 0) {
        return Some(String::from("nothing but zeros"));
    }
    let is_control = |byte: &u8| *byte < b' ' && !matches!(byte, b'\t'..=b'\r' | 0x1b);
    // The end of the checked bytes may split a character.
    let is_text = match core::str::from_utf8(begin) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && begin.len() == MOST_BYTES,
    };
    (is_text && !begin.iter().any(|byte| is_control(byte) || *byte == 0x7f))
        .then(|| String::from("a text file"))
}

/// A processor by its e_machine (System V ABI, "ELF Header"), if its kernels are common.
pub(super) const fn machine_name(machine: u16) -> Option<&'static str> {
    Some(match machine {
        2 | 18 | 43 => "SPARC",
        6 => "Intel MCU",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "64-bit PowerPC",
        22 => "S/390",
        40 => "ARM",
        50 => "Itanium",
        183 => "arm64",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::{RAM, samples, vm};
    use crate::boot::{Images, place};
    use crate::plan::BootKind;
    use alloc::vec;
    use alloc::vec::Vec;

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut image = vec![0x90; 0x9000];
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    }

    /// The message about a kernel whose protocol is not named.
    fn kind_or_message(image: &[u8]) -> Result<BootKind, String> {
        let placed = place(&vm(BootKind::Auto, "", RAM), &Images::of(image));
        placed.map(|boot| boot.kind).map_err(|error| error.why)
    }

    #[track_caller]
    fn assert_refused(image: &[u8], what: &str) {
        let expected = format!(
            "{what}; allowed: a multiboot 1, Linux or PVH kernel, or boot: raw for raw code"
        );
        assert_eq!(kind_or_message(image), Err(expected));
        let raw = place(&vm(BootKind::Flat, "", RAM), &Images::of(image));
        assert!(raw.is_ok(), "asked for, it is raw code");
    }

    #[test]
    fn every_signature_is_told_and_not_run() {
        for Signature(at, bytes, what) in SIGNATURES {
            assert_refused(&with(at, bytes), what);
        }
        assert_refused(b"\x1f\x8b\x08\0\0\0\0\0", "compressed with gzip: unpack it");
    }

    #[test]
    fn programs_for_efi_and_dos_are_told_by_their_machine() {
        let program = |machine: u16| {
            let mut image = with(0, b"MZ");
            samples::put(&mut image, 0x3c, &0x80_u32.to_le_bytes());
            samples::put(&mut image, 0x80, b"PE\0\0");
            samples::put(&mut image, 0x84, &machine.to_le_bytes());
            image
        };
        assert_refused(&program(0x8664), "an EFI or Windows program (PE)");
        assert_refused(&program(0xaa64), "an EFI or Windows program (PE) for arm64");
        assert_refused(&program(0x5064), "an EFI or Windows program (PE) for machine 0x5064");
        assert_refused(&with(0, b"MZ"), "a program for DOS");
        let mut image = program(0xaa64);
        samples::put(&mut image, 0x38, b"ARM\x64");
        assert_refused(&image, "a Linux kernel for arm64 (an Image)");
    }

    #[test]
    fn text_and_zeros_are_no_code() {
        assert_refused(b"root:x:0:0:root:/root:/bin/bash\n", "a text file");
        assert_refused("\u{e4}".repeat(5000).as_bytes(), "a text file");
        assert_refused(&[0; 100], "nothing but zeros");
        assert_refused("#!/bin/sh\necho \x1b[1m\t\u{fc}\r\n".as_bytes(), "a text file");
    }

    #[test]
    fn files_without_a_signature_are_raw_code() {
        for image in [vec![0xf4], b"text".to_vec(), vec![0x90; 100], with(0, b"code")] {
            assert_eq!(kind_or_message(&image), Ok(BootKind::Flat));
        }
    }

    #[test]
    fn elf_files_of_other_machines_and_user_programs_are_kind_or_message() {
        let mut image = samples::vmlinux();
        samples::put(&mut image, 18, &183_u16.to_le_bytes());
        let why = "e_machine is 183 (arm64); allowed: 3 (386) or 62 (x86-64)";
        assert_eq!(kind_or_message(&image), Err(why.into()));
        let mut image = samples::vmlinux();
        // The second program header's type.
        samples::put(&mut image, 64 + 56, &3_u32.to_le_bytes());
        assert!(
            kind_or_message(&image)
                .is_err_and(|why| why.starts_with("a program for an operating system"))
        );
        assert_eq!(kind_or_message(&samples::vmlinux()), Ok(BootKind::Linux));
    }

    #[test]
    fn a_protocol_that_is_named_in_vain_is_told_what_the_file_is() {
        let image = with(0, &[0x1f, 0x8b]);
        for kind in [BootKind::Multiboot, BootKind::Linux, BootKind::Pvh] {
            let error = place(&vm(kind, "", RAM), &Images::of(&image)).unwrap_err();
            assert!(
                error.why.starts_with("compressed with gzip: unpack it; allowed: a"),
                "{error}"
            );
        }
    }
}
