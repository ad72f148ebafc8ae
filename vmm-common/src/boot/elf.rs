//! ELF files (System V ABI, chapters 4 and 5), of 32 and 64 bits: their segments and entry
//! points. Addresses are physical unless stated otherwise.

use super::layout::{Place, What};
use super::{BootError, Content, Layout, Part, none, read_u16, read_u32, read_u64, signature};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

#[cfg(test)]
mod tests;

/// e_machine: Intel 80386.
const MACHINE_386: u16 = 3;
/// e_machine: x86-64.
pub(super) const MACHINE_X86_64: u16 = 62;
/// p_type: to be loaded.
const LOAD: u32 = 1;
/// p_type: the program that loads this one.
const INTERPRETER: u32 = 3;
/// p_type: notes.
const NOTE: u32 = 4;
/// The most program headers a file may have. Kernels have ten.
const MAX_HEADERS: u16 = 64;

/// Whether `image` says it is an ELF file.
pub(super) fn is_elf(image: &[u8]) -> bool {
    image.starts_with(b"\x7fELF")
}

/// An ELF file whose header is sound.
#[derive(Debug)]
pub(super) struct Elf<'a> {
    image: &'a [u8],
    pub(super) is_64_bit: bool,
    pub(super) machine: u16,
    /// e_entry: a physical or a virtual address.
    entry: u64,
    segments: Vec<Segment>,
}

/// A program header.
#[derive(Clone, Copy, Debug)]
struct Segment {
    index: usize,
    kind: u32,
    offset: u64,
    virtual_address: u64,
    address: u64,
    file_bytes: u64,
    memory_bytes: u64,
    alignment: u64,
}

/// Where the fields of one class lie.
struct Class {
    header_bytes: usize,
    /// e_phoff; e_phentsize, with e_phnum behind it.
    table: usize,
    entry_bytes: usize,
    program_header_bytes: usize,
    /// p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
    fields: [usize; 6],
    read: fn(&[u8], usize) -> Option<u64>,
}

const CLASS_32: Class = Class {
    header_bytes: 52,
    table: 28,
    entry_bytes: 42,
    program_header_bytes: 32,
    fields: [4, 8, 12, 16, 20, 28],
    read: |bytes, at| read_u32(bytes, at).map(u64::from),
};
const CLASS_64: Class = Class {
    header_bytes: 64,
    table: 32,
    entry_bytes: 54,
    program_header_bytes: 56,
    fields: [8, 16, 24, 32, 40, 48],
    read: read_u64,
};

impl<'a> Elf<'a> {
    /// # Errors
    /// It is no ELF file, not for this processor, or its headers are cut off.
    pub(super) fn read(image: &'a [u8]) -> Result<Self, BootError> {
        const LITTLE_ENDIAN: u8 = 1;
        const ENTRY: usize = 24;
        if !is_elf(image) {
            return Err(none("no ELF header", "an ELF file", image));
        }
        let class = match image.get(4) {
            Some(1) | None => CLASS_32,
            Some(2) => CLASS_64,
            Some(class) => {
                return bad(format!("EI_CLASS is {class}; allowed: 1 (32 bits) or 2 (64 bits)"));
            }
        };
        let (len, needed) = (image.len(), class.header_bytes);
        if len < needed {
            return bad(format!("the ELF header is cut off at {len:#x}; needed: {needed:#x}"));
        }
        if image[5] != LITTLE_ENDIAN {
            return bad(format!("EI_DATA is {}; allowed: 1 (little-endian)", image[5]));
        }
        let machine = read_u16(image, 18).unwrap_or(0);
        if machine != MACHINE_386 && machine != MACHINE_X86_64 {
            let name = signature::machine_name(machine).map(|name| format!(" ({name})"));
            let name = name.unwrap_or_default();
            return bad(format!(
                "e_machine is {machine}{name}; allowed: {MACHINE_386} (386) or {MACHINE_X86_64} \
                (x86-64)"
            ));
        }
        Ok(Self {
            image,
            is_64_bit: class.header_bytes == CLASS_64.header_bytes,
            machine,
            entry: (class.read)(image, ENTRY).unwrap_or(0),
            segments: program_headers(image, &class)?,
        })
    }

    /// Puts the loadable segments.
    ///
    /// # Errors
    /// A segment is not in the file, not in RAM, or on something else; or there is none.
    pub(super) fn put(&self, layout: &mut Layout) -> Result<(), BootError> {
        if self.loaded().all(|segment| segment.file_bytes == 0) {
            return bad("no segment (PT_LOAD) has bytes to load; allowed: at least one".into());
        }
        for segment in self.loaded() {
            let Segment { index, address, file_bytes, memory_bytes, .. } = *segment;
            let bytes = self.bytes(segment)?;
            if file_bytes > memory_bytes {
                return bad(format!(
                    "segment {index}: p_filesz is {file_bytes:#x}; allowed by its p_memsz: up to \
                    {memory_bytes:#x}"
                ));
            }
            let what = What::Segment(index);
            let place = Place { part: Part::Kernel, what, address, len: memory_bytes };
            // Within the file, as its bytes are.
            let content = Content::Kernel { offset: segment.offset as usize, len: bytes.len() };
            layout.put(place, content)?;
        }
        Ok(())
    }

    /// The entry, if it is the physical address of something loaded.
    pub(super) fn physical_entry(&self) -> Option<u64> {
        self.is_loaded(self.entry).then_some(self.entry)
    }

    /// Where the entry is loaded, if it is the virtual address of something loaded.
    pub(super) fn translated_entry(&self) -> Option<u64> {
        self.loaded().find_map(|segment| {
            let into = self.entry.checked_sub(segment.virtual_address)?;
            (into < segment.file_bytes).then(|| segment.address.checked_add(into))?
        })
    }

