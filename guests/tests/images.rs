//! Every image can be loaded as the multiboot specification says, and found by its name.

use guests::{IMAGES, Image, find};
use std::collections::HashSet;

const MAGIC: u32 = 0x1BAD_B002;
const FLAGS: u32 = 0x0001_0003;
const HEADER_SEARCHED_BYTES: usize = 8192;
const LOAD_ADDRESS: u32 = 0x10_0000;
/// Where an image lies that can also be entered as a raw one.
const RAW_ADDRESS: u32 = 0x20_0000;
const SMALLEST_RAM: u32 = 8 << 20;

fn word(image: &Image, index: usize) -> u32 {
    let bytes = image.bytes[index * 4..index * 4 + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}

fn multiboot_images() -> impl Iterator<Item = &'static Image> {
    IMAGES.iter().filter(|image| !["flat_hello", "nimble"].contains(&image.name))
}

#[test]
fn names_are_unique_and_found() {
    let names: HashSet<_> = IMAGES.iter().map(|image| image.name).collect();
    assert_eq!(names.len(), IMAGES.len());
    for image in IMAGES {
        assert_eq!(find(image.name).map(|found| found.bytes), Some(image.bytes));
        assert!(!image.summary.is_empty(), "{} has no summary", image.name);
    }
    assert!(find("no such image").is_none());
}

#[test]
fn multiboot_header_is_first_and_sums_to_zero() {
    for image in multiboot_images() {
        assert!(image.bytes.len() >= 32 && 32 < HEADER_SEARCHED_BYTES);
        let text_mode = if image.name == "text_screen" { 1 << 2 } else { 0 };
        let flags = FLAGS | text_mode;
        assert_eq!((word(image, 0), word(image, 1)), (MAGIC, flags), "{}", image.name);
        let sum = word(image, 0).wrapping_add(word(image, 1)).wrapping_add(word(image, 2));
        assert_eq!(sum, 0, "{}", image.name);
    }
}

#[test]
fn address_fields_describe_the_file() {
    for image in multiboot_images() {
        let [header, load, load_end, bss_end, entry] = [3, 4, 5, 6, 7].map(|at| word(image, at));
        assert_eq!((header, load), (LOAD_ADDRESS, LOAD_ADDRESS), "{}", image.name);
        assert_eq!(load_end - load, image.bytes.len() as u32, "{}", image.name);
        assert!((load..load_end).contains(&entry), "{}", image.name);
        assert!(bss_end >= load_end && bss_end <= SMALLEST_RAM, "{}", image.name);
    }
}

#[test]
fn flat_image_starts_with_code() {
    let image = find("flat_hello").expect("the flat image");
    assert_eq!(image.bytes[0], 0xFA, "cli");
    assert!(image.bytes.windows(11).any(|window| window == b"flat: hello"));
}

#[test]
fn the_image_for_both_ways_is_entered_at_its_first_byte_by_either() {
    let image = find("nimble").expect("the image");
    let searched = image.bytes.len().min(HEADER_SEARCHED_BYTES) / 4;
    let at = (0..searched).find(|&at| word(image, at) == MAGIC).expect("a header");
    assert_eq!(word(image, at + 1), FLAGS);
    assert_eq!(word(image, at).wrapping_add(FLAGS).wrapping_add(word(image, at + 2)), 0);
    let [header, load, load_end, bss_end, entry] = [3, 4, 5, 6, 7].map(|of| word(image, at + of));
    assert_eq!((header, load, entry), (RAW_ADDRESS + at as u32 * 4, RAW_ADDRESS, RAW_ADDRESS));
    assert_eq!(load_end - load, image.bytes.len() as u32);
    assert!(bss_end >= load_end && bss_end <= SMALLEST_RAM);
}
