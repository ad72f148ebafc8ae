//! The hypervisor's own page tables: all physical memory identity-mapped, nothing both writable and
//! executable.
//!
//! | what | how |
//! |---|---|
//! | our text | read, execute |
//! | our read-only data | read |
//! | page 0 and the page below our stack | not mapped |
//! | the device hole below 4 GiB | read, write, uncached |
//! | all else, guests' RAM among it | read, write |

use crate::frames::{FRAME_BYTES, Frames, OutOfFrames};
use crate::loader::multiboot::Range;

pub(crate) const PRESENT: u64 = 1 << 0;
pub(crate) const WRITABLE: u64 = 1 << 1;
const UNCACHED: u64 = 1 << 4 | 1 << 3;
pub(crate) const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const LARGE_BYTES: u64 = 1 << 21;
pub(crate) const DEVICES: Range = Range { begin: 0xe000_0000, end: 1 << 32 };

/// Where our own parts lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    pub text: Range,
    pub rodata: Range,
    /// The page that is not mapped.
    pub stack_guard: u64,
}

impl Image {
    /// The flags of the 4 KiB page at `address`; 0 for one that is not mapped.
    const fn flags(&self, address: u64) -> u64 {
        if address < FRAME_BYTES || address == self.stack_guard {
            0
        } else if self.text.begin <= address && address < self.text.end {
            PRESENT
        } else if self.rodata.begin <= address && address < self.rodata.end {
            PRESENT | NO_EXECUTE
        } else if DEVICES.begin <= address && address < DEVICES.end {
            PRESENT | WRITABLE | NO_EXECUTE | UNCACHED
        } else {
            PRESENT | WRITABLE | NO_EXECUTE
        }
    }

    fn touches(&self, begin: u64) -> bool {
        let end = begin + LARGE_BYTES;
        begin == 0 || (begin < self.rodata.end && self.text.begin < end) || {
            begin <= self.stack_guard && self.stack_guard < end
        }
    }
}

/// Tables that map `0..top`; the value for CR3.
///
/// # Errors
/// [`OutOfFrames`] if they do not fit.
pub(crate) fn build(image: &Image, top: u64, frames: &mut Frames) -> Result<u64, OutOfFrames> {
    let mut root = frames.take()?;
    let top = top.max(DEVICES.end);
    let mut address = 0;
    while address < top {
        let mut pdpt = frames.take()?;
        for pdpt_index in 0..512 {
            if address >= top {
                break;
            }
            let mut directory = frames.take()?;
            for entry in directory.words_mut() {
                *entry = if image.touches(address) {
                    small_pages(image, address, frames)? | PRESENT | WRITABLE
                } else {
                    address | image.flags(address) | LARGE
                };
                address += LARGE_BYTES;
            }
            pdpt.words_mut()[pdpt_index] = directory.address() | PRESENT | WRITABLE;
        }
        let index = ((address - 1) >> 39) as usize;
        root.words_mut()[index] = pdpt.address() | PRESENT | WRITABLE;
    }
    Ok(root.address())
}

fn small_pages(image: &Image, begin: u64, frames: &mut Frames) -> Result<u64, OutOfFrames> {
    let mut table = frames.take()?;
    for (index, entry) in table.words_mut().iter_mut().enumerate() {
        let address = begin + index as u64 * FRAME_BYTES;
        let flags = image.flags(address);
        *entry = if flags == 0 { 0 } else { address | flags };
    }
    Ok(table.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Image = Image {
        text: Range { begin: 0x10_0000, end: 0x14_0000 },
        rodata: Range { begin: 0x14_0000, end: 0x15_0000 },
        stack_guard: 0x18_0000,
    };

    #[test]
    fn nothing_is_writable_and_executable() {
        for address in (0..0x40_0000).step_by(0x1000).chain([0xfee0_0000, 1 << 33]) {
            let flags = IMAGE.flags(address);
            assert!(flags & WRITABLE == 0 || flags & NO_EXECUTE != 0, "{address:#x}");
        }
        assert_eq!(IMAGE.flags(0x10_0000), PRESENT);
        assert_eq!(IMAGE.flags(0x18_0000), 0);
        assert_eq!(IMAGE.flags(0), 0);
    }
}
