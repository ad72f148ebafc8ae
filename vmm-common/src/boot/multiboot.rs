//! Multiboot 1 (specification 0.6.96): finding the header, placing the image, the information
//! structure, and the machine state of section 3.2. An ELF file of 64 bits is entered in 32-bit
//! mode as any other, as GRUB does it.

use super::elf::Elf;
use super::layout::{Place, What};
use super::memory_map::{HIGH_MEMORY, Range, RangeKind};
use super::modules::{self, Span, Texts};
use super::{
    Boot, BootError, Content, Ebda, Images, Layout, Part, add_stack, elf, protected_mode_registers,
    put_firmware_tables, read_u32,
};
use crate::plan::{BootKind, VmPlan};
use crate::registers::general;
use crate::screen;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const HEADER_MAGIC: u32 = 0x1bad_b002;
/// The header lies within the first 8192 bytes, 4-byte aligned.
const SEARCH_BYTES: usize = 8192;
const LOADED_MAGIC: u64 = 0x2bad_b002;
/// Flags 0 to 15 are demands: a loader that does not know one must not load the image.
const DEMANDS: u32 = 0xffff;
/// Modules at whole pages, the memory's size and map, and a text mode: every image gets them.
const DEMANDS_MET: u32 = 0b111;
/// Flag 2: a video mode. There is the text mode of 80 columns and 25 rows.
const FLAG_VIDEO: u32 = 1 << 2;
/// Flag 16: the address fields are valid.
const FLAG_ADDRESSES: u32 = 1 << 16;

/// Bytes of the information structure.
const INFO_BYTES: usize = 116;
/// Memory map entries: size, base, length, type.
const MAP_ENTRY_BYTES: u32 = 24;
/// Bytes of a module's entry: start, end, its command line, 0.
const MODULE_BYTES: usize = 16;
/// Segment selectors as GRUB has them: code, data.
const SELECTORS: (u16, u16) = (0x08, 0x10);

/// A valid multiboot header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Byte of the image at which it lies.
    pub offset: usize,
    flags: u32,
    /// The address fields are there, too.
    is_whole: bool,
    header_address: u32,
    load_address: u32,
    load_end: u32,
    bss_end: u32,
    entry: u32,
    /// With flag 2: a graphics mode (0) or text (1) is wanted.
    mode_type: u32,
}

impl Header {
    /// The header of `image`, if its first 8 KiB hold a valid one.
    #[must_use]
    pub fn find(image: &[u8]) -> Option<Self> {
        let searched = &image[..image.len().min(SEARCH_BYTES)];
        (0..searched.len()).step_by(4).find_map(|offset| Self::at(searched, offset))
    }

    fn at(image: &[u8], offset: usize) -> Option<Self> {
        let word = |index: usize| read_u32(image, offset + index * 4);
        let (magic, flags, checksum) = (word(0)?, word(1)?, word(2)?);
        let sum = magic.wrapping_add(flags).wrapping_add(checksum);
        if magic != HEADER_MAGIC || sum != 0 {
            return None;
        }
        let field = |index| word(index).unwrap_or(0);
        Some(Self {
            offset,
            flags,
            is_whole: word(7).is_some(),
            header_address: field(3),
            load_address: field(4),
            load_end: field(5),
            bss_end: field(6),
            entry: field(7),
            mode_type: field(8),
        })
    }
}

/// A header that this loader does not accept: of multiboot 2, with a wrong
/// checksum, or where no loader looks for it.
pub(super) fn near_miss(image: &[u8]) -> Option<String> {
    /// Multiboot 2 (specification 2.0, 3.1.1): within the first 32 KiB, 8-byte aligned.
    const MAGIC_2: u32 = 0xe852_50d6;
    const SEARCH_BYTES_2: usize = 32 << 10;
    let word = |offset: usize, index: usize| read_u32(image, offset + index * 4);
    let sum = |offset: usize, words: usize| {
        (0..words).try_fold(0_u32, |sum, index| Some(sum.wrapping_add(word(offset, index)?)))
    };
    let searched = image.len().min(SEARCH_BYTES_2);
    let is_second =
        |offset: &usize| word(*offset, 0) == Some(MAGIC_2) && sum(*offset, 4) == Some(0);
    if let Some(offset) = (0..searched).step_by(8).find(is_second) {
        return Some(format!(
            "it has a multiboot 2 header at {offset:#x}, and multiboot 2 is not supported"
        ));
    }
    let has_magic = |offset: &usize| word(*offset, 0) == Some(HEADER_MAGIC);
    let is_whole = |offset: &usize| has_magic(offset) && sum(*offset, 3) == Some(0);
    if let Some(offset) = (0..searched).find(is_whole) {
        return Some(format!(
            "it has a multiboot header at {offset:#x}, where no loader looks: in the first 8KiB, \
            at a multiple of 4"
        ));
    }
    let offset = (0..searched.min(SEARCH_BYTES)).step_by(4).find(has_magic)?;
    let (flags, checksum) = (word(offset, 1)?, word(offset, 2)?);
    let right = 0_u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(flags);
    Some(format!(
        "it has a multiboot header at {offset:#x} whose checksum is wrong, {checksum:#x} where \
        flags of {flags:#x} need {right:#x}"
    ))
}

