//! Linux's boot protocol for x86 (Documentation/arch/x86/boot.rst), 2.06 and later: a bzImage entered in 64-bit
//! mode where it can be, else in 32-bit protected mode, with command line, initrd, e820 and ACPI
//! tables. Its real-mode code is skipped, as there is no BIOS to ask.
//!
//! ```text
//! 0x07000  boot parameters ("zero page")      0x20000  command line
//! 0x08000  GDT                                0xe0000  ACPI tables
//! 0x09000  page tables, 4 GiB where it is    0x100000  the protected-mode kernel
//!                                             the top  the initrd
//! ```

use super::layout::Place;
use super::{
    Boot, BootError, Content, Images, Layout, Part, acpi, protected_mode_registers, read_u16,
    read_u32, read_u64,
};
use crate::plan::VmPlan;
use crate::registers::{CpuState, general, segment};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

const BOOT_PARAMS: u64 = 0x7000;
const GDT: u64 = 0x8000;
const PAGE_TABLES: u64 = 0x9000;
const CMDLINE: u64 = 0x2_0000;

/// Where in the image, and in the boot parameters, the setup header begins.
const SETUP_HEADER: usize = 0x1f1;
const MAGIC: &[u8] = b"HdrS";
const MAGIC_AT: usize = 0x202;
/// 2.06: the header says how long the command line may be.
const OLDEST: u16 = 0x0206;
/// 2.10: where the kernel would like to lie, and what it needs there.
const WITH_INIT_SIZE: u16 = 0x020a;
/// 2.12: what entries there are.
const WITH_XLOADFLAGS: u16 = 0x020c;
/// xloadflags: there is a 64-bit entry 0x200 behind the 32-bit one.
const XLF_KERNEL_64: u16 = 1;
const ENTRY_64: u64 = 0x200;
/// __BOOT_CS and __BOOT_DS.
const SELECTORS: (u16, u16) = (0x10, 0x18);

/// Whether `image` says it is a Linux bzImage.
pub(super) fn is_bzimage(image: &[u8]) -> bool {
    image.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) == Some(MAGIC)
}

/// The setup header, as far as a loader reads it.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// Where it ends in the image.
    end: usize,
    /// Where the protected-mode kernel begins in the image.
    kernel: usize,
    has_64_bit_entry: bool,
    initrd_max: u32,
    cmdline_max: u32,
    /// Where the kernel unpacks itself, and what it needs there; nothing in old ones.
    preferred: u64,
    init_bytes: u64,
}

impl Setup {
    fn read(image: &[u8]) -> Result<Self, BootError> {
        /// The last field read is init_size.
        const FIELDS_END: usize = 0x264;
        /// loadflags: the protected-mode code lies at 1 MiB.
        const LOADED_HIGH: u8 = 1;
        const SECTOR: usize = 512;
        let bad = |why| Err(BootError::kernel(why));
        if !is_bzimage(image) {
            return bad(format!("no HdrS at {MAGIC_AT:#x}; allowed: a Linux bzImage"));
        }
        if image.len() < FIELDS_END {
            let len = image.len();
            return bad(format!(
                "the setup header is cut off at {len:#x}; needed: {FIELDS_END:#x}"
            ));
        }
        let word = |at| read_u32(image, at).unwrap_or(0);
        let half = |at| read_u16(image, at).unwrap_or(0);
        let version = half(0x206);
        if version < OLDEST {
            let (major, minor) = (version >> 8, version & 0xff);
            return bad(format!("version is {major}.{minor:02}; allowed: 2.06 and later"));
        }
        if image[0x211] & LOADED_HIGH == 0 {
            return bad(format!("loadflags is {:#x}, a zImage; allowed: a bzImage", image[0x211]));
        }
        let sectors = if image[SETUP_HEADER] == 0 { 4 } else { usize::from(image[SETUP_HEADER]) };
        let kernel = (sectors + 1) * SECTOR;
        let kernel_bytes = word(0x1f4) as usize * 16;
        let has = image.len().saturating_sub(kernel);
        // What follows (a signature, padding) is no part of it.
        if kernel_bytes == 0 || has < kernel_bytes {
            return bad(format!(
                "syssize is {kernel_bytes} bytes, the file has {has} behind setup_sects; it is cut off"
            ));
        }
        let init = version >= WITH_INIT_SIZE;
        Ok(Self {
            end: (MAGIC_AT + usize::from(image[0x201])).min(kernel),
            kernel,
            has_64_bit_entry: version >= WITH_XLOADFLAGS && half(0x236) & XLF_KERNEL_64 != 0,
            initrd_max: word(0x22c),
            cmdline_max: word(0x238),
            preferred: if init { read_u64(image, 0x258).unwrap_or(0) } else { 0 },
            init_bytes: if init { word(0x260).into() } else { 0 },
        })
    }
}

