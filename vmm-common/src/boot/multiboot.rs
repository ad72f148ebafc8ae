//! Multiboot 1 (specification 0.6.96): finding the header, placing the image, the information
//! structure, and the machine state of section 3.2.

use super::{Boot, BootError, Piece, check_end, reset_registers};
use crate::registers::{CpuState, general, segment};
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
/// Where conventional memory ends.
const LOW_MEMORY_END: u64 = 0xa_0000;
/// Where extended memory begins.
const HIGH_MEMORY: u64 = 0x10_0000;

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
pub fn place(
    header: &Header,
    image: &[u8],
    cmdline: &str,
    ram_bytes: u64,
) -> Result<Boot, BootError> {
    let (mut pieces, entry) = if header.flags & FLAG_ADDRESSES != 0 {
        place_by_addresses(header, image, ram_bytes)?
    } else {
        place_elf32(image, ram_bytes)?
    };
    let info = information(cmdline, ram_bytes);
    let info_end = INFO_ADDRESS + info.len() as u64;
    check_end(Some(info_end), ram_bytes)?;
    if pieces.iter().any(|piece| lies_within(piece, INFO_ADDRESS, info_end)) {
        return Err(BootError::OnInformation { begin: INFO_ADDRESS, end: info_end });
    }
    pieces.push(Piece::Bytes { address: INFO_ADDRESS, bytes: info });
    Ok(Boot { pieces, registers: registers(entry) })
}

/// Whether a part of the kernel lies between two addresses.
fn lies_within(piece: &Piece, begin: u64, end: u64) -> bool {
    match piece {
        Piece::Kernel { address, len, .. } => {
            *len > 0 && *address < end && begin < *address + *len as u64
        }
        Piece::Bytes { .. } => false,
    }
}

/// Section 3.1.3: the address fields.
fn place_by_addresses(
    header: &Header,
    image: &[u8],
    ram_bytes: u64,
) -> Result<(Vec<Piece>, u32), BootError> {
    let bad = |why| BootError::BadAddresses { why };
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
    check_end(Some(address + len as u64), ram_bytes)?;
    check_end(Some(header.bss_end.into()), ram_bytes)?;
    Ok((vec![Piece::Kernel { address, offset, len }], header.entry))
}

/// Section 3.1.2 without address fields: the ELF32 program headers say where.
fn place_elf32(image: &[u8], ram_bytes: u64) -> Result<(Vec<Piece>, u32), BootError> {
    const MAGIC_CLASS32_LITTLE: [u8; 6] = [0x7f, b'E', b'L', b'F', 1, 1];
    const PT_LOAD: u32 = 1;
    let bad = |why| BootError::BadElf { why };
    if !image.starts_with(&MAGIC_CLASS32_LITTLE) {
        return Err(bad("no address fields, and not a 32-bit little-endian ELF file"));
    }
    let cut = || bad("it is truncated");
    let entry = read_u32(image, 24).ok_or_else(cut)?;
    let table = read_u32(image, 28).ok_or_else(cut)? as usize;
    let entry_bytes = usize::from(read_u16(image, 42).ok_or_else(cut)?);
    let entries = usize::from(read_u16(image, 44).ok_or_else(cut)?);
    let mut pieces = Vec::new();
    let mut physical_entry = entry;
    for index in 0..entries {
        let at = table.saturating_add(index * entry_bytes);
        let word = |field: usize| read_u32(image, at.saturating_add(field * 4)).ok_or_else(cut);
        if word(0)? != PT_LOAD {
            continue;
        }
        let (offset, address) = (word(1)? as usize, u64::from(word(3)?));
        let (file_len, memory_len) = (word(4)? as usize, u64::from(word(5)?));
        if image.get(offset..).is_none_or(|rest| rest.len() < file_len) {
            return Err(cut());
        }
        check_end(address.checked_add(memory_len.max(file_len as u64)), ram_bytes)?;
        // A kernel linked high is entered where its entry's segment was loaded, as GRUB does it.
        let (virtual_address, physical_address) = (word(2)?, word(3)?);
        let into_segment = entry.wrapping_sub(virtual_address);
        if entry >= virtual_address && u64::from(into_segment) < memory_len {
            physical_entry = physical_address.wrapping_add(into_segment);
        }
        pieces.push(Piece::Kernel { address, offset, len: file_len });
    }
    if pieces.is_empty() { Err(bad("it loads nothing")) } else { Ok((pieces, physical_entry)) }
}

/// Section 3.3, with the command line, the loader's name and the memory map behind it.
fn information(cmdline: &str, ram_bytes: u64) -> Vec<u8> {
    /// Memory sizes, command line, memory map, loader's name.
    const FLAGS: u32 = 1 | 1 << 2 | 1 << 6 | 1 << 9;
    const LOADER: &[u8] = b"tandem\0";
    let map = memory_map(ram_bytes);
    let map_at = INFO_ADDRESS as u32 + INFO_BYTES as u32;
    let loader_at = map_at + map.len() as u32;
    let cmdline_at = loader_at + LOADER.len() as u32;
    let lower_kib = ram_bytes.min(LOW_MEMORY_END) / 1024;
    let upper_kib = ram_bytes.saturating_sub(HIGH_MEMORY) / 1024;
    let mut info = vec![0; INFO_BYTES];
    let mut set = |offset: usize, value: u32| {
        info[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    };
    set(0, FLAGS);
    set(4, lower_kib as u32);
    set(8, upper_kib as u32);
    set(16, cmdline_at);
    set(44, map.len() as u32);
    set(48, map_at);
    set(64, loader_at);
    info.extend_from_slice(&map);
    info.extend_from_slice(LOADER);
    info.extend_from_slice(cmdline.as_bytes());
    info.push(0);
    info
}

fn memory_map(ram_bytes: u64) -> Vec<u8> {
    const AVAILABLE: u32 = 1;
    let low = (0, ram_bytes.min(LOW_MEMORY_END));
    let high = (HIGH_MEMORY, ram_bytes.saturating_sub(HIGH_MEMORY));
    let mut map = Vec::new();
    for (base, length) in [low, high].into_iter().filter(|(_, length)| *length > 0) {
        map.extend_from_slice(&(MAP_ENTRY_BYTES - 4).to_le_bytes());
        map.extend_from_slice(&base.to_le_bytes());
        map.extend_from_slice(&length.to_le_bytes());
        map.extend_from_slice(&AVAILABLE.to_le_bytes());
    }
    map
}

/// Section 3.2: flat 32-bit protected mode, no paging, interrupts off.
fn registers(entry: u32) -> CpuState {
    const CR0_PE: u64 = 1;
    /// 32-bit execute/read code, accessed, present, 4 KiB granularity.
    const CODE: u32 = 0xc09b;
    /// 32-bit read/write data, accessed, present, 4 KiB granularity.
    const DATA: u32 = 0xc093;
    let mut registers = reset_registers();
    registers.cr0 = 0x10 | CR0_PE;
    registers.rip = entry.into();
    registers.general[general::RAX] = LOADED_MAGIC;
    registers.general[general::RBX] = INFO_ADDRESS;
    for (index, register) in registers.segments[..segment::LDTR].iter_mut().enumerate() {
        let (selector, access) = if index == segment::CS { (0x08, CODE) } else { (0x10, DATA) };
        register.selector = selector;
        register.limit = u32::MAX;
        register.access = access;
    }
    registers
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let slice = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(slice.try_into().ok()?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let slice = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(slice.try_into().ok()?))
}

#[cfg(test)]
mod tests;