    /// Why there is no entry.
    pub(super) fn no_entry(&self) -> BootError {
        self.outside("e_entry", self.entry)
    }

    pub(super) fn outside(&self, field: &str, entry: u64) -> BootError {
        let mut places = String::new();
        for segment in self.loaded().filter(|segment| segment.file_bytes > 0) {
            let comma = if places.is_empty() { "" } else { ", " };
            let end = segment.address.saturating_add(segment.file_bytes);
            places.push_str(&format!("{comma}{:#x} to {end:#x}", segment.address));
        }
        let why = format!("{field} is {entry:#x}; allowed: within what is loaded, {places}");
        BootError::kernel(why)
    }

    /// Whether bytes of the file lie there; zeros behind a segment's bytes are no code.
    pub(super) fn is_loaded(&self, address: u64) -> bool {
        self.loaded().any(|segment| {
            address.checked_sub(segment.address).is_some_and(|into| into < segment.file_bytes)
        })
    }

    /// Whether it needs a dynamic linker.
    pub(super) fn has_interpreter(&self) -> bool {
        self.segments.iter().any(|segment| segment.kind == INTERPRETER)
    }

    /// The contents of the first note of that name and type.
    ///
    /// # Errors
    /// Notes are not in the file, or cut off.
    pub(super) fn note(&self, name: &[u8], kind: u32) -> Result<Option<&'a [u8]>, BootError> {
        for segment in self.segments.iter().filter(|segment| segment.kind == NOTE) {
            let bytes = self.bytes(segment)?;
            let padding = if segment.alignment == 8 { 8 } else { 4 };
            let mut at = 0;
            while at < bytes.len() {
                let Some((note, next)) = Note::read(bytes, at, padding) else {
                    let index = segment.index;
                    return bad(format!(
                        "segment {index}: the note {at:#x} into it is cut off; needed: what its \
                        n_namesz and n_descsz say"
                    ));
                };
                if note.kind == kind && note.name == name {
                    return Ok(Some(note.contents));
                }
                at = next;
            }
        }
        Ok(None)
    }

    fn loaded(&self) -> impl Iterator<Item = &Segment> {
        let is_empty = |segment: &Segment| segment.file_bytes == 0 && segment.memory_bytes == 0;
        self.segments.iter().filter(move |segment| segment.kind == LOAD && !is_empty(segment))
    }

    fn bytes(&self, segment: &Segment) -> Result<&'a [u8], BootError> {
        let Segment { index, offset, file_bytes, .. } = *segment;
        let len = self.image.len();
        let end = offset.checked_add(file_bytes).filter(|end| *end <= len as u64);
        if end.is_none() {
            return bad(format!(
                "segment {index}: p_offset {offset:#x} and p_filesz {file_bytes:#x} lead beyond \
                the file; allowed: up to {len:#x}"
            ));
        }
        Ok(&self.image[offset as usize..][..file_bytes as usize])
    }
}

fn program_headers(image: &[u8], class: &Class) -> Result<Vec<Segment>, BootError> {
    let at = (class.read)(image, class.table).unwrap_or(0);
    let entry_bytes = read_u16(image, class.entry_bytes).unwrap_or(0);
    let count = read_u16(image, class.entry_bytes + 2).unwrap_or(0);
    let allowed = class.program_header_bytes;
    if count == 0 || count > MAX_HEADERS {
        return bad(format!("e_phnum is {count}; allowed: 1 to {MAX_HEADERS}"));
    }
    if usize::from(entry_bytes) != allowed {
        return bad(format!("e_phentsize is {entry_bytes}; allowed: {allowed}"));
    }
    let (bytes, len) = (usize::from(count) * allowed, image.len());
    let table = usize::try_from(at).ok().and_then(|at| image.get(at..at.checked_add(bytes)?));
    let Some(table) = table else {
        return bad(format!(
            "e_phoff is {at:#x}, and {count} program headers there lead beyond the file; allowed: \
            up to {len:#x}"
        ));
    };
    let segment = |(index, header): (usize, &[u8])| {
        let field = |at| (class.read)(header, at).unwrap_or(0);
        let [offset, virtual_address, address, file_bytes, memory_bytes, alignment] =
            class.fields.map(field);
        let kind = read_u32(header, 0).unwrap_or(0);
        #[rustfmt::skip]
        let segment = Segment {
            index, kind, offset, virtual_address, address, file_bytes, memory_bytes, alignment,
        };
        segment
    };
    Ok(table.chunks_exact(allowed).enumerate().map(segment).collect())
}

/// A note (System V ABI, chapter 5, "Note Section").
struct Note<'a> {
    kind: u32,
    /// Without the zero at its end.
    name: &'a [u8],
    contents: &'a [u8],
}

impl<'a> Note<'a> {
    /// The note at `at`, and where the next one begins.
    fn read(bytes: &'a [u8], at: usize, padding: usize) -> Option<(Self, usize)> {
        const HEADER_BYTES: usize = 12;
        let name_bytes = read_u32(bytes, at)? as usize;
        let contents_bytes = read_u32(bytes, at + 4)? as usize;
        let kind = read_u32(bytes, at + 8)?;
        let name_at = at + HEADER_BYTES;
        let name_end = name_at.checked_add(name_bytes)?;
        let name = bytes.get(name_at..name_end)?;
        let contents_at = name_end.checked_next_multiple_of(padding)?;
        let contents_end = contents_at.checked_add(contents_bytes)?;
        let contents = bytes.get(contents_at..contents_end)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        Some((Self { kind, name, contents }, contents_end.checked_next_multiple_of(padding)?))
    }
}

fn bad<T>(why: String) -> Result<T, BootError> {
    Err(BootError::kernel(why))
}
