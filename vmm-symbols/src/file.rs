//! A file that names what is in a kernel: an ELF file with symbols, and lines if it has DWARF, or a
//! `System.map`.

use crate::map::{Symbol, SymbolMap};
use addr2line::Context;
use gimli::{Dwarf, EndianReader, LittleEndian};
use object::read::elf::ProgramHeader;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Larger files are not read: a dump must not take the host's memory.
const MAX_BYTES: u64 = 1 << 30;

type Reader = EndianReader<LittleEndian, Arc<[u8]>>;

/// What a file says.
pub struct SymbolFile {
    map: SymbolMap,
    lines: Option<Context<Reader>>,
    /// Where it is loaded, and where it is linked, of each segment: a kernel may run at the former
    /// until it pages.
    segments: Vec<Segment>,
    build_id: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    physical: u64,
    linear: u64,
    bytes: u64,
}

impl std::fmt::Debug for SymbolFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SymbolFile").field("segments", &self.segments).finish_non_exhaustive()
    }
}

/// A file that nothing has been read of: a confined run may read it later, and no more.
#[derive(Debug)]
pub struct Opened {
    file: File,
    bytes: u64,
}

impl Opened {
    /// Opens a regular file.
    ///
    /// # Errors
    /// It cannot be opened, is something else or is too large.
    pub fn open(path: &str) -> io::Result<Self> {
        let file = File::open(path)?;
        let data = file.metadata()?;
        match data.is_file() && data.len() <= MAX_BYTES {
            true => Ok(Self { file, bytes: data.len() }),
            false => Err(io::Error::other("it is no regular file of up to 1 GiB")),
        }
    }

    /// Reads it; None if it names nothing.
    pub fn read(&self) -> Option<SymbolFile> {
        SymbolFile::parse(&self.data()?)
    }

    /// The build-id of an ELF file that has one, in hexadecimal digits.
    pub fn build_id(&self) -> Option<String> {
        build_id(&object::File::parse(&*self.data()?).ok()?)
    }

    fn data(&self) -> Option<Vec<u8>> {
        let mut data = vec![0; usize::try_from(self.bytes).ok()?];
        self.file.read_exact_at(&mut data, 0).ok()?;
        Some(data)
    }
}

impl SymbolFile {
    fn parse(data: &[u8]) -> Option<Self> {
        if let Ok(text) = std::str::from_utf8(data) {
            let map = SymbolMap::of_system_map(text)?;
            return Some(Self { map, lines: None, segments: Vec::new(), build_id: None });
        }
        let elf = object::File::parse(data).ok()?;
        let is_code = |symbol: &object::Symbol<'_, '_>| {
            let is_label = symbol.kind() == SymbolKind::Text
                || symbol.kind() == SymbolKind::Label
                || symbol.kind() == SymbolKind::Unknown;
            let section = symbol.section_index().and_then(|at| elf.section_by_index(at).ok());
            is_label && section.is_some_and(|it| it.kind() == object::SectionKind::Text)
        };
        let symbol = |symbol: object::Symbol<'_, '_>| {
            let name = symbol.name().ok().filter(|name| !name.is_empty())?.to_owned();
            Some(Symbol { address: symbol.address(), size: symbol.size(), name })
        };
        let map = SymbolMap::new(elf.symbols().filter(is_code).filter_map(symbol).collect());
        let section = |id: gimli::SectionId| {
            let section = elf.section_by_name(id.name());
            let data = section.and_then(|section| section.data().ok()).unwrap_or_default();
            Ok::<_, gimli::Error>(Reader::new(Arc::from(data), LittleEndian))
        };
        let lines = Dwarf::load(section).ok().and_then(|dwarf| Context::from_dwarf(dwarf).ok());
        let (segments, build_id) = (segments(&elf), build_id(&elf));
        Some(Self { map, lines, segments, build_id })
    }

    /// The build-id, in hexadecimal digits.
    pub fn build_id(&self) -> Option<String> {
        self.build_id.clone()
    }

    /// `function+0x11` for an address, if it is in one. That of a return address is the call's.
    pub fn name(&self, address: u64, is_return: bool) -> Option<String> {
        let linked = self.linked(address);
        let symbol = self.map.find(linked.wrapping_sub(u64::from(is_return)))?;
        match linked - symbol.address {
            0 => Some(symbol.name.clone()),
            offset => Some(format!("{}+{offset:#x}", symbol.name)),
        }
    }

    /// `file.c:42` for an address, if the file has lines.
    pub fn place(&self, address: u64) -> Option<String> {
        let location = self.lines.as_ref()?.find_location(self.linked(address)).ok()??;
        let file = Path::new(location.file?).file_name()?.to_str()?;
        Some(format!("{file}:{}", location.line?))
    }

    /// The address that it was linked for.
    fn linked(&self, address: u64) -> u64 {
        let is_within = |begin: u64, bytes: u64| address.wrapping_sub(begin) < bytes;
        if self.segments.iter().any(|segment| is_within(segment.linear, segment.bytes)) {
            return address;
        }
        let loaded = self.segments.iter().find(|it| is_within(it.physical, it.bytes));
        loaded.map_or(address, |it| address - it.physical + it.linear)
    }
}

fn build_id(elf: &object::File<'_>) -> Option<String> {
    let id = elf.build_id().ok()??;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn segments(elf: &object::File<'_>) -> Vec<Segment> {
    fn of<H: ProgramHeader<Endian = object::Endianness>>(
        headers: &[H],
        endian: object::Endianness,
    ) -> Vec<Segment> {
        let loaded = headers.iter().filter(|it| it.p_type(endian) == object::elf::PT_LOAD);
        let segment = |it: &H| Segment {
            physical: it.p_paddr(endian).into(),
            linear: it.p_vaddr(endian).into(),
            bytes: it.p_memsz(endian).into(),
        };
        loaded.map(segment).collect()
    }
    match elf {
        object::File::Elf32(elf) => of(elf.elf_program_headers(), elf.endian()),
        object::File::Elf64(elf) => of(elf.elf_program_headers(), elf.endian()),
        _ => Vec::new(),
    }
}
