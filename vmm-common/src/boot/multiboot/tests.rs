use super::*;
use crate::boot::Piece;
use crate::boot::tests::{RAM, Ram, map, place_with, samples, vm};
use crate::plan::BootKind;

const LOAD: u32 = 0x20_0000;
/// Beneath the stack of 16 KiB and the information.
const EBDA: u64 = 0x9_ac00;

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
    assert_eq!(boot.registers.general[general::RSP], 0xa_0000);
    assert_eq!(boot.base_memory_kib, 619);
}

#[test]
fn the_information_holds_memory_command_line_and_map() {
    let boot = place_image(&image_with(0, 0)).expect("it is well-formed");
    let information = boot.pieces.last().expect("the information is last");
    let Piece { address, content: Content::Bytes(bytes) } = information else { panic!("bytes") };
    assert_eq!(*address, boot.registers.general[general::RBX]);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(4), word(8)), (619, 15 * 1024));
    let cmdline = &bytes[word(16) as usize - *address as usize..];
    assert_eq!(cmdline, b"usertests; poweroff\0");
    assert_eq!(word(44), 96, "four entries in the memory map");
}

#[test]
fn a_header_that_contradicts_itself_or_the_memory_is_refused() {
    let beyond_file = place_image(&image_with(LOAD + 5000, 0)).unwrap_err();
    assert!(beyond_file.why.contains("load_end_addr is 0x201388; allowed"), "{beyond_file}");
    let below_load = place_image(&image_with(LOAD - 1, 0)).unwrap_err();
    assert!(below_load.why.contains("load_end_addr is 0x1fffff; allowed"), "{below_load}");
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
    let why = "it has a multiboot header at 0x10 whose checksum is wrong, 0xe4514ffa where flags \
        of 0x10003 need 0xe4514ffb";
    assert!(asked_for.why.starts_with(why), "{asked_for}");
    let unasked = place_image(&image).unwrap_err();
    assert!(unasked.why.starts_with(why), "{unasked}");
}

#[test]
fn a_header_of_multiboot_2_or_out_of_place_is_told() {
    let mut second = vec![0x90; 0x1000];
    for (index, word) in [0xe852_50d6_u32, 0, 16, 0x17ad_af1a].iter().enumerate() {
        samples::put(&mut second, 0x40 + index * 4, &word.to_le_bytes());
    }
    let header = samples::multiboot_header(3, &[]);
    let out_of_place = |at: usize| {
        let mut image = vec![0x90; 0x4000];
        samples::put(&mut image, at, &header);
        image
    };
    let refused = [
        (second, "it has a multiboot 2 header at 0x40, and multiboot 2 is not supported"),
        (out_of_place(0x2000), "it has a multiboot header at 0x2000, where no loader looks"),
        (out_of_place(0x102), "it has a multiboot header at 0x102, where no loader looks"),
    ];
    for (image, why) in refused {
        let error = place_image(&image).unwrap_err();
        assert!(error.why.starts_with(why) && error.why.contains("; allowed: "), "{error}");
    }
}

#[test]
fn a_header_cut_off_in_its_address_fields_is_refused() {
    let image = image_with(0, 0);
    for len in 28..48 {
        assert!(place_image(&image[..len]).is_err(), "{len}");
    }
}

#[test]
fn the_fields_of_an_image_keep_their_order() {
    let with = |field: usize, value: u32| {
        let mut image = image_with(0, 0);
        samples::put(&mut image, 16 + field * 4, &value.to_le_bytes());
        place_image(&image).unwrap_err().why
    };
    let above = with(4, LOAD + 17);
    assert!(above.contains("load_addr is 0x200011; allowed by header_addr: up to 0x200010"));
    let before = with(4, LOAD - 1);
    assert!(before.contains("before the file; allowed: 0x200000 to 0x200010"), "{before}");
    assert!(with(6, LOAD + 1).contains("bss_end_addr is 0x200001; allowed: 0, or 0x201000"));
    for entry in [LOAD - 1, LOAD + 0x1000, 0, u32::MAX] {
        assert!(with(7, entry).contains("allowed: within what is loaded, 0x200000 to 0x201000"));
    }
}

