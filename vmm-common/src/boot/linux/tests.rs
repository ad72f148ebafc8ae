use super::*;
use crate::boot::tests::samples::{self, put};
use crate::boot::tests::{RAM, Ram, map, place_with, vm};
use crate::plan::BootKind;
use crate::registers::segment;
use alloc::vec;
use alloc::vec::Vec;

/// Where the boot parameters lie where no image does: at the top of low memory.
const PARAMS: u64 = 0x9_f000;
/// Where the EBDA begins, beneath all that a 64-bit entry needs.
const EBDA: u64 = 0x9_2c00;

/// A bzImage with some bytes of it written over.
fn bzimage(changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut image = samples::bzimage();
    for (at, bytes) in changes {
        put(&mut image, *at, bytes);
    }
    image
}

fn place(image: &[u8], cmdline: &str, initrd: Option<&[u8]>) -> Result<Boot, BootError> {
    let modules: Vec<(&[u8], &str)> = initrd.iter().map(|bytes| (*bytes, "")).collect();
    place_with(&mut vm(BootKind::Linux, cmdline, RAM), image, &modules)
}

#[track_caller]
fn assert_refused(image: &[u8], why: &str) {
    let error = place(image, "", None).unwrap_err();
    assert!(error.why.contains(why), "{error}");
}

fn address_of(boot: &Boot, wanted: &Content) -> u64 {
    let piece = boot.pieces.iter().find(|piece| piece.content == *wanted);
    piece.unwrap_or_else(|| panic!("{wanted:?}")).address
}

#[test]
fn a_64_bit_kernel_is_entered_in_long_mode_with_its_parameters() {
    let boot = place(&samples::bzimage(), "", None).expect("well-formed");
    let registers = boot.registers;
    assert_eq!(registers.rip, 0x10_0200);
    assert_eq!(registers.general[general::RSI], PARAMS);
    // Paging and protection; PAE; LME and LMA.
    let modes = (registers.cr0, registers.cr4, registers.efer);
    assert_eq!(modes, (0x8000_0011, 0x20, 0x500));
    assert_eq!(registers.general[general::RSP], 0x9_7000, "beneath the page tables");
    assert_eq!(registers.segments[segment::CS].selector, 0x10);
    assert_eq!(registers.segments[segment::CS].access, 0xa09b);
    assert_eq!(registers.segments[segment::DS].selector, 0x18);
    assert_eq!(address_of(&boot, &Content::Kernel { offset: 0x400, len: 0x400 }), 0x10_0000);
}

#[test]
fn without_a_64_bit_entry_a_kernel_is_entered_in_protected_mode() {
    let old = bzimage(&[(0x206, &[0x0b])]);
    for image in [bzimage(&[(0x236, &[0])]), old] {
        let boot = place(&image, "", None).expect("well-formed");
        let registers = boot.registers;
        assert_eq!((registers.rip, registers.general[general::RSI]), (0x10_0000, PARAMS));
        assert_eq!((registers.cr0, registers.cr4, registers.efer), (0x11, 0, 0));
        assert_eq!(registers.general[general::RSP], 0x9_d000, "beneath the GDT");
        let zeros = [general::RBP, general::RDI, general::RBX];
        assert!(zeros.iter().all(|register| registers.general[*register] == 0));
        assert_eq!(registers.segments[segment::CS].access, 0xc09b);
        assert_descriptors(&boot, 0x00cf_9b00_0000_ffff);
    }
}

#[test]
fn the_descriptors_that_a_kernel_loads_again_are_there() {
    let boot = place(&samples::bzimage(), "", None).expect("well-formed");
    assert_descriptors(&boot, 0x00af_9b00_0000_ffff);
}

#[track_caller]
fn assert_descriptors(boot: &Boot, code: u64) {
    let (ram, table) = (Ram(boot), boot.registers.gdtr);
    assert_eq!(table.limit, 31);
    assert_eq!(ram.u64(table.base + 0x10), code);
    assert_eq!(ram.u64(table.base + 0x18), 0x00cf_9300_0000_ffff);
}

#[test]
fn the_page_tables_show_four_gib_where_they_are() {
    let boot = place(&samples::bzimage(), "", None).expect("well-formed");
    let ram = Ram(&boot);
    let present_writable_large = 0x83;
    for address in [0, 0x20_0000, 0x3fff_ffff, 0x4000_0000, 0xfee0_0000, 0xffff_ffff_u64] {
        let next = |table: u64, shift: u32| {
            let entry = ram.u64(table + (address >> shift & 0x1ff) * 8);
            assert_eq!(entry & 0xf7f, 3, "present and writable");
            entry
        };
        let pointers = next(boot.registers.cr3, 39) & !0xfff;
        let directory = next(pointers, 30) & !0xfff;
        let page = next(directory, 21);
        assert_eq!(page, address & !0x1f_ffff | present_writable_large);
    }
    assert_eq!(ram.u64(boot.registers.cr3 + 8), 0, "512 GiB and above");
}

