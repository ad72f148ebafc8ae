//! A bzImage's setup header (boot.rst, "The Real-Mode Kernel Header"), as far as a loader reads it.

use super::super::{BootError, read_u16, read_u32, read_u64};
use super::BZIMAGE;
use alloc::format;
use alloc::string::String;

/// Where in the image, and in the boot parameters, the header begins.
pub(super) const HEADER: usize = 0x1f1;
/// Where in the boot parameters its place ends.
pub(super) const HEADER_MAX_END: usize = 0x290;
const MAGIC: &[u8] = b"HdrS";
const MAGIC_AT: usize = 0x202;
/// 2.06: the header has cmdline_size.
const OLDEST: u16 = 0x0206;
/// The last before 3.00, which is undefined.
const NEWEST: u16 = 0x02ff;
/// 2.10: the kernel's preferred address, and the memory it needs there.
const WITH_INIT_SIZE: u16 = 0x020a;
/// 2.12: xloadflags, the entry points.
const WITH_XLOADFLAGS: u16 = 0x020c;

/// Whether `image` says it is a Linux bzImage.
pub(in super::super) fn is_bzimage(image: &[u8]) -> bool {
    image.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) == Some(MAGIC)
}

/// The setup header, sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    /// Where the header ends in the image.
    pub(super) end: usize,
    /// Where the protected-mode kernel begins in the image.
    pub(super) kernel: usize,
    pub(super) has_long_entry: bool,
    pub(super) initrd_max: u32,
    pub(super) cmdline_max: u32,
    /// End of the memory the kernel needs to unpack itself; 0 if its header lacks it.
    pub(super) runtime_end: u64,
}

impl Setup {
    /// # Errors
    /// It contradicts itself or the file, or is of a kind that is not loaded.
    pub(super) fn read(image: &[u8]) -> Result<Self, BootError> {
        /// xloadflags: there is a 64-bit entry.
        const XLF_KERNEL_64: u16 = 1;
        let version = read_u16(image, 0x206).unwrap_or(0);
        let end = check_header(image, version)?;
        // All of the version's fields are there.
        let word = |at| read_u32(image, at).unwrap_or(0);
        let kernel = check_kernel(image, word(0x1f4))?;
        let xloadflags = read_u16(image, 0x236).unwrap_or(0);
        let has_long_entry = version >= WITH_XLOADFLAGS && xloadflags & XLF_KERNEL_64 != 0;
        Ok(Self {
            end,
            kernel,
            has_long_entry,
            initrd_max: word(0x22c),
            cmdline_max: word(0x238),
            runtime_end: if version >= WITH_INIT_SIZE { runtime_end(image)? } else { 0 },
        })
    }
}

/// Checks that the header is whole, and of a kernel entered at 1 MiB; its end.
fn check_header(image: &[u8], version: u16) -> Result<usize, BootError> {
    /// loadflags: the protected-mode code lies at 1 MiB.
    const LOADED_HIGH: u8 = 1;
    let cut_off = |needed: usize| {
        let len = image.len();
        bad(format!("the setup header is cut off at {len:#x}; needed: {needed:#x}"))
    };
    if image.len() < 0x208 {
        return cut_off(0x208);
    }
    if !(OLDEST..=NEWEST).contains(&version) {
        let (major, minor) = (version >> 8, version & 0xff);
        return bad(format!("version is {major}.{minor:02}; allowed: 2.06 to 2.255"));
    }
    // cmdline_size, init_size, handover_offset.
    let least_end = match version {
        WITH_XLOADFLAGS.. => 0x268,
        WITH_INIT_SIZE.. => 0x264,
        _ => 0x23c,
    };
    let end = MAGIC_AT + usize::from(image[0x201]);
    if !(least_end..=HEADER_MAX_END).contains(&end) {
        return bad(format!(
            "jump leads to the header's end at {end:#x}; allowed by its version: {least_end:#x} to \
            {HEADER_MAX_END:#x}"
        ));
    }
    if image.len() < end {
        return cut_off(end);
    }
    let loadflags = image[0x211];
    if loadflags & LOADED_HIGH == 0 {
        return bad(format!("loadflags is {loadflags:#x}, a zImage; allowed: bit 0, a bzImage"));
    }
    Ok(end)
}

/// Checks that the protected-mode kernel is whole; where it begins.
fn check_kernel(image: &[u8], syssize: u32) -> Result<usize, BootError> {
    const SECTOR: usize = 512;
    /// The unit of syssize.
    const PARAGRAPH: u64 = 16;
    /// 0 means this, for compatibility.
    const DEFAULT_SECTORS: usize = 4;
    let sectors = match image[HEADER] {
        0 => DEFAULT_SECTORS,
        sectors => sectors.into(),
    };
    let kernel = (sectors + 1) * SECTOR;
    let bytes = u64::from(syssize) * PARAGRAPH;
    // What follows (a signature, padding) is no part of it and is ignored.
    let has = image.len().saturating_sub(kernel) as u64;
    // Both entries are in it.
    let least = 0x200 + PARAGRAPH;
    // syssize is rounded up (boot.rst); a file need not be padded to it.
    let most = has.next_multiple_of(PARAGRAPH);
    if bytes < least || bytes > most {
        return bad(format!(
            "syssize is {bytes} bytes; allowed: {least} to {most}, what the file has behind \
            {sectors} setup_sects in whole paragraphs of {PARAGRAPH} bytes"
        ));
    }
    Ok(kernel)
}

/// End of the memory the kernel needs (boot.rst, init_size): it moves itself to its preferred
/// address, or to the next aligned one if it is relocatable.
fn runtime_end(image: &[u8]) -> Result<u64, BootError> {
    let is_relocatable = image[0x234] != 0;
    let alignment = read_u32(image, 0x230).unwrap_or(0);
    let preferred = read_u64(image, 0x258).unwrap_or(0);
    let init_bytes = u64::from(read_u32(image, 0x260).unwrap_or(0));
    let begin = if is_relocatable {
        if !alignment.is_power_of_two() {
            return bad(format!("kernel_alignment is {alignment:#x}; allowed: a power of two"));
        }
        preferred.max(BZIMAGE).checked_next_multiple_of(alignment.into())
    } else {
        Some(preferred)
    };
    let end = begin.and_then(|begin| begin.checked_add(init_bytes));
    end.ok_or_else(|| {
        BootError::kernel(format!(
            "pref_address is {preferred:#x}, and init_size {init_bytes:#x} behind it; allowed: \
            addresses of 64 bits"
        ))
    })
}

fn bad<T>(why: String) -> Result<T, BootError> {
    Err(BootError::kernel(why))
}
