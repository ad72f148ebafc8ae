//! Multiboot 1 (specification 0.6.96): finding the header, placing the image, the information
//! structure, and the machine state of section 3.2.

use super::layout::Place;
use super::{
    Boot, BootError, Content, Images, Layout, Part, acpi, protected_mode_registers, read_u16,
    read_u32,
};
use crate::plan::VmPlan;
use crate::registers::general;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

const HEADER_MAGIC: u32 = 0x1bad_b002;
/// The header lies within the first 8192 bytes, 4-byte aligned.
const SEARCH_BYTES: usize = 8192;
const LOADED_MAGIC: u64 = 0x2bad_b002;
/// Flag 16: the address fields are valid.
const FLAG_ADDRESSES: u32 = 1 << 16;

/// Where the information structure lies: below the EBDA, above the BIOS data area.
const INFO_ADDRESS: u64 = 0x9000;
/// Bytes of the information structure up to and with the boot loader's name.
const INFO_BYTES: usize = 72;
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
    header_address: u32,
    load_address: u32,
    load_end: u32,
    bss_end: u32,
    entry: u32,
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
            header_address: field(3),
            load_address: field(4),
            load_end: field(5),
            bss_end: field(6),
            entry: field(7),
        })
    }
}

/// Places a multiboot image.
///
/// # Errors
/// As [`super::place`].
pub fn place(header: &Header, vm: &VmPlan, images: &Images<'_>) -> Result<Boot, BootError> {
    let mut layout = Layout::new(vm.memory_bytes);
    let entry = if header.flags & FLAG_ADDRESSES != 0 {
        put_by_addresses(header, images.kernel, &mut layout)?
    } else {
        put_elf32(images.kernel, &mut layout)?
    };
    acpi::put(vm, &mut layout)?;
    // Its length does not depend on where the modules lie.
    let len = information(vm, &vec![(0, 0); images.modules.len()]).len() as u64;
    let what = "the multiboot information";
    layout.reserve(Place { part: Part::Kernel, what, address: INFO_ADDRESS, len })?;
    let modules = put_modules(images, &mut layout)?;
    let mut pieces = layout.into_pieces();
    let content = Content::Bytes(information(vm, &modules));
    pieces.push(super::Piece { address: INFO_ADDRESS, content });
    let mut registers = protected_mode_registers(entry, SELECTORS);
    registers.general[general::RAX] = LOADED_MAGIC;
    registers.general[general::RBX] = INFO_ADDRESS;
    Ok(Boot { pieces, registers })
}

/// The modules behind the kernel, each at a whole page: where each begins and ends.
fn put_modules(images: &Images<'_>, layout: &mut Layout) -> Result<Vec<(u32, u32)>, BootError> {
    let module = |(index, bytes): (usize, &&[u8])| {
        let (part, len) = (Part::Module(index), bytes.len() as u64);
        let Some(address) = layout.lowest_free(len, acpi::HIGH_MEMORY) else {
            let ram = layout.ram_bytes;
            let why = format!(
                "it has {len} bytes, which are not free behind the kernel, memory ends at \
                {ram:#x}; allowed: modules that fit, or more memory"
            );
            return Err(BootError { part, why });
        };
        layout.put(Place { part, what: "a module", address, len }, Content::Module(index))?;
        // RAM ends below 4 GiB.
        Ok((address as u32, (address + len) as u32))
    };
    images.modules.iter().enumerate().map(module).collect()
}

/// Section 3.1.3: the address fields. The entry.
fn put_by_addresses(header: &Header, image: &[u8], layout: &mut Layout) -> Result<u32, BootError> {
    let bad = |why| BootError::kernel(format!("the multiboot header is wrong: {why}"));
    let before = header.header_address.checked_sub(header.load_address);
    let before = before.ok_or_else(|| bad("load_addr is above header_addr"))? as usize;
    let offset = header.offset.checked_sub(before);
    let offset = offset.ok_or_else(|| bad("load_addr is before the file"))?;
    let len = match header.load_end {
        0 => image.len() - offset,
        end => end
            .checked_sub(header.load_address)
            .ok_or_else(|| bad("load_end_addr is below load_addr"))? as usize,
    };
    if len > image.len() - offset {
        return Err(bad("load_end_addr is beyond the file"));
    }
    let address = u64::from(header.load_address);
    let bss = u64::from(header.bss_end).saturating_sub(address);
    let place = Place { part: Part::Kernel, what: "the image", address, len: bss.max(len as u64) };
    layout.put(place, Content::Kernel { offset, len })?;
    Ok(header.entry)
}