#[test]
fn the_parameters_hold_the_header_and_what_the_loader_knows() {
    let boot = place(&samples::bzimage(), "console=ttyS0", Some(&[7; 0x1234])).expect("it fits");
    let (ram, image) = (Ram(&boot), samples::bzimage());
    let params = ram.at(PARAMS);
    assert_eq!(params[0x1f1..0x210], image[0x1f1..0x210]);
    assert_eq!(params[0x22c..0x268], image[0x22c..0x268]);
    assert!(params[..0x70].iter().chain(&params[0x78..0x1e8]).all(|byte| *byte == 0));
    assert_eq!(params[0x1ef], 0, "the sentinel, which says that all of it was made");
    assert_eq!(params[0x210], 0xff, "type_of_loader");
    ram.assert_rsdp(ram.u64(PARAMS + 0x70));
    assert_eq!(ram.text(ram.u32(PARAMS + 0x228).into()), "console=ttyS0");
    let initrd = address_of(&boot, &Content::Module(0));
    assert_eq!(u64::from(ram.u32(PARAMS + 0x218)), initrd);
    assert_eq!(ram.u32(PARAMS + 0x21c), 0x1234);
    assert_eq!(initrd, RAM - 0x2000, "as high as it may lie, at a page");
    assert_map(&boot);
}

#[track_caller]
fn assert_map(boot: &Boot) {
    let ram = Ram(boot);
    assert_eq!(ram.at(PARAMS)[0x1e8], 4, "e820_entries");
    for (index, entry) in map(EBDA).into_iter().enumerate() {
        let at = PARAMS + 0x2d0 + index as u64 * 20;
        assert_eq!((ram.u64(at), ram.u64(at + 8), ram.u32(at + 16)), entry);
    }
}

#[test]
fn an_initrd_lies_below_initrd_addr_max() {
    let image = bzimage(&[(0x22c, &0x5f_ffff_u32.to_le_bytes())]);
    let boot = place(&image, "", Some(&[7; 0x1001])).expect("it fits");
    assert_eq!(address_of(&boot, &Content::Module(0)), 0x5f_e000 - 0x1000 + 0x1000);
    for absurd in [0_u32, 0xfff] {
        let image = bzimage(&[(0x22c, &absurd.to_le_bytes())]);
        let error = place(&image, "", Some(&[7; 0x1001])).unwrap_err();
        assert!(error.why.contains("the end of initrd_addr_max"), "{error}");
        assert!(place(&image, "", None).is_ok(), "without an initrd it does not matter");
    }
    let anywhere = bzimage(&[(0x22c, &[0xff; 4])]);
    assert!(place(&anywhere, "", Some(&[7; 0x1001])).is_ok());
}

#[test]
fn no_initrd_is_an_initrd_of_no_length() {
    let boot = place(&samples::bzimage(), "", None).expect("well-formed");
    let ram = Ram(&boot);
    assert_eq!((ram.u32(PARAMS + 0x218), ram.u32(PARAMS + 0x21c)), (0, 0));
}

#[test]
fn a_command_line_is_as_long_as_cmdline_size_allows() {
    let image = bzimage(&[(0x238, &4_u32.to_le_bytes())]);
    assert!(place(&image, "quit", None).is_ok());
    let error = place(&image, "quiet", None).unwrap_err();
    assert!(error.why.contains("has 5 bytes; allowed by the kernel's cmdline_size: up to 4"));
    let none = bzimage(&[(0x238, &[0; 4])]);
    assert!(place(&none, "", None).is_ok() && place(&none, "x", None).is_err());
    let absurd = bzimage(&[(0x238, &[0xff; 4])]);
    assert!(place(&absurd, &"x".repeat(4096), None).is_ok());
}

#[test]
fn no_setup_sectors_are_four() {
    let mut image = bzimage(&[(0x1f1, &[0]), (0x1f4, &[0x21, 0, 0, 0])]);
    image.resize(5 * 512 + 0x210, 0x90);
    let boot = place(&image, "", None).expect("well-formed");
    assert_eq!(address_of(&boot, &Content::Kernel { offset: 0xa00, len: 0x210 }), 0x10_0000);
}

#[test]
fn what_lies_behind_the_kernel_does_no_harm() {
    let mut image = samples::bzimage();
    image.extend(vec![0; 100]);
    assert!(place(&image, "", None).is_ok());
}

#[test]
fn a_file_may_end_within_the_last_paragraph_that_syssize_counts() {
    let mut image = samples::bzimage();
    for len in 0x7f1..0x800 {
        image.resize(len, 0xf4);
        let boot = place(&image, "", None).expect("not padded");
        let content = Content::Kernel { offset: 0x400, len: len - 0x400 };
        assert_eq!(address_of(&boot, &content), 0x10_0000);
    }
    image.truncate(0x7f0);
    assert_refused(&image, "syssize is 1024 bytes; allowed: 528 to 1008, what the file has");
}

