//! Linux's boot protocol for x86 (Documentation/arch/x86/boot.rst): a bzImage, or the ELF file
//! inside it, with command line, initrd, e820 and ACPI tables. Real-mode code is skipped, as there
//! is no BIOS to ask: the kernel is entered in 64-bit mode where it can be, else in 32-bit
//! protected mode.
//!
//! ```text
//! setup: a bzImage's header -.
//! ELF program headers --------+-> Kernel, put --> params: the "zero page" --> long_mode: registers
//!
//! the top of low memory   boot parameters, command line, GDT, page tables, stack
//! 1 MiB                   a bzImage's protected-mode kernel
//! the top                 the initrd
//! ```

use super::elf::{self, Elf};
use super::layout::{PAGE, Place, What};
use super::{
    Boot, BootError, Content, Ebda, Images, Layout, Part, add_stack, none,
    protected_mode_registers, put_firmware_tables,
};
use crate::plan::{BootKind, VmPlan};
use crate::registers::{CpuState, TableRegister, general};
use alloc::format;

mod long_mode;
mod params;
mod setup;
#[cfg(test)]
mod tests;

use params::{Initrd, Loaded, Params};
use setup::Setup;
pub(super) use setup::is_bzimage;

/// Where a bzImage's protected-mode code lies.
const BZIMAGE: u64 = 0x10_0000;
/// __BOOT_CS and __BOOT_DS.
const SELECTORS: (u16, u16) = (0x10, 0x18);

/// A kernel that has been put, and its header's limits.
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
        return Err(none(
            "neither HdrS at 0x202 nor an ELF file",
            "a Linux bzImage or the vmlinux in it",
            images.kernel,
        ));
    };
    let rsdp = put_firmware_tables(vm, &mut layout)?;
    let params = layout.add("the boot parameters", params::BYTES as u64)?;
    let cmdline = put_cmdline(vm, kernel.cmdline_max, &mut layout)?;
    let mut registers = put_tables(kernel.entry, &mut layout)?;
    registers.general[general::RSI] = params;
    let ebda = Ebda::add(&mut layout)?;
    ebda.put(&vm.serial, &mut layout)?;
    let map = ebda.memory_map(&layout);
    let initrd = put_initrd(images, kernel.initrd_max, &mut layout)?;
    let has_screen = vm.screen.is_shown;
    let loaded = Loaded { cmdline, initrd, rsdp, map, has_screen };
    layout.fill(params, kernel.params.complete(&loaded));
    let base_memory_kib = ebda.base_memory_kib();
    let pieces = layout.into_pieces();
    Ok(Boot { kind: BootKind::Linux, pieces, registers, base_memory_kib })
}

/// The protected-mode kernel at 1 MiB, and what it needs to unpack itself.
fn put_bzimage(image: &[u8], layout: &mut Layout) -> Result<Kernel, BootError> {
    /// The 64-bit entry's distance from the 32-bit one.
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
    // It unpacks itself in place, or to its preferred address.
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

fn put_cmdline(vm: &VmPlan, max: u32, layout: &mut Layout) -> Result<u64, BootError> {
    let len = vm.cmdline.len();
    if len > max as usize {
        return Err(BootError::kernel(format!(
            "the command line has {len} bytes; allowed by the kernel's cmdline_size: up to {max}"
        )));
    }
    let mut cmdline = vm.cmdline.clone().into_bytes();
    cmdline.push(0);
    layout.add_bytes("the command line", cmdline)
}

/// The tables of the mode that the kernel is entered in; its registers.
fn put_tables(entry: Entry, layout: &mut Layout) -> Result<CpuState, BootError> {
    let gdt = long_mode::gdt(entry);
    let limit = gdt.len() as u16 - 1;
    let base = layout.add_bytes("the GDT", gdt)?;
    let mut registers = match entry {
        Entry::Protected(entry) => protected_mode_registers(entry, add_stack(layout)?, SELECTORS),
        Entry::Long(entry) => {
            let tables = layout.add("the page tables", long_mode::PAGE_TABLE_BYTES)?;
            layout.fill(tables, long_mode::page_tables(tables));
            long_mode::registers(entry, tables, add_stack(layout)?)
        }
    };
    registers.gdtr = TableRegister { base, limit };
    Ok(registers)
}

/// The initrd, as high as allowed.
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
    let Some(address) = layout.highest_free(len, limit, PAGE) else {
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
