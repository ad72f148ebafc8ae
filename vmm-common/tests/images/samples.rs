//! Valid images made by code, to be used as they are or to be broken.

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

pub const MULTIBOOT_MAGIC: u32 = 0x1bad_b002;
pub const MACHINE_386: u16 = 3;
pub const MACHINE_X86_64: u16 = 62;
pub const LOAD: u32 = 1;
pub const NOTE: u32 = 4;
/// Where the samples are loaded.
pub const ADDRESS: u32 = 0x20_0000;
/// Where ELF files have their program headers: behind the header.
pub const fn program_headers(is_64_bit: bool) -> usize {
    if is_64_bit { 64 } else { 52 }
}

/// An ELF file, field by field.
#[derive(Clone, Debug)]
pub struct ElfFile {
    pub is_64_bit: bool,
    pub machine: u16,
    pub entry: u64,
    pub segments: Vec<Segment>,
}

/// A program header and what it names; where in the file that lies follows.
#[derive(Clone, Debug)]
pub struct Segment {
    pub kind: u32,
    pub virtual_address: u64,
    pub address: u64,
    pub memory_bytes: u64,
    pub bytes: Vec<u8>,
}

impl Segment {
    /// Loaded where it is linked, and as long in memory as in the file.
    pub fn load(address: u64, bytes: Vec<u8>) -> Self {
        let memory_bytes = bytes.len() as u64;
        Self { kind: LOAD, virtual_address: address, address, memory_bytes, bytes }
    }

    pub fn note(bytes: Vec<u8>) -> Self {
        Self { kind: NOTE, ..Self::load(0, bytes) }
    }
}