#[test]
fn a_kernel_has_the_memory_it_asks_for() {
    let preferred = |address: u64| bzimage(&[(0x258, &address.to_le_bytes())]);
    assert!(place(&preferred(0xf0_0000), "", None).is_err(), "rounded up to 16 MiB");
    assert!(place(&preferred(0xe0_0000), "", None).is_ok());
    assert_refused(&preferred(0xe0_0001), "init_size lead to 0x1100000, memory to 0x1000000");
    assert_refused(&preferred(u64::MAX), "pref_address is 0xffffffffffffffff");
    assert_refused(&bzimage(&[(0x260, &[0xff; 4])]), "init_size lead to 0x1001fffff");
    // Nothing of it is given to the initrd.
    let boot = place(&preferred(0xe0_0000), "", Some(&[7; 0x1001])).expect("it fits");
    assert_eq!(address_of(&boot, &Content::Module(0)), RAM - 0x2000);
    let error = place(&preferred(0xe0_0000), "", Some(&vec![7; 0xd0_1000])).unwrap_err();
    assert!(error.why.contains("do not fit below 0x1000000, the end of memory"), "{error}");
}

#[test]
fn a_kernel_that_may_lie_anywhere_needs_an_alignment() {
    for absurd in [0_u32, 3, u32::MAX] {
        let alignment = absurd.to_le_bytes();
        assert_refused(&bzimage(&[(0x230, &alignment)]), "kernel_alignment is");
        let fixed = bzimage(&[(0x230, &alignment), (0x234, &[0])]);
        assert!(place(&fixed, "", None).is_ok(), "it goes where it prefers");
    }
    assert_refused(&bzimage(&[(0x230, &[0, 0, 0, 0x80])]), "lead to 0x80100000");
    // Not relocatable, and nothing said: what follows it is all it needs.
    let silent = bzimage(&[(0x234, &[0]), (0x258, &[0; 12])]);
    assert!(place(&silent, "", None).is_ok());
}

#[test]
fn versions_from_2_06_on_have_the_fields_they_should() {
    let version = |minor: u8, jump: u8| bzimage(&[(0x206, &[minor, 2]), (0x201, &[jump])]);
    for (minor, jump) in [(6, 0x3a), (9, 0x3a), (10, 0x62), (12, 0x66), (15, 0x6a), (15, 0x8e)] {
        assert!(place(&version(minor, jump), "", None).is_ok(), "2.{minor:02}");
    }
    for (minor, jump) in [(6, 0x39), (10, 0x61), (12, 0x65), (15, 0x8f), (15, 0)] {
        assert_refused(&version(minor, jump), "jump leads to the header's end at");
    }
    assert_refused(&version(5, 0x6a), "version is 2.05; allowed: 2.06 to 2.255");
    assert_refused(&bzimage(&[(0x206, &[0, 3])]), "version is 3.00");
    // Of a header without init_size the bytes there mean nothing.
    let old = bzimage(&[(0x206, &[9, 2]), (0x201, &[0x3a]), (0x258, &[0xff; 12])]);
    assert!(place(&old, "", None).is_ok());
}

#[test]
fn headers_cut_anywhere_are_errors_not_panics() {
    for len in 0..0x7f1 {
        assert!(place(&samples::bzimage()[..len], "", None).is_err(), "{len:#x}");
    }
}

#[test]
fn a_zimage_is_refused() {
    assert_refused(&bzimage(&[(0x211, &[0x80])]), "loadflags is 0x80, a zImage");
}

#[test]
fn linux_takes_one_initrd() {
    let mut vm = vm(BootKind::Linux, "", RAM);
    let modules: [(&[u8], &str); 2] = [(&[1], ""), (&[2], "")];
    let error = place_with(&mut vm, &samples::bzimage(), &modules).unwrap_err();
    assert_eq!(error.part, Part::Module(1));
}

#[test]
fn a_vmlinux_is_entered_at_its_physical_entry_with_parameters_made_for_it() {
    let boot = place(&samples::vmlinux(), "quiet", Some(&[7; 16])).expect("well-formed");
    assert_eq!(boot.registers.rip, 0x20_0000);
    assert_eq!((boot.registers.efer, boot.registers.general[general::RSI]), (0x500, PARAMS));
    let ram = Ram(&boot);
    let params = ram.at(PARAMS);
    assert_eq!((&params[0x202..0x208], params[0x211]), (&b"HdrS\x0c\x02"[..], 1));
    assert_eq!((params[0x210], params[0x1ef]), (0xff, 0));
    assert_eq!(ram.text(ram.u32(PARAMS + 0x228).into()), "quiet");
    assert_eq!(ram.u32(PARAMS + 0x21c), 16);
    assert_map(&boot);
    let error = place(&samples::vmlinux(), &"x".repeat(2048), None).unwrap_err();
    assert!(error.why.contains("up to 2047"), "{error}");
}

#[test]
fn a_32_bit_elf_file_is_no_64_bit_kernel() {
    assert_refused(&samples::pvh(false), "EI_CLASS is 1 and e_machine 3; allowed for Linux: 2 and");
}

#[test]
fn what_is_no_kernel_at_all_is_refused() {
    assert_refused(&[0xf4; 0x1000], "neither HdrS at 0x202 nor an ELF file");
}
