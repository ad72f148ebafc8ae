//! How a machine starts, as data: what lies where in its RAM and what its processor's registers
//! hold. A backend only copies the pieces and loads the registers.
//!
//! ```text
//! kernel, modules --what it says it is--> multiboot | linux | pvh | flat --> layout, registers
//!                                          elf: its segments ---^           ^
//!                  bios_data, acpi, mp_table: what firmware leaves ---'
//! ```

use crate::architecture::cr0;
use crate::plan::{BootKind, VmPlan};
use crate::registers::{CpuState, general, segment};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

mod acpi;
mod bios_data;
mod elf;
pub mod flat;
mod layout;
mod linux;
mod memory_map;
mod modules;
mod mp_table;
pub mod multiboot;
mod pvh;
mod signature;
#[cfg(test)]
mod tests;

use bios_data::Ebda;
use elf::Elf;
use layout::Layout;

/// The files that boot a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images<'a> {
    /// The kernel image.
    pub kernel: &'a [u8],
    /// A user's own BIOS stub, for a flat kernel.
    pub bios: Option<&'a [u8]>,
    /// One for each module of the plan.
    pub modules: Vec<&'a [u8]>,
}

impl<'a> Images<'a> {
    /// A kernel and nothing else.
    #[must_use]
    pub const fn of(kernel: &'a [u8]) -> Self {
        Self { kernel, bios: None, modules: Vec::new() }
    }
}

/// A piece of the initial RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Guest physical address.
    pub address: u64,
    /// What lies there.
    pub content: Content,
}

/// What lies at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Part of the kernel image.
    Kernel {
        /// First byte in the image.
        offset: usize,
        /// Bytes.
        len: usize,
    },
    /// A module, whole, by its place in the plan.
    Module(usize),
    /// Bytes made here.
    Bytes(Vec<u8>),
}

/// A machine's initial state.
#[derive(Clone, Debug)]
pub struct Boot {
    /// How the kernel is entered; never [`BootKind::Auto`].
    pub kind: BootKind,
    /// What is copied into RAM, which is zero elsewhere.
    pub pieces: Vec<Piece>,
    /// The processor's registers.
    pub registers: CpuState,
    /// Conventional memory below the EBDA, KiB: what the CMOS memory and the BIOS data area say.
    pub base_memory_kib: u16,
}

impl Boot {
    /// The address and bytes of each piece, from the images it was placed with.
    ///
    /// # Panics
    /// The images are others.
    pub fn contents<'a>(
        &'a self,
        images: &'a Images<'_>,
    ) -> impl Iterator<Item = (u64, &'a [u8])> + 'a {
        self.pieces.iter().map(|piece| {
            let bytes = match &piece.content {
                Content::Kernel { offset, len } => &images.kernel[*offset..*offset + *len],
                Content::Module(index) => images.modules[*index],
                Content::Bytes(bytes) => bytes,
            };
            (piece.address, bytes)
        })
    }
}

/// Which of a VM's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel image.
    Kernel,
    /// The BIOS stub.
    Bios,
    /// A module, by its place in the plan.
    Module(usize),
}

/// Why a machine cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootError {
    /// The faulty file.
    pub part: Part,
    /// The field, its value, and what is allowed.
    pub why: String,
}

