//! What a multiboot 1 loader said: the memory's size and map, and the command line with its words
//! and numbers. The image's entry code keeps EAX and EBX in `multiboot_magic` and
//! `multiboot_information`.

use super::power;
use core::ops::Range;
use core::slice;

unsafe extern "C" {
    static multiboot_magic: u32;
    static multiboot_information: u32;
}

/// EAX at the entry from a multiboot 1 loader.
const MULTIBOOT_MAGIC: u32 = 0x2BAD_B002;
const HAS_MEMORY_SIZES: u32 = 1 << 0;
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;
/// An entry of the memory map that is RAM.
const USABLE: u32 = 1;
/// The boot information and the command line must lie in RAM that every image maps.
const MAPPED_BYTES: u64 = 128 << 20;
const LONGEST_COMMAND_LINE: u64 = 1024;

/// The first fields of the multiboot 1 information structure.
#[repr(C)]
struct Information {
    flags: u32,
    lower_kibibytes: u32,
    upper_kibibytes: u32,
    boot_device: u32,
    command_line: u32,
    module_count: u32,
    modules: u32,
    symbols: [u32; 4],
    map_bytes: u32,
    map: u32,
}

/// An entry of the memory map; its size does not count itself.
#[repr(C, packed)]
struct MapEntry {
    size: u32,
    begin: u64,
    bytes: u64,
    kind: u32,
}

/// An entry of the list of modules.
#[repr(C)]
struct Entry {
    begin: u32,
    end: u32,
    command_line: u32,
    reserved: u32,
}

/// A module that the loader brought.
pub struct Module {
    /// Its own command line.
    pub command_line: &'static [u8],
    /// What is in it.
    pub bytes: &'static [u8],
}

/// Whether a multiboot 1 loader entered the image.
pub fn is_from_multiboot() -> bool {
    // SAFETY: the entry code wrote it before any Rust ran, and nothing writes it since.
    unsafe { multiboot_magic == MULTIBOOT_MAGIC }
}

fn information() -> Option<&'static Information> {
    // SAFETY: the entry code wrote it before any Rust ran, and nothing writes it since.
    let address = u64::from(unsafe { multiboot_information });
    if !is_from_multiboot() || address + size_of::<Information>() as u64 > MAPPED_BYTES {
        return None;
    }
    // SAFETY: a multiboot loader passes the address of the structure, which is mapped memory, and
    // images read it before they use memory outside their own.
    Some(unsafe { &*(address as *const Information) })
}

/// The end of the RAM that starts at 1 MiB, if the loader said.
pub fn memory_end() -> Option<u64> {
    let information = information()?;
    if information.flags & HAS_MEMORY_SIZES == 0 {
        return None;
    }
    Some((1 << 20) + u64::from(information.upper_kibibytes) * 1024)
}

/// The command line without the file name that some loaders (QEMU) put before it: a first word
/// with a slash. Empty if there is none. The bytes are the loader's: copy what must last.
pub fn command_line() -> &'static [u8] {
    let Some(information) = information() else { return &[] };
    if information.flags & HAS_COMMAND_LINE == 0 {
        return &[];
    }
    let line = text_at(information.command_line);
    let (first, rest) = split_word(line);
    if first.contains(&b'/') { split_word_start(rest) } else { line }
}

/// The modules, in the loader's order.
pub fn modules() -> impl Iterator<Item = Module> {
    let information = information().filter(|information| information.flags & HAS_MODULES != 0);
    let (at, count) = information.map_or((0, 0), |found| (found.modules, found.module_count));
    let entry = move |index: u32| {
        let address = u64::from(at) + u64::from(index) * size_of::<Entry>() as u64;
        let is_mapped = address + size_of::<Entry>() as u64 <= MAPPED_BYTES;
        // SAFETY: mapped memory, where the loader says that its list is.
        is_mapped.then(|| unsafe { &*(address as *const Entry) })
    };
    (0..count).filter_map(entry).filter(|entry| u64::from(entry.end) <= MAPPED_BYTES).map(|entry| {
        let len = entry.end.saturating_sub(entry.begin) as usize;
        // SAFETY: mapped memory, where the loader says that the module is; no code writes it.
        let bytes = unsafe { slice::from_raw_parts(entry.begin as usize as *const u8, len) };
        Module { command_line: text_at(entry.command_line), bytes }
    })
}

/// The ranges of RAM that the memory map lists, in its order.
pub fn memory_ranges() -> impl Iterator<Item = Range<u64>> {
    let information = information().filter(|information| information.flags & HAS_MEMORY_MAP != 0);
    let (mut at, bytes) =
        information.map_or((0, 0), |found| (u64::from(found.map), u64::from(found.map_bytes)));
    let end = at + bytes;
    let entry = move || {
        if at + size_of::<MapEntry>() as u64 > end.min(MAPPED_BYTES) {
            return None;
        }
        // SAFETY: mapped memory, where the loader says that its map is.
        let entry = unsafe { (at as *const MapEntry).read_unaligned() };
        at += u64::from(entry.size) + size_of::<u32>() as u64;
        Some(entry)
    };
    let entries = core::iter::from_fn(entry);
    entries.filter(|entry| entry.kind == USABLE).map(|entry| {
        let (begin, bytes) = (entry.begin, entry.bytes);
        begin..begin.saturating_add(bytes)
    })
}

/// The text at an address, up to the zero that ends it.
fn text_at(address: u32) -> &'static [u8] {
    if u64::from(address) + LONGEST_COMMAND_LINE > MAPPED_BYTES {
        return &[];
    }
    // SAFETY: mapped memory that no code writes while the line is in use.
    let bytes = unsafe {
        slice::from_raw_parts(address as usize as *const u8, LONGEST_COMMAND_LINE as usize)
    };
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
    bytes.get(..length).unwrap_or(&[])
}

/// The first word of a line and what follows it.
pub fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = split_word_start(line);
    let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    line.split_at_checked(end).unwrap_or((line, &[]))
}

fn split_word_start(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|&byte| byte != b' ').unwrap_or(line.len());
    line.get(start..).unwrap_or(&[])
}

/// Ends the machine with `status`; with 0 by a reset if the command line has the word `reset`, for
/// machines without the power-off port.
pub fn end(status: u32) -> ! {
    if status == 0 && has_word("reset") {
        power::triple_fault();
    }
    power::off(status)
}

/// Whether the command line has `word` among its words.
pub fn has_word(word: &str) -> bool {
    words().any(|it| it == word.as_bytes())
}

/// What follows `key` and an equals sign in a word of the command line.
pub fn value(key: &str) -> Option<&'static [u8]> {
    values(key).next()
}

/// The same of every such word.
pub fn values(key: &str) -> impl Iterator<Item = &'static [u8]> {
    words().filter_map(move |word| word.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
}

/// The words of the command line.
fn words() -> impl Iterator<Item = &'static [u8]> {
    let mut rest = command_line();
    core::iter::from_fn(move || {
        let (word, after) = split_word(rest);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// The command line's `place`th number (words that are no numbers don't count).
pub fn number(place: usize) -> Option<u64> {
    let (mut rest, mut skip) = (command_line(), place);
    while !rest.is_empty() {
        let (first, after) = split_word(rest);
        rest = after;
        if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
            continue;
        }
        if skip == 0 {
            let digit = |sum: u64, &byte: &u8| sum.saturating_mul(10) + u64::from(byte - b'0');
            return Some(first.iter().fold(0, digit));
        }
        skip -= 1;
    }
    None
}