/// Places a bzImage.
///
/// # Errors
/// As [`super::place`].
pub(super) fn place(vm: &VmPlan, images: &Images<'_>) -> Result<Boot, BootError> {
    /// Where a bzImage's protected-mode code lies.
    const KERNEL: u64 = 0x10_0000;
    let setup = Setup::read(images.kernel)?;
    let mut layout = Layout::new(vm.memory_bytes);
    let len = images.kernel.len() - setup.kernel;
    let at = |what, address, len| Place { part: Part::Kernel, what, address, len };
    // It unpacks itself over where it lies, or to where it would rather lie.
    let preferred_end = setup.preferred.max(KERNEL).saturating_add(setup.init_bytes);
    let end = preferred_end.max(KERNEL + len as u64);
    layout.put(
        at("the kernel, unpacked,", KERNEL, end - KERNEL),
        Content::Kernel { offset: setup.kernel, len },
    )?;
    check_cmdline(vm, setup.cmdline_max)?;
    let mut cmdline = vm.cmdline.clone().into_bytes();
    cmdline.push(0);
    layout.put_bytes("the command line", CMDLINE, cmdline)?;
    let rsdp = acpi::put(vm, &mut layout)?;
    let initrd = put_initrd(images, u64::from(setup.initrd_max) + 1, &mut layout)?;
    let params = boot_params(vm, &images.kernel[..setup.end], initrd, rsdp);
    layout.put_bytes("the boot parameters", BOOT_PARAMS, params)?;
    let registers = if setup.has_64_bit_entry {
        layout.put_bytes("the GDT", GDT, gdt())?;
        layout.put_bytes("the page tables", PAGE_TABLES, page_tables())?;
        long_mode_registers(KERNEL + ENTRY_64)
    } else {
        protected_mode_registers(KERNEL as u32, SELECTORS)
    };
    Ok(Boot { pieces: layout.into_pieces(), registers: with_params(registers) })
}

fn check_cmdline(vm: &VmPlan, max: u32) -> Result<(), BootError> {
    let len = vm.cmdline.len();
    if len > max as usize {
        return Err(BootError::kernel(format!(
            "the command line has {len} bytes; allowed by its cmdline_size: {max}"
        )));
    }
    Ok(())
}

/// The initrd, as high as it may lie: where and how long it is.
fn put_initrd(
    images: &Images<'_>,
    limit: u64,
    layout: &mut Layout,
) -> Result<(u64, u64), BootError> {
    let part = Part::Module(0);
    let initrd = match images.modules[..] {
        [] => return Ok((0, 0)),
        [initrd] => initrd,
        _ => {
            let why = format!("{} modules; allowed for Linux: one initrd", images.modules.len());
            return Err(BootError { part: Part::Module(1), why });
        }
    };
    let len = initrd.len() as u64;
    let Some(address) = layout.highest_free(len, limit) else {
        let (ram, what) = (layout.ram_bytes, "the initrd");
        let why = format!(
            "{what} has {len} bytes, which do not fit below {:#x} beside the kernel; allowed: an \
            initrd that fits, or more memory",
            limit.min(ram)
        );
        return Err(BootError { part, why });
    };
    layout.put(Place { part, what: "the initrd", address, len }, Content::Module(0))?;
    Ok((address, len))
}

/// The "zero page": the image's setup header, and what a loader adds to it.
fn boot_params(vm: &VmPlan, image: &[u8], (initrd, initrd_len): (u64, u64), rsdp: u64) -> Vec<u8> {
    /// type_of_loader: one without an assigned number.
    const UNDEFINED_LOADER: u8 = 0xff;
    let mut params = vec![0; 0x1000];
    let header = &image[SETUP_HEADER.min(image.len())..];
    params[SETUP_HEADER..SETUP_HEADER + header.len()].copy_from_slice(header);
    params[0x210] = UNDEFINED_LOADER;
    let mut set = |at: usize, bytes: &[u8]| params[at..at + bytes.len()].copy_from_slice(bytes);
    set(0x70, &rsdp.to_le_bytes());
    set(0x218, &(initrd as u32).to_le_bytes());
    set(0x21c, &(initrd_len as u32).to_le_bytes());
    set(0x228, &(CMDLINE as u32).to_le_bytes());
    let map = acpi::memory_map(vm.memory_bytes);
    set(0x1e8, &[map.len() as u8]);
    for (index, range) in map.iter().enumerate() {
        let at = 0x2d0 + index * 20;
        set(at, &range.begin.to_le_bytes());
        set(at + 8, &range.len.to_le_bytes());
        set(at + 16, &(range.kind as u32).to_le_bytes());
    }
    params
}

/// Null twice, then code and data at [`SELECTORS`], flat.
fn gdt() -> Vec<u8> {
    const CODE_64: u64 = 0x00af_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    [0, 0, CODE_64, DATA].into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Four GiB where they are, in pages of 2 MiB: PML4, page-directory pointers, four directories.
fn page_tables() -> Vec<u8> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    const TABLE: u64 = 0x1000;
    let mut entries = vec![0_u64; 512 * 6];
    entries[0] = (PAGE_TABLES + TABLE) | PRESENT_WRITABLE;
    for gib in 0..4 {
        entries[512 + gib] = (PAGE_TABLES + TABLE * (2 + gib as u64)) | PRESENT_WRITABLE;
    }
    for (page, entry) in entries[1024..].iter_mut().enumerate() {
        *entry = (page as u64) << 21 | LARGE | PRESENT_WRITABLE;
    }
    entries.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn long_mode_registers(entry: u64) -> CpuState {
    const CR0_PG: u64 = 1 << 31;
    const CR4_PAE: u64 = 1 << 5;
    const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
    /// 64-bit execute/read code, accessed, present, 4 KiB granularity.
    const CODE_64: u32 = 0xa09b;
    let mut registers = protected_mode_registers(0, SELECTORS);
    registers.rip = entry;
    registers.cr0 |= CR0_PG;
    registers.cr3 = PAGE_TABLES;
    registers.cr4 = CR4_PAE;
    registers.efer = EFER_LME_LMA;
    registers.segments[segment::CS].access = CODE_64;
    registers.gdtr.base = GDT;
    registers.gdtr.limit = 31;
    registers
}

fn with_params(mut registers: CpuState) -> CpuState {
    registers.general[general::RSI] = BOOT_PARAMS;
    registers
}