/// Section 3.1.2 without address fields: the ELF32 program headers say where. The entry.
fn put_elf32(image: &[u8], layout: &mut Layout) -> Result<u32, BootError> {
    const MAGIC_CLASS32_LITTLE: [u8; 6] = [0x7f, b'E', b'L', b'F', 1, 1];
    const PT_LOAD: u32 = 1;
    let bad = |why| BootError::kernel(format!("the ELF file cannot be loaded: {why}"));
    if !image.starts_with(&MAGIC_CLASS32_LITTLE) {
        return Err(bad("no address fields, and not a 32-bit little-endian ELF file"));
    }
    let cut = || bad("it is truncated");
    let entry = read_u32(image, 24).ok_or_else(cut)?;
    let table = read_u32(image, 28).ok_or_else(cut)? as usize;
    let entry_bytes = usize::from(read_u16(image, 42).ok_or_else(cut)?);
    let entries = usize::from(read_u16(image, 44).ok_or_else(cut)?);
    let mut physical_entry = entry;
    let mut is_loading = false;
    for index in 0..entries {
        let at = table.saturating_add(index * entry_bytes);
        let word = |field: usize| read_u32(image, at.saturating_add(field * 4)).ok_or_else(cut);
        if word(0)? != PT_LOAD {
            continue;
        }
        let (offset, address) = (word(1)? as usize, u64::from(word(3)?));
        let (len, memory_len) = (word(4)? as usize, u64::from(word(5)?));
        if image.get(offset..).is_none_or(|rest| rest.len() < len) {
            return Err(cut());
        }
        // A kernel linked high is entered where its entry's segment was loaded, as GRUB does it.
        let (virtual_address, physical_address) = (word(2)?, word(3)?);
        let into_segment = entry.wrapping_sub(virtual_address);
        if entry >= virtual_address && u64::from(into_segment) < memory_len {
            physical_entry = physical_address.wrapping_add(into_segment);
        }
        let len_in_memory = memory_len.max(len as u64);
        let place = Place { part: Part::Kernel, what: "the image", address, len: len_in_memory };
        layout.put(place, Content::Kernel { offset, len })?;
        is_loading = true;
    }
    if is_loading { Ok(physical_entry) } else { Err(bad("it loads nothing")) }
}

/// Section 3.3; behind it the memory map, the modules, the loader's name and the command lines.
fn information(vm: &VmPlan, modules: &[(u32, u32)]) -> Vec<u8> {
    /// Memory sizes, command line, modules, memory map, loader's name.
    const FLAGS: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
    let map = memory_map(vm.memory_bytes);
    let map_at = INFO_ADDRESS as u32 + INFO_BYTES as u32;
    let modules_at = map_at + map.len() as u32;
    let texts_at = modules_at + (modules.len() * MODULE_BYTES) as u32;
    let mut texts = Texts { at: texts_at, bytes: Vec::new() };
    let loader = texts.put("tandem");
    let cmdline = texts.put(&vm.cmdline);
    let mut info = vec![0; INFO_BYTES];
    let mut set = |offset: usize, value: u32| {
        info[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    };
    set(0, FLAGS);
    set(4, (vm.memory_bytes.min(acpi::LOW_MEMORY_END) / 1024) as u32);
    set(8, (vm.memory_bytes.saturating_sub(acpi::HIGH_MEMORY) / 1024) as u32);
    set(16, cmdline);
    set(20, modules.len() as u32);
    set(24, modules_at);
    set(44, map.len() as u32);
    set(48, map_at);
    set(64, loader);
    info.extend_from_slice(&map);
    for ((begin, end), plan) in modules.iter().zip(&vm.boot.modules) {
        let cmdline = texts.put(&plan.cmdline);
        for word in [*begin, *end, cmdline, 0] {
            info.extend_from_slice(&word.to_le_bytes());
        }
    }
    info.extend_from_slice(&texts.bytes);
    info
}

/// Texts, each ended by a zero, one behind the other.
struct Texts {
    at: u32,
    bytes: Vec<u8>,
}

impl Texts {
    /// Where it lies.
    fn put(&mut self, text: &str) -> u32 {
        let at = self.at + self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        at
    }
}

fn memory_map(ram_bytes: u64) -> Vec<u8> {
    let mut map = Vec::new();
    for range in acpi::memory_map(ram_bytes) {
        map.extend_from_slice(&(MAP_ENTRY_BYTES - 4).to_le_bytes());
        map.extend_from_slice(&range.begin.to_le_bytes());
        map.extend_from_slice(&range.len.to_le_bytes());
        map.extend_from_slice(&(range.kind as u32).to_le_bytes());
    }
    map
}

#[cfg(test)]
mod tests;
