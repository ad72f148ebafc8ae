//! Linux's boot protocol for x86 (Documentation/arch/x86/boot.rst): a bzImage, or the ELF file inside it,
//! with command line, initrd, e820 and ACPI tables. Real-mode code is skipped, as there is no BIOS to
//! ask: the kernel is entered in 64-bit mode where it can be, else in 32-bit protected mode.
//!
//! ```text
//! setup: a bzImage's header -.
//! ELF program headers --------+-> Kernel, put --> params: the "zero page" --> long_mode: registers
//!
//! 0x07000  boot parameters                    0x20000  command line
//! 0x08000  GDT                                0xe0000  ACPI tables
//! 0x09000  page tables, 4 GiB where it is    0x100000  a bzImage's protected-mode kernel
//!                                             the top  the initrd
//! ```

use super::elf::{self, Elf};
use super::layout::{Place, What};
use super::{Boot, BootError, Content, Images, Layout, Part, acpi, protected_mode_registers};
use crate::plan::VmPlan;
use crate::registers::{CpuState, general};
use alloc::format;

mod long_mode;
mod params;
mod setup;
#[cfg(test)]
mod tests;

use params::{Initrd, Params};
use setup::Setup;
pub(super) use setup::is_bzimage;

const BOOT_PARAMS: u64 = 0x7000;
const GDT: u64 = 0x8000;
const PAGE_TABLES: u64 = 0x9000;
const CMDLINE: u64 = 0x2_0000;
/// Where a bzImage's protected-mode code lies.
const BZIMAGE: u64 = 0x10_0000;
/// __BOOT_CS and __BOOT_DS.
const SELECTORS: (u16, u16) = (0x10, 0x18);

/// A kernel that has been put, and what it says of itself.
#[derive(Debug)]
struct Kernel {
    entry: Entry,
    params: Params,
    /// The last byte of an initrd lies there or below.
    initrd_max: u32,
    /// Bytes of a command line, without its zero.
    cmdline_max: u32,
}

/// Where a kernel is entered, and in which mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Protected(u32),
    Long(u64),
}

/// Places a bzImage or an ELF file.
///
/// # Errors
/// As [`super::place`].
pub(super) fn place(vm: &VmPlan, images: &Images<'_>) -> Result<Boot, BootError> {
    let mut layout = Layout::new(vm.memory_bytes);
    let kernel = if is_bzimage(images.kernel) {
        put_bzimage(images.kernel, &mut layout)?
    } else if elf::is_elf(images.kernel) {
        put_elf(images.kernel, &mut layout)?
    } else {
        return Err(BootError::kernel(
            "neither HdrS at 0x202 nor an ELF file; allowed: a Linux bzImage or the vmlinux in it",
        ));
    };
    put_cmdline(vm, kernel.cmdline_max, &mut layout)?;
    let rsdp = acpi::put(vm, &mut layout)?;
    let registers = put_tables(kernel.entry, &mut layout)?;
    // Before the initrd, which lies where there is room.
    let what = What::Added("the boot parameters");
    let len = params::BYTES as u64;
    layout.reserve(Place { part: Part::Kernel, what, address: BOOT_PARAMS, len })?;
    let initrd = put_initrd(images, kernel.initrd_max, &mut layout)?;
    let params = kernel.params.complete(vm, initrd, rsdp);
    let mut pieces = layout.into_pieces();
    pieces.push(super::Piece { address: BOOT_PARAMS, content: Content::Bytes(params) });
    Ok(Boot { pieces, registers })
}