impl BootError {
    fn kernel(why: impl Into<String>) -> Self {
        Self { part: Part::Kernel, why: why.into() }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl core::error::Error for BootError {}

/// Places `images` in the RAM of `vm`'s machine.
///
/// # Errors
/// An image is empty, malformed, not for this processor or larger than the memory.
pub fn place(vm: &VmPlan, images: &Images<'_>) -> Result<Boot, BootError> {
    let kernel = images.kernel;
    if kernel.is_empty() {
        return Err(BootError::kernel("the image is empty; allowed: a kernel"));
    }
    let kind = match vm.boot.kind {
        BootKind::Auto => kind_of(kernel)?,
        kind => kind,
    };
    match kind {
        BootKind::Multiboot => {
            let header = multiboot::Header::find(kernel).ok_or_else(|| {
                none("no multiboot header in the first 8KiB", "a multiboot 1 image", kernel)
            })?;
            multiboot::place(&header, vm, images)
        }
        BootKind::Linux => linux::place(vm, images),
        BootKind::Pvh => pvh::place(vm, images),
        BootKind::Flat | BootKind::Auto => flat::place(vm, images),
    }
}

/// What a kernel says it is.
fn kind_of(kernel: &[u8]) -> Result<BootKind, BootError> {
    if multiboot::Header::find(kernel).is_some() {
        return Ok(BootKind::Multiboot);
    }
    if linux::is_bzimage(kernel) {
        return Ok(BootKind::Linux);
    }
    if !elf::is_elf(kernel) {
        return match described(kernel) {
            Some(what) => Err(BootError::kernel(format!("{what}; allowed: {ALLOWED}"))),
            None => Ok(BootKind::Flat),
        };
    }
    let elf = Elf::read(kernel)?;
    if pvh::entry(&elf)?.is_some() {
        return Ok(BootKind::Pvh);
    }
    if let Some(what) = described(kernel) {
        return Err(BootError::kernel(format!("{what}; allowed: {ALLOWED}")));
    }
    if elf.has_interpreter() {
        return Err(BootError::kernel(format!(
            "a program for an operating system, which loads it by the interpreter it names \
            (PT_INTERP); allowed: {ALLOWED}"
        )));
    }
    if elf.is_64_bit && elf.machine == elf::MACHINE_X86_64 {
        return Ok(BootKind::Linux);
    }
    Err(BootError::kernel(format!(
        "an ELF file with {} and e_machine {} that has neither a multiboot header nor a PVH entry; \
        allowed: one of them, or a 64-bit Linux kernel",
        if elf.is_64_bit { "64 bits" } else { "32 bits" },
        elf.machine,
    )))
}

/// Kinds that start without being named; raw code has no signature.
const ALLOWED: &str = "a multiboot 1, Linux or PVH kernel, or boot: raw for raw code";

/// The type of a file that no protocol starts, by its signature, if known: "compressed with
/// gzip: unpack it".
#[must_use]
pub fn described(image: &[u8]) -> Option<String> {
    signature::foreign(image)
}

/// A kernel that is not of the kind asked for: what it is, if known, else what it
/// lacks.
fn none(lacks: &str, allowed: &str, kernel: &[u8]) -> BootError {
    let what = described(kernel);
    let what = what.as_deref().unwrap_or(lacks);
    BootError::kernel(format!("{what}; allowed: {allowed}"))
}

/// The tables of the hardware; the address of ACPI's root pointer.
fn put_firmware_tables(vm: &VmPlan, layout: &mut Layout) -> Result<u64, BootError> {
    let root = acpi::put(vm, layout)?;
    mp_table::put(vm, layout)?;
    Ok(root)
}

/// A stack for the first instructions of a kernel that is entered in protected mode; its top.
///
/// Multiboot (3.2) and PVH leave ESP undefined and Linux's protocol does not mention it, but every
/// loader leaves a stack, and kernels push before they set up their own.
fn add_stack(layout: &mut Layout) -> Result<u64, BootError> {
    const STACK_BYTES: u64 = 0x4000;
    Ok(layout.add("the stack", STACK_BYTES)? + STACK_BYTES)
}

/// Flat 32-bit protected mode, no paging, interrupts off, as most protocols require.
fn protected_mode_registers(entry: u32, stack: u64, (code, data): (u16, u16)) -> CpuState {
    /// 32-bit execute/read code, accessed, present, 4 KiB granularity.
    const CODE: u32 = 0xc09b;
    /// 32-bit read/write data, accessed, present, 4 KiB granularity.
    const DATA: u32 = 0xc093;
    let mut registers = CpuState::after_init();
    registers.cr0 = cr0::ET | cr0::PE;
    registers.rip = entry.into();
    registers.general[general::RSP] = stack;
    for (index, register) in registers.segments[..segment::LDTR].iter_mut().enumerate() {
        let (selector, access) = if index == segment::CS { (code, CODE) } else { (data, DATA) };
        register.selector = selector;
        register.limit = u32::MAX;
        register.access = access;
    }
    registers
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let slice = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(slice.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let slice = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(slice.try_into().ok()?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let slice = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(slice.try_into().ok()?))
}
