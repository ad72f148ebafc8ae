use super::*;
use crate::boot::tests::RAM;
use crate::boot::tests::samples::{self, ElfFile, MACHINE_X86_64, Segment as Part, put};
use alloc::vec;

fn file(is_64_bit: bool, segments: Vec<Part>) -> Vec<u8> {
    ElfFile { is_64_bit, machine: MACHINE_X86_64, entry: 0x20_0000, segments }.build()
}

/// What is put, or why not.
fn load(image: &[u8]) -> Result<Vec<super::super::Piece>, BootError> {
    let mut layout = Layout::new(RAM);
    Elf::read(image)?.put(&mut layout)?;
    Ok(layout.into_pieces())
}

#[track_caller]
fn assert_refused(image: &[u8], why: &str) {
    let error = load(image).unwrap_err();
    assert!(error.why.contains(why), "{error}");
}

#[test]
fn segments_of_both_classes_lie_at_their_physical_addresses() {
    for is_64_bit in [false, true] {
        let mut high = Part::load(0x20_0000, vec![7; 10]);
        high.virtual_address = 0xc020_0000;
        let image = file(is_64_bit, vec![high, Part::load(0x10_0000, vec![9; 3])]);
        let pieces = load(&image).expect("it is well-formed");
        let bytes: Vec<_> = pieces
            .iter()
            .map(|piece| match piece.content {
                Content::Kernel { offset, len } => (piece.address, &image[offset..offset + len]),
                _ => panic!("{piece:?}"),
            })
            .collect();
        assert_eq!(bytes, [(0x20_0000, &[7; 10][..]), (0x10_0000, &[9; 3][..])]);
    }
}

#[test]
fn memory_behind_a_segments_bytes_is_its_own() {
    let mut first = Part::load(0x20_0000, vec![1]);
    first.memory_bytes = 0x1001;
    let second = Part::load(0x20_1000, vec![1]);
    assert_refused(&file(true, vec![first, second]), "to 0x201001 is in the way of segment 1");
}

#[test]
fn entries_are_looked_for_at_both_kinds_of_addresses() {
    let image = samples::multiboot_elf(true);
    let elf = Elf::read(&image).expect("it is well-formed");
    assert_eq!((elf.physical_entry(), elf.translated_entry()), (None, Some(0x20_0010)));
    let image = samples::vmlinux();
    let elf = Elf::read(&image).expect("it is well-formed");
    assert_eq!((elf.physical_entry(), elf.translated_entry()), (Some(0x20_0000), None));
    assert!(elf.is_loaded(0x20_00ff) && !elf.is_loaded(0x20_0100));
}

#[test]
fn a_note_is_found_behind_others_and_by_name_and_type() {
    let image = samples::pvh(true);
    let elf = Elf::read(&image).expect("it is well-formed");
    assert_eq!(elf.note(b"Xen", 18).expect("well-formed").map(<[u8]>::len), Some(8));
    assert_eq!(elf.note(b"GNU", 3).expect("well-formed").map(<[u8]>::len), Some(20));
    assert_eq!(elf.note(b"GNU", 18), Ok(None));
    assert_eq!(elf.note(b"Xe", 18), Ok(None));
}

#[test]
fn files_cut_anywhere_are_errors_not_panics() {
    for is_64_bit in [false, true] {
        let whole = samples::pvh(is_64_bit);
        for len in 0..whole.len() {
            let image = &whole[..len];
            let notes = Elf::read(image).and_then(|elf| elf.note(b"Xen", 18).map(drop));
            assert!(load(image).is_err() || notes.is_err(), "{len}");
        }
        assert!(load(&whole).is_ok());
    }
}

#[test]
fn lengths_that_overflow_are_errors() {
    let table = samples::program_headers(true);
    // p_offset, p_paddr, p_filesz, p_memsz.
    for field in [8, 24, 32, 40] {
        let mut image = samples::vmlinux();
        put(&mut image, table + field, &u64::MAX.to_le_bytes());
        assert!(load(&image).is_err(), "{field}");
    }
    let mut image = samples::vmlinux();
    put(&mut image, 32, &(u64::MAX - 8).to_le_bytes());
    assert_refused(&image, "e_phoff is 0xfffffffffffffff7");
}

#[test]
fn a_file_that_loads_nothing_is_refused() {
    let nothing = "no segment (PT_LOAD) has bytes to load";
    assert_refused(&file(true, vec![Part::note(vec![])]), nothing);
    let mut empty = Part::load(0x20_0000, vec![]);
    assert_refused(&file(true, vec![empty.clone()]), nothing);
    empty.memory_bytes = 0x1000;
    assert_refused(&file(true, vec![empty]), nothing);
    assert_refused(&file(true, vec![]), "e_phnum is 0; allowed: 1 to 64");
}