#[test]
fn elf_files_of_both_classes_are_entered_in_32_bit_mode_where_they_were_loaded() {
    for is_64_bit in [false, true] {
        let boot = place_image(&samples::multiboot_elf(is_64_bit)).expect("well-formed");
        let registers = boot.registers;
        assert_eq!((registers.rip, registers.cr0 & 1, registers.efer), (0x20_0010, 1, 0));
        assert_eq!((boot.pieces[0].address, boot.pieces[1].address), (0x20_0000, 0x20_1000));
    }
}

#[test]
fn an_image_that_is_neither_is_refused() {
    let mut image = vec![0; 64];
    samples::put(&mut image, 0, &samples::multiboot_header(3, &[]));
    let error = place_image(&image).unwrap_err();
    assert!(error.why.contains("no address fields (bit 16), and the image is no ELF"), "{error}");
}

#[test]
fn demands_that_are_not_met_are_refused_and_wishes_are_not() {
    let with = |flags: u32| {
        let mut image = image_with(0, 0);
        let more = [LOAD + 16, LOAD, 0, 0, LOAD + 64];
        samples::put(&mut image, 16, &samples::multiboot_header(flags | 1 << 16, &more));
        place_image(&image)
    };
    for bit in 0..32 {
        let result = with(1 << bit);
        assert_eq!(result.is_ok(), !(2..16).contains(&bit), "bit {bit}");
    }
    // Behind the address fields is mode_type: 0 is a graphics mode, 1 text.
    assert!(with(4).unwrap_err().why.contains("which asks for graphics"));
    for (mode_type, is_granted) in [(0_u32, false), (1, true), (2, false)] {
        let mut image = image_with(0, 0);
        let more = [LOAD + 16, LOAD, 0, 0, LOAD + 64, mode_type, 80, 25, 0];
        samples::put(&mut image, 16, &samples::multiboot_header(4 | 1 << 16, &more));
        assert_eq!(place_image(&image).is_ok(), is_granted, "{mode_type}");
    }
    assert!(with(0x8000).unwrap_err().why.contains("something unknown (bits 3 to 15)"));
}

#[test]
fn the_information_describes_the_text_screen() {
    let boot = place_image(&image_with(0, 0)).expect("it is well-formed");
    let (ram, info) = (Ram(&boot), boot.registers.general[general::RBX]);
    assert_eq!(ram.u32(info) >> 12 & 1, 1, "flag 12: the framebuffer");
    assert_eq!(ram.u64(info + 88), 0xb_8000);
    assert_eq!([96, 100, 104].map(|at| ram.u32(info + at)), [160, 80, 25]);
    assert_eq!(ram.at(info + 108)[..2], [16, 2], "bits of a character, EGA text");
}