/// Places a multiboot image.
///
/// # Errors
/// As [`super::place`].
pub fn place(header: &Header, vm: &VmPlan, images: &Images<'_>) -> Result<Boot, BootError> {
    check_flags(header)?;
    let mut layout = Layout::new(vm.memory_bytes);
    let entry = if header.flags & FLAG_ADDRESSES != 0 {
        put_by_addresses(header, images.kernel, &mut layout)?
    } else {
        put_elf(images.kernel, &mut layout)?
    };
    put_firmware_tables(vm, &mut layout)?;
    let stack = add_stack(&mut layout)?;
    // Its length does not depend on where anything lies.
    let no_range = Range { begin: 0, len: 0, kind: RangeKind::Ram };
    let mut facts = Facts {
        vm,
        address: 0,
        base_memory_kib: 0,
        upper_bytes: layout.ram_bytes.saturating_sub(HIGH_MEMORY),
        modules: vec![Span { begin: 0, end: 0 }; images.modules.len()],
        // Itself and the EBDA are added later.
        map: vec![no_range; layout.max_map_entries(2)],
    };
    let len = facts.information().len() as u64;
    facts.address = layout.add("the multiboot information", len)?;
    let ebda = Ebda::add(&mut layout)?;
    ebda.put(&vm.serial, &mut layout)?;
    facts.base_memory_kib = ebda.base_memory_kib();
    facts.map = ebda.memory_map(&layout);
    facts.modules = modules::put(images, &mut layout)?;
    layout.fill(facts.address, facts.information());
    let mut registers = protected_mode_registers(entry, stack, SELECTORS);
    registers.general[general::RAX] = LOADED_MAGIC;
    registers.general[general::RBX] = facts.address;
    let base_memory_kib = facts.base_memory_kib;
    let pieces = layout.into_pieces();
    Ok(Boot { kind: BootKind::Multiboot, pieces, registers, base_memory_kib })
}

fn check_flags(header: &Header) -> Result<(), BootError> {
    const TEXT: u32 = 1;
    let (flags, mode_type) = (header.flags, header.mode_type);
    if flags & DEMANDS & !DEMANDS_MET != 0 {
        return Err(BootError::kernel(format!(
            "flags is {flags:#x}, which demands something unknown (bits 3 to 15); allowed: bits 0 \
            to 2 and 16 to 31"
        )));
    }
    // A loader may set another mode than the one wanted (3.1.4). But a kernel that takes what it
    // gets for pixels would write beyond the text screen.
    if flags & FLAG_VIDEO != 0 && mode_type != TEXT {
        return Err(BootError::kernel(format!(
            "flags is {flags:#x} and mode_type is {mode_type}, which asks for graphics, and there \
            is a text screen; allowed: mode_type 1"
        )));
    }
    Ok(())
}