/// The protected-mode kernel at 1 MiB, and what it needs to unpack itself.
fn put_bzimage(image: &[u8], layout: &mut Layout) -> Result<Kernel, BootError> {
    /// The 64-bit entry lies so far behind the 32-bit one.
    const LONG_ENTRY: u64 = 0x200;
    let setup = Setup::read(image)?;
    let len = image.len() - setup.kernel;
    let loaded_end = BZIMAGE + len as u64;
    if setup.runtime_end > layout.ram_bytes {
        return Err(BootError::kernel(format!(
            "pref_address, kernel_alignment and init_size lead to {:#x}, memory to {:#x}; allowed: \
            more memory",
            setup.runtime_end, layout.ram_bytes
        )));
    }
    // It unpacks itself over where it lies, or to where it would rather lie.
    let place = Place {
        part: Part::Kernel,
        what: What::Image("the kernel"),
        address: BZIMAGE,
        len: loaded_end.max(setup.runtime_end) - BZIMAGE,
    };
    layout.put(place, Content::Kernel { offset: setup.kernel, len })?;
    let entry = if setup.has_long_entry {
        Entry::Long(BZIMAGE + LONG_ENTRY)
    } else {
        Entry::Protected(BZIMAGE as u32)
    };
    Ok(Kernel {
        entry,
        params: Params::with_header(&image[setup::HEADER..setup.end]),
        initrd_max: setup.initrd_max,
        cmdline_max: setup.cmdline_max,
    })
}

/// A vmlinux, unpacked: entered at its 64-bit entry, which is a physical address.
fn put_elf(image: &[u8], layout: &mut Layout) -> Result<Kernel, BootError> {
    let elf = Elf::read(image)?;
    if !elf.is_64_bit || elf.machine != elf::MACHINE_X86_64 {
        return Err(BootError::kernel(format!(
            "EI_CLASS is {} and e_machine {}; allowed for Linux: 2 and {}, a 64-bit kernel",
            if elf.is_64_bit { 2 } else { 1 },
            elf.machine,
            elf::MACHINE_X86_64
        )));
    }
    elf.put(layout)?;
    let entry = elf.physical_entry().or_else(|| elf.translated_entry());
    Ok(Kernel {
        entry: Entry::Long(entry.ok_or_else(|| elf.no_entry())?),
        params: Params::without_header(),
        initrd_max: params::INITRD_MAX,
        cmdline_max: params::CMDLINE_MAX,
    })
}

fn put_cmdline(vm: &VmPlan, max: u32, layout: &mut Layout) -> Result<(), BootError> {
    let len = vm.cmdline.len();
    if len > max as usize {
        return Err(BootError::kernel(format!(
            "the command line has {len} bytes; allowed by the kernel's cmdline_size: up to {max}"
        )));
    }
    let mut cmdline = vm.cmdline.clone().into_bytes();
    cmdline.push(0);
    layout.put_bytes("the command line", CMDLINE, cmdline)
}

/// The tables of the mode that the kernel is entered in; its registers.
fn put_tables(entry: Entry, layout: &mut Layout) -> Result<CpuState, BootError> {
    let mut registers = match entry {
        Entry::Protected(entry) => protected_mode_registers(entry, SELECTORS),
        Entry::Long(entry) => {
            layout.put_bytes("the page tables", PAGE_TABLES, long_mode::page_tables())?;
            long_mode::registers(entry)
        }
    };
    let gdt = long_mode::gdt(entry);
    registers.gdtr.base = GDT;
    registers.gdtr.limit = gdt.len() as u16 - 1;
    layout.put_bytes("the GDT", GDT, gdt)?;
    registers.general[general::RSI] = BOOT_PARAMS;
    Ok(registers)
}

/// The initrd, as high as it may lie.
fn put_initrd(images: &Images<'_>, max: u32, layout: &mut Layout) -> Result<Initrd, BootError> {
    let part = Part::Module(0);
    let initrd = match images.modules[..] {
        [] => return Ok(Initrd { address: 0, len: 0 }),
        [initrd] => initrd,
        _ => {
            let why = format!("{} modules; allowed for Linux: one initrd", images.modules.len());
            return Err(BootError { part: Part::Module(1), why });
        }
    };
    let (len, limit) = (initrd.len() as u64, u64::from(max) + 1);
    let Some(address) = layout.highest_free(len, limit) else {
        let ram = layout.ram_bytes;
        let of = if limit < ram { "initrd_addr_max" } else { "memory" };
        let why = format!(
            "the initrd has {len} bytes, which do not fit below {:#x}, the end of {of}, beside the \
            kernel; allowed: an initrd that fits, or more memory",
            limit.min(ram)
        );
        return Err(BootError { part, why });
    };
    let what = What::Image("the initrd");
    layout.put(Place { part, what, address, len }, Content::Module(0))?;
    // A layout ends below 4 GiB.
    Ok(Initrd { address: address as u32, len: len as u32 })
}
