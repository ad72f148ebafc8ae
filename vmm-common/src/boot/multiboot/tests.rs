use super::*;
use crate::boot::Piece;
use crate::boot::tests::vm;
use crate::plan::BootKind;

const LOAD: u32 = 0x20_0000;
const RAM: u64 = 0x100_0000;

/// An image whose header lies 16 bytes in, loaded at `LOAD`, entered 64 bytes in.
fn image_with(load_end: u32, bss_end: u32) -> Vec<u8> {
    let flags = 0x10003_u32;
    let checksum = 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
    let words = [0x1bad_b002, flags, checksum, LOAD + 16, LOAD, load_end, bss_end, LOAD + 64];
    let mut image = vec![0x90; 4096];
    for (index, word) in words.into_iter().enumerate() {
        image[16 + index * 4..20 + index * 4].copy_from_slice(&word.to_le_bytes());
    }
    image
}

fn place_image(image: &[u8]) -> Result<Boot, BootError> {
    let vm = vm(BootKind::Auto, "usertests; poweroff", RAM);
    crate::boot::place(&vm, &Images::of(image))
}

#[test]
fn an_image_with_address_fields_is_placed_and_entered_where_they_say() {
    let boot = place_image(&image_with(0, 0)).expect("it is well-formed");
    let content = Content::Kernel { offset: 0, len: 4096 };
    assert_eq!(boot.pieces[0], Piece { address: 0x20_0000, content });
    assert_eq!(boot.registers.rip, 0x20_0040);
    assert_eq!(boot.registers.general[general::RAX], 0x2bad_b002);
}

#[test]
fn the_information_holds_memory_command_line_and_map() {
    let boot = place_image(&image_with(0, 0)).expect("it is well-formed");
    let information = boot.pieces.last().expect("the information is last");
    let Piece { address, content: Content::Bytes(bytes) } = information else { panic!("bytes") };
    assert_eq!(*address, boot.registers.general[general::RBX]);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(4), word(8)), (640, 15 * 1024));
    let cmdline = &bytes[word(16) as usize - *address as usize..];
    assert_eq!(cmdline, b"usertests; poweroff\0");
    assert_eq!(word(44), 72, "three entries in the memory map");
}

#[test]
fn a_header_that_contradicts_itself_or_the_memory_is_refused() {
    let beyond_file = place_image(&image_with(LOAD + 5000, 0)).unwrap_err();
    assert!(beyond_file.why.contains("load_end_addr is beyond the file"), "{beyond_file}");
    let below_load = place_image(&image_with(LOAD - 1, 0)).unwrap_err();
    assert!(below_load.why.contains("load_end_addr is below load_addr"), "{below_load}");
    let bss = place_image(&image_with(0, 0x200_0000)).unwrap_err();
    assert!(bss.why.contains("ends at 0x2000000, memory at 0x1000000"), "{bss}");
}

#[test]
fn a_wrong_checksum_is_no_header() {
    let mut image = image_with(0, 0);
    image[24] ^= 1;
    assert_eq!(Header::find(&image), None);
    let vm = vm(BootKind::Multiboot, "", RAM);
    let asked_for = crate::boot::place(&vm, &Images::of(&image)).unwrap_err();
    assert!(asked_for.why.contains("no multiboot header"), "{asked_for}");
}

#[test]
fn cut_and_random_elf_files_are_errors_not_panics() {
    let mut image = image_with(0, 0);
    image[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 1]);
    // Flags without bit 16: the ELF program headers decide.
    let flags = 3_u32;
    image[20..24].copy_from_slice(&flags.to_le_bytes());
    let checksum = 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
    image[24..28].copy_from_slice(&checksum.to_le_bytes());
    for len in 28..200 {
        let error = place_image(&image[..len]).unwrap_err();
        assert!(error.why.contains("ELF"), "{len}: {error}");
    }
}