#[test]
fn modules_lie_at_whole_pages_in_order_with_their_command_lines() {
    let modules: [(&[u8], &str); 3] =
        [(&[1; 0x1001], "first -v"), (&[], "nothing"), (&[3; 0x1000], "")];
    let mut vm = vm(BootKind::Multiboot, "kernel", RAM);
    let boot = place_with(&mut vm, &image_with(0, 0), &modules).expect("they fit");
    let (ram, info) = (Ram(&boot), boot.registers.general[general::RBX]);
    assert_eq!(ram.u32(info) >> 3 & 1, 1, "flag 3: modules");
    assert_eq!(ram.u32(info + 20), 3);
    let list = u64::from(ram.u32(info + 24));
    let mut taken = vec![(LOAD, LOAD + 4096)];
    let mut begins = vec![LOAD];
    for (index, (bytes, cmdline)) in modules.iter().enumerate() {
        let at = list + index as u64 * 16;
        let (begin, end) = (ram.u32(at), ram.u32(at + 4));
        assert!(begin.is_multiple_of(0x1000) && begin >= 0x10_0000, "{begin:#x}");
        assert_eq!((end - begin) as usize, bytes.len());
        assert_eq!(ram.text(ram.u32(at + 8).into()), *cmdline);
        assert_eq!(ram.u32(at + 12), 0, "reserved");
        assert!(taken.iter().all(|taken| begin == end || taken.1 <= begin || end <= taken.0));
        taken.push((begin, end));
        assert!(!begins.contains(&begin), "an empty module has a place of its own: {begin:#x}");
        begins.push(begin);
        let piece = Piece { address: begin.into(), content: Content::Module(index) };
        assert!(boot.pieces.contains(&piece), "{piece:?}");
    }
    assert_eq!(ram.text(ram.u32(info + 16).into()), "kernel");
    assert_eq!(ram.text(ram.u32(info + 64).into()), "tandem");
}

#[test]
fn the_memory_map_is_that_of_the_machine() {
    let boot = place_image(&image_with(0, 0)).expect("it is well-formed");
    let (ram, info) = (Ram(&boot), boot.registers.general[general::RBX]);
    for (index, entry) in map(EBDA).into_iter().enumerate() {
        let at = u64::from(ram.u32(info + 48)) + index as u64 * 24;
        assert_eq!(ram.u32(at), 20, "bytes of the entry behind its size");
        assert_eq!((ram.u64(at + 4), ram.u64(at + 12), ram.u32(at + 20)), entry);
    }
}

#[test]
fn an_empty_module_does_not_begin_where_the_kernel_does() {
    let mut image = samples::multiboot_by_addresses();
    let fields = [0x10_0010, 0x10_0000, 0, 0, 0x10_0040];
    samples::put(&mut image, 16, &samples::multiboot_header(0x1_0003, &fields));
    let mut vm = vm(BootKind::Multiboot, "", RAM);
    let boot = place_with(&mut vm, &image, &[(&[], "empty")]).expect("it fits");
    let (ram, info) = (Ram(&boot), boot.registers.general[general::RBX]);
    let list = u64::from(ram.u32(info + 24));
    assert_eq!((ram.u32(list), ram.u32(list + 4)), (0x10_1000, 0x10_1000));
}

#[test]
fn ram_above_the_hole_goes_on_at_4_gib() {
    const GIB: u64 = 1 << 30;
    let place = |bytes| place_with(&mut vm(BootKind::Multiboot, "", bytes), &image_with(0, 0), &[]);
    let boot = place(5 * GIB).expect("it fits");
    let (ram, info) = (Ram(&boot), boot.registers.general[general::RBX]);
    let entry = |index: u64| {
        let at = u64::from(ram.u32(info + 48)) + index * 24;
        (ram.u64(at + 4), ram.u64(at + 12), ram.u32(at + 20))
    };
    assert_eq!(ram.u32(info + 44), 5 * 24);
    assert_eq!(entry(2), (0xe_0000, 0x2_0000, 2));
    assert_eq!(entry(3), (0x10_0000, 0xe000_0000 - 0x10_0000, 1));
    assert_eq!(entry(4), (4 * GIB, 5 * GIB - 0xe000_0000, 1));
    assert_eq!(ram.u32(info + 8), (0xe000_0000_u64 - 0x10_0000) as u32 / 1024);
}

#[test]
fn a_module_that_does_not_fit_is_named() {
    let modules: [(&[u8], &str); 2] = [(&[1], ""), (&vec![2; 0xe0_0000], "")];
    let mut vm = vm(BootKind::Multiboot, "", RAM);
    let error = place_with(&mut vm, &image_with(0, 0), &modules).unwrap_err();
    assert_eq!(error.part, Part::Module(1));
    assert!(error.why.contains("it has 14680064 bytes, which are not free"), "{error}");
}