impl ElfFile {
    pub fn build(&self) -> Vec<u8> {
        let (header, entry) = if self.is_64_bit { (64, 56) } else { (52, 32) };
        let mut offset = header + entry * self.segments.len();
        let mut file = b"\x7fELF".to_vec();
        file.extend([if self.is_64_bit { 2 } else { 1 }, 1, 1]);
        file.resize(16, 0);
        file.extend(2_u16.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        self.words(&mut file, &[self.entry, header as u64, 0]);
        file.extend(0_u32.to_le_bytes());
        for half in [header, entry, self.segments.len(), 0, 0, 0] {
            file.extend((half as u16).to_le_bytes());
        }
        for segment in &self.segments {
            offset = offset.next_multiple_of(16);
            self.program_header(&mut file, segment, offset as u64);
            offset += segment.bytes.len();
        }
        for segment in &self.segments {
            file.resize(file.len().next_multiple_of(16), 0);
            file.extend(&segment.bytes);
        }
        file
    }

    fn program_header(&self, file: &mut Vec<u8>, segment: &Segment, offset: u64) {
        const FLAGS: u32 = 7;
        const ALIGNMENT: u64 = 4;
        file.extend(segment.kind.to_le_bytes());
        if self.is_64_bit {
            file.extend(FLAGS.to_le_bytes());
        }
        let Segment { virtual_address, address, memory_bytes, ref bytes, .. } = *segment;
        let len = bytes.len() as u64;
        self.words(file, &[offset, virtual_address, address, len, memory_bytes]);
        if !self.is_64_bit {
            file.extend(FLAGS.to_le_bytes());
        }
        self.words(file, &[ALIGNMENT]);
    }

    /// Words of the file's class.
    fn words(&self, file: &mut Vec<u8>, words: &[u64]) {
        for word in words {
            let bytes = word.to_le_bytes();
            file.extend(&bytes[..if self.is_64_bit { 8 } else { 4 }]);
        }
    }
}

/// A multiboot header with these flags; `more` are the address fields and what follows.
pub fn multiboot_header(flags: u32, more: &[u32]) -> Vec<u8> {
    let checksum = 0_u32.wrapping_sub(MULTIBOOT_MAGIC.wrapping_add(flags));
    let words = [MULTIBOOT_MAGIC, flags, checksum];
    words.iter().chain(more).flat_map(|word| word.to_le_bytes()).collect()
}

/// A note of that name and type.
pub fn note(name: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [name.len() as u32 + 1, contents.len() as u32, kind] {
        note.extend(word.to_le_bytes());
    }
    note.extend(name);
    note.push(0);
    note.resize(note.len().next_multiple_of(4), 0);
    note.extend(contents);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// 4 KiB of HLT at [`ADDRESS`], with its header 16 bytes into it; entered 64 bytes into it.
pub fn multiboot_by_addresses() -> Vec<u8> {
    let mut image = vec![0xf4; 0x1000];
    let header = multiboot_header(0x1_0003, &[ADDRESS + 16, ADDRESS, 0, 0, ADDRESS + 64]);
    put(&mut image, 16, &header);
    image
}

/// An ELF file with a multiboot header, linked at 3 GiB higher than loaded.
pub fn multiboot_elf(is_64_bit: bool) -> Vec<u8> {
    let machine = if is_64_bit { MACHINE_X86_64 } else { MACHINE_386 };
    let mut code = multiboot_header(3, &[]);
    code.resize(0x100, 0xf4);
    let address = u64::from(ADDRESS);
    let mut text = Segment::load(address, code);
    text.virtual_address += 0xc000_0000;
    let mut data = Segment::load(address + 0x1000, vec![1, 2, 3, 4]);
    data.virtual_address += 0xc000_0000;
    data.memory_bytes = 0x2000;
    let entry = text.virtual_address + 0x10;
    ElfFile { is_64_bit, machine, entry, segments: vec![text, data] }.build()
}

/// An ELF file with a PVH entry 0x20 bytes into what it loads, and another note before.
pub fn pvh(is_64_bit: bool) -> Vec<u8> {
    let machine = if is_64_bit { MACHINE_X86_64 } else { MACHINE_386 };
    let entry = ADDRESS + 0x20;
    let mut notes = note(b"GNU", 3, &[0xab; 20]);
    if is_64_bit {
        notes.extend(note(b"Xen", 18, &u64::from(entry).to_le_bytes()));
    } else {
        notes.extend(note(b"Xen", 18, &entry.to_le_bytes()));
    }
    let text = Segment::load(ADDRESS.into(), vec![0xf4; 0x100]);
    let segments = vec![text, Segment::note(notes)];
    ElfFile { is_64_bit, machine, entry: 0xffff_8000, segments }.build()
}

/// As Linux builds itself: linked high, loaded low, its entry physical, per-CPU data linked at 0.
pub fn vmlinux() -> Vec<u8> {
    let address = u64::from(ADDRESS);
    let mut text = Segment::load(address, vec![0xf4; 0x100]);
    text.virtual_address = 0xffff_ffff_8100_0000;
    let mut percpu = Segment::load(address + 0x1000, vec![0; 0x40]);
    percpu.virtual_address = 0;
    let segments = vec![text, percpu];
    ElfFile { is_64_bit: true, machine: MACHINE_X86_64, entry: address, segments }.build()
}

/// A bzImage of version 2.15 with one setup sector and 0x400 bytes behind it, which wants 1 MiB
/// at 2 MiB, with a 64-bit entry.
pub fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image.resize(0x800, 0xf4);
    put(&mut image, 0x1f1, &[1]);
    put(&mut image, 0x1f4, &0x40_u32.to_le_bytes());
    put(&mut image, 0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut image, 0x202, b"HdrS\x0f\x02");
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut image, 0x230, &0x20_0000_u32.to_le_bytes());
    put(&mut image, 0x234, &[1, 21]);
    put(&mut image, 0x236, &1_u16.to_le_bytes());
    put(&mut image, 0x238, &2047_u32.to_le_bytes());
    put(&mut image, 0x258, &0x20_0000_u64.to_le_bytes());
    put(&mut image, 0x260, &0x10_0000_u32.to_le_bytes());
    image
}

/// Overwrites a part of an image.
pub fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}
