//! Core files of VMs, for gdb with the kernel's ELF file: RAM and the registers of each vCPU.
//!
//! ```text
//! ELF header | program headers | a note for each vCPU | RAM, from address 0 on
//! ```
//!
//! A debugger asks for linear addresses, so a PT_LOAD is a piece of linear memory, as the guest's
//! page tables map it ([`mappings`]); several may be of the same RAM. Pages of zeros are holes.
//!
//! Source: System V ABI, "Object Files"; Linux's `elf_prstatus` for the notes, which gdb reads.

mod mappings;
mod status;

use crate::kvm::GuestRam;
use mappings::Mapping;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use vmm_common::memory::GuestMemory;
use vmm_common::plan::ram_ranges;
use vmm_common::registers::CpuState;

const PAGE: u64 = 4096;

/// ELF constants (System V ABI, chapters 4 and 5).
const ET_CORE: u16 = 4;
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;
const READ_WRITE_EXECUTE: u32 = 7;

/// How wide the words of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Elf32,
    Elf64,
}

/// Writes the core of a VM with this RAM whose vCPUs have left these registers, at least one.
///
/// # Errors
/// The file system refuses.
pub fn write(to: &File, ram: &GuestRam, memory_bytes: u64, vcpus: &[CpuState]) -> io::Result<()> {
    let Some(first) = vcpus.first() else { return Ok(()) };
    let class = if mappings::is_long(first) { Class::Elf64 } else { Class::Elf32 };
    let notes: Vec<u8> = (1..).zip(vcpus).flat_map(|(id, state)| note(class, id, state)).collect();
    let mut mapped = mappings::of(first, ram);
    if class == Class::Elf32 {
        mapped.retain(|it| it.linear + it.bytes <= 1 << 32 && it.physical + it.bytes <= 1 << 32);
    }
    let [low, high] = ram_ranges(memory_bytes);
    let head = class.header_bytes() + (mapped.len() as u64 + 1) * class.program_header_bytes();
    let ram_at = (head + notes.len() as u64).next_multiple_of(PAGE);
    let place = |physical: u64| match high.contains(&physical) {
        true => ram_at + (low.end - low.start) + (physical - high.start),
        false => ram_at + physical,
    };
    let mut bytes = class.header(mapped.len() as u16 + 1);
    bytes.extend(class.program_header(PT_NOTE, head, (0, 0), notes.len() as u64));
    for Mapping { linear, physical, bytes: len } in mapped {
        bytes.extend(class.program_header(PT_LOAD, place(physical), (linear, physical), len));
    }
    bytes.extend(notes);
    to.write_all_at(&bytes, 0)?;
    for range in [low.clone(), high.clone()] {
        write_ram(to, ram, range, place)?;
    }
    Ok(())
}

/// Writes the pages that are not zero; the last byte is there in any case.
fn write_ram(
    to: &File,
    ram: &GuestRam,
    range: Range<u64>,
    place: impl Fn(u64) -> u64,
) -> io::Result<()> {
    const PIECE: usize = 64 << 10;
    let mut piece = vec![0; PIECE];
    for at in range.clone().step_by(PIECE) {
        let len = (range.end - at).min(PIECE as u64) as usize;
        let piece = &mut piece[..len];
        if !ram.read(at, piece) {
            continue;
        }
        let pages = piece.chunks(PAGE as usize).enumerate();
        for (page, bytes) in pages.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)) {
            to.write_all_at(bytes, place(at) + page as u64 * PAGE)?;
        }
    }
    let Some(last) = range.end.checked_sub(1).filter(|last| range.contains(last)) else {
        return Ok(());
    };
    let mut byte = [0];
    // It is in RAM.
    let _ = ram.read(last, &mut byte);
    to.write_all_at(&byte, place(last))
}

fn note(class: Class, id: u32, state: &CpuState) -> Vec<u8> {
    /// Whose note it is, with its end, and filled up to whole words.
    const NAME: &[u8; 8] = b"CORE\0\0\0\0";
    let status = match class {
        Class::Elf64 => status::wide(id, state),
        Class::Elf32 => status::narrow(id, state),
    };
    let mut note = Vec::new();
    for word in [5, status.len() as u32, NT_PRSTATUS] {
        note.extend(word.to_le_bytes());
    }
    note.extend(NAME);
    note.extend(&status);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

impl Class {
    const fn header_bytes(self) -> u64 {
        match self {
            Self::Elf32 => 52,
            Self::Elf64 => 64,
        }
    }

    const fn program_header_bytes(self) -> u64 {
        match self {
            Self::Elf32 => 32,
            Self::Elf64 => 56,
        }
    }

    /// An address or an offset.
    fn word(self, value: u64) -> Vec<u8> {
        match self {
            Self::Elf32 => (value as u32).to_le_bytes().to_vec(),
            Self::Elf64 => value.to_le_bytes().to_vec(),
        }
    }

    fn header(self, segments: u16) -> Vec<u8> {
        let (class, machine) = match self {
            Self::Elf32 => (1, EM_386),
            Self::Elf64 => (2, EM_X86_64),
        };
        // Little-endian, version 1, no ABI of a system's.
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(ET_CORE.to_le_bytes());
        bytes.extend(machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        // Entry; where the program headers are; no sections.
        bytes.extend(self.word(0));
        bytes.extend(self.word(self.header_bytes()));
        bytes.extend(self.word(0));
        bytes.extend(0_u32.to_le_bytes());
        let sizes = [self.header_bytes(), self.program_header_bytes()].map(|size| size as u16);
        for half in [sizes[0], sizes[1], segments, 0, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        bytes
    }

    fn program_header(
        self,
        kind: u32,
        offset: u64,
        (linear, physical): (u64, u64),
        len: u64,
    ) -> Vec<u8> {
        let flags = if kind == PT_LOAD { READ_WRITE_EXECUTE } else { 0 }.to_le_bytes();
        let mut bytes = kind.to_le_bytes().to_vec();
        if self == Self::Elf64 {
            bytes.extend(flags);
        }
        for value in [offset, linear, physical, len, len] {
            bytes.extend(self.word(value));
        }
        if self == Self::Elf32 {
            bytes.extend(flags);
        }
        bytes.extend(self.word(if kind == PT_LOAD { PAGE } else { 4 }));
        bytes
    }
}