/// Section 3.1.3: the address fields. The entry.
fn put_by_addresses(header: &Header, image: &[u8], layout: &mut Layout) -> Result<u32, BootError> {
    let Header { header_address, load_address: load, load_end, bss_end, entry, .. } = *header;
    let bad = |why| Err(BootError::kernel(why));
    if !header.is_whole {
        return bad(format!(
            "the address fields of the header at {:#x} are cut off; needed: 32 bytes in the first \
            8KiB",
            header.offset
        ));
    }
    let Some(before) = header_address.checked_sub(load) else {
        return bad(format!(
            "load_addr is {load:#x}; allowed by header_addr: up to {header_address:#x}"
        ));
    };
    let Some(offset) = header.offset.checked_sub(before as usize) else {
        let least = header_address - header.offset as u32;
        return bad(format!(
            "load_addr is {load:#x}, before the file; allowed: {least:#x} to {header_address:#x}"
        ));
    };
    // The image is read by its length, which is below its memory's.
    let most = u64::from(load) + (image.len() - offset) as u64;
    let end = if load_end == 0 { most } else { u64::from(load_end) };
    if end < load.into() || end > most {
        return bad(format!(
            "load_end_addr is {end:#x}; allowed by load_addr and the file: {load:#x} to {most:#x}"
        ));
    }
    if bss_end != 0 && u64::from(bss_end) < end {
        return bad(format!("bss_end_addr is {bss_end:#x}; allowed: 0, or {end:#x} and above"));
    }
    let (address, len) = (u64::from(load), (end - u64::from(load)) as usize);
    let place = Place {
        part: Part::Kernel,
        what: What::Image("the image"),
        address,
        len: end.max(bss_end.into()) - address,
    };
    layout.put(place, Content::Kernel { offset, len })?;
    if entry < load || u64::from(entry) >= end {
        return bad(format!(
            "entry_addr is {entry:#x}; allowed: within what is loaded, {load:#x} to {end:#x}"
        ));
    }
    Ok(entry)
}

/// Section 3.1.2 without address fields: the ELF program headers say where. The entry.
fn put_elf(image: &[u8], layout: &mut Layout) -> Result<u32, BootError> {
    if !elf::is_elf(image) {
        return Err(BootError::kernel(
            "flags has no address fields (bit 16), and the image is no ELF file; allowed: one of \
            them",
        ));
    }
    let elf = Elf::read(image)?;
    elf.put(layout)?;
    // A kernel linked high is entered where its entry's segment was loaded, as GRUB does it.
    let entry = elf.translated_entry().or_else(|| elf.physical_entry());
    // It is loaded, so it lies below 4 GiB.
    Ok(entry.ok_or_else(|| elf.no_entry())? as u32)
}

/// Contents of the information structure.
struct Facts<'a> {
    vm: &'a VmPlan,
    /// Where the structure lies.
    address: u64,
    base_memory_kib: u16,
    /// RAM from 1 MiB on, up to the first hole.
    upper_bytes: u64,
    modules: Vec<Span>,
    map: Vec<Range>,
}

impl Facts<'_> {
    /// Section 3.3; behind it the memory map, the modules, the loader's name and the command lines.
    fn information(&self) -> Vec<u8> {
        /// Memory sizes, command line, modules, memory map, loader's name, framebuffer.
        const FLAGS: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9 | 1 << 12;
        /// framebuffer_bpp and framebuffer_type: 16 bits a character, EGA text.
        const TEXT: u32 = 16 | 2 << 8;
        const PITCH: usize = 2 * screen::COLUMNS;
        let map = map_entries(&self.map);
        let map_at = self.address as u32 + INFO_BYTES as u32;
        let modules_at = map_at + map.len() as u32;
        let texts_at = modules_at + (self.modules.len() * MODULE_BYTES) as u32;
        let mut texts = Texts::at(texts_at);
        let loader = texts.put("tandem");
        let cmdline = texts.put(&self.vm.cmdline);
        let mut info = vec![0; INFO_BYTES];
        let mut set = |offset: usize, value: u32| {
            info[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        };
        set(0, FLAGS);
        set(4, self.base_memory_kib.into());
        set(8, (self.upper_bytes / 1024) as u32);
        set(16, cmdline);
        set(20, self.modules.len() as u32);
        set(24, modules_at);
        set(44, map.len() as u32);
        set(48, map_at);
        set(64, loader);
        set(88, screen::ADDRESS as u32);
        set(96, PITCH as u32);
        set(100, screen::COLUMNS as u32);
        set(104, screen::ROWS as u32);
        set(108, TEXT);
        info.extend_from_slice(&map);
        for (span, plan) in self.modules.iter().zip(&self.vm.boot.modules) {
            let cmdline = texts.put(&plan.cmdline);
            for word in [span.begin, span.end, cmdline, 0] {
                info.extend_from_slice(&word.to_le_bytes());
            }
        }
        info.extend_from_slice(&texts.bytes);
        info
    }
}

fn map_entries(ranges: &[Range]) -> Vec<u8> {
    let mut map = Vec::new();
    for range in ranges {
        map.extend_from_slice(&(MAP_ENTRY_BYTES - 4).to_le_bytes());
        map.extend_from_slice(&range.begin.to_le_bytes());
        map.extend_from_slice(&range.len.to_le_bytes());
        map.extend_from_slice(&(range.kind as u32).to_le_bytes());
    }
    map
}

#[cfg(test)]
mod tests;
