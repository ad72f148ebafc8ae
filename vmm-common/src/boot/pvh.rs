//! PVH direct boot (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h): an ELF file
//! whose note says where it is entered, in flat 32-bit protected mode with EBX at the start info.

use super::elf::Elf;
use super::memory_map::{Range, RangeKind};
use super::modules::{self, Span, Texts};
use super::{
    Boot, BootError, Ebda, Images, Layout, add_stack, protected_mode_registers,
    put_firmware_tables, read_u32, read_u64,
};
use crate::plan::{BootKind, VmPlan};
use crate::registers::{CpuState, general, segment};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

#[cfg(test)]
mod tests;

/// XEN_ELFNOTE_PHYS32_ENTRY, of "Xen".
const NOTE_ENTRY: u32 = 18;
/// The start info; behind it modules, memory map and texts.
const START_INFO_BYTES: usize = 56;
/// Bytes of a module's entry: address, size, its command line, reserved.
const MODULE_BYTES: usize = 32;
/// Bytes of an entry of the memory map: address, size, type, reserved.
const MAP_ENTRY_BYTES: usize = 24;
/// Segment selectors, which the protocol leaves open: code, data.
const SELECTORS: (u16, u16) = (0x08, 0x10);

/// Where `elf` says that PVH enters it, if it does.
///
/// # Errors
/// Its notes are malformed.
pub(super) fn entry(elf: &Elf<'_>) -> Result<Option<u64>, BootError> {
    let Some(note) = elf.note(b"Xen", NOTE_ENTRY)? else { return Ok(None) };
    match note.len() {
        4 => Ok(read_u32(note, 0).map(u64::from)),
        8 => Ok(read_u64(note, 0)),
        len => Err(BootError::kernel(format!(
            "the note XEN_ELFNOTE_PHYS32_ENTRY has {len} bytes; allowed: 4 or 8"
        ))),
    }
}

/// Places an ELF file with a PVH entry.
///
/// # Errors
/// As [`super::place`].
pub(super) fn place(vm: &VmPlan, images: &Images<'_>) -> Result<Boot, BootError> {
    let elf = Elf::read(images.kernel)?;
    let Some(entry) = entry(&elf)? else {
        return Err(BootError::kernel(
            "no note XEN_ELFNOTE_PHYS32_ENTRY; allowed: an ELF file with a PVH entry",
        ));
    };
    let mut layout = Layout::new(vm.memory_bytes);
    elf.put(&mut layout)?;
    if !elf.is_loaded(entry) {
        return Err(elf.outside("XEN_ELFNOTE_PHYS32_ENTRY", entry));
    }
    let rsdp = put_firmware_tables(vm, &mut layout)?;
    let stack = add_stack(&mut layout)?;
    // Its length does not depend on where anything lies.
    let mut facts = Facts {
        vm,
        address: 0,
        rsdp,
        modules: vec![Span { begin: 0, end: 0 }; images.modules.len()],
        // Itself and the EBDA are added later.
        map: vec![Range { begin: 0, len: 0, kind: RangeKind::Ram }; layout.max_map_entries(2)],
    };
    facts.address = layout.add("the PVH start info", facts.start_info().len() as u64)?;
    let ebda = Ebda::add(&mut layout)?;
    ebda.put(&vm.serial, &mut layout)?;
    facts.map = ebda.memory_map(&layout);
    facts.modules = modules::put(images, &mut layout)?;
    layout.fill(facts.address, facts.start_info());
    // It is loaded, so it lies below 4 GiB.
    let registers = registers(entry as u32, stack, facts.address);
    let base_memory_kib = ebda.base_memory_kib();
    let pieces = layout.into_pieces();
    Ok(Boot { kind: BootKind::Pvh, pieces, registers, base_memory_kib })
}

fn registers(entry: u32, stack: u64, start_info: u64) -> CpuState {
    /// The protocol's limit of TR.
    const TSS_LIMIT: u32 = 0x67;
    let mut registers = protected_mode_registers(entry, stack, SELECTORS);
    registers.segments[segment::TR].limit = TSS_LIMIT;
    registers.general[general::RBX] = start_info;
    registers
}

/// Contents of the start info.
struct Facts<'a> {
    vm: &'a VmPlan,
    /// Where it lies.
    address: u64,
    rsdp: u64,
    modules: Vec<Span>,
    map: Vec<Range>,
}

impl Facts<'_> {
    /// struct hvm_start_info of version 1, and what it points to.
    fn start_info(&self) -> Vec<u8> {
        const MAGIC: u32 = 0x336e_c578;
        const VERSION: u32 = 1;
        let Self { vm, address, rsdp, modules, map } = self;
        let modules_at = *address as usize + START_INFO_BYTES;
        let map_at = modules_at + modules.len() * MODULE_BYTES;
        let mut texts = Texts::at((map_at + map.len() * MAP_ENTRY_BYTES) as u32);
        let cmdline = texts.put(&vm.cmdline);
        let mut info = vec![0; START_INFO_BYTES];
        let mut set = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, &MAGIC.to_le_bytes());
        set(4, &VERSION.to_le_bytes());
        set(12, &(modules.len() as u32).to_le_bytes());
        set(16, &(modules_at as u64).to_le_bytes());
        set(24, &u64::from(cmdline).to_le_bytes());
        set(32, &rsdp.to_le_bytes());
        set(40, &(map_at as u64).to_le_bytes());
        set(48, &(map.len() as u32).to_le_bytes());
        for (span, plan) in modules.iter().zip(&vm.boot.modules) {
            let cmdline = texts.put(&plan.cmdline);
            for field in [span.begin, span.end - span.begin, cmdline, 0] {
                info.extend_from_slice(&u64::from(field).to_le_bytes());
            }
        }
        for range in map {
            info.extend_from_slice(&range.begin.to_le_bytes());
            info.extend_from_slice(&range.len.to_le_bytes());
            info.extend_from_slice(&(range.kind as u64).to_le_bytes());
        }
        info.extend_from_slice(&texts.bytes);
        info
    }
}
