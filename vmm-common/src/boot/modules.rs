//! Modules of multiboot and PVH: where they lie, and the strings the kernel gets pointers to.

use super::layout::{Place, What};
use super::memory_map::HIGH_MEMORY;
use super::{BootError, Content, Images, Layout, Part};
use alloc::format;
use alloc::vec::Vec;

/// Where a module begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: u32,
    pub(super) end: u32,
}

/// Puts the modules behind the kernel, each at a whole page.
///
/// # Errors
/// One does not fit.
pub(super) fn put(images: &Images<'_>, layout: &mut Layout) -> Result<Vec<Span>, BootError> {
    let module = |(index, bytes): (usize, &&[u8])| {
        let (part, len) = (Part::Module(index), bytes.len() as u64);
        let Some(address) = layout.lowest_free(len, HIGH_MEMORY) else {
            let ram = layout.ram_bytes;
            let why = format!(
                "it has {len} bytes, which are not free behind the kernel, memory ends at \
                {ram:#x}; allowed: modules that fit, or more memory"
            );
            return Err(BootError { part, why });
        };
        let what = What::Image("a module");
        // An empty one has a page of its own, too.
        let place = Place { part, what, address, len: len.max(1) };
        layout.put(place, Content::Module(index))?;
        // A layout ends below 4 GiB.
        Ok(Span { begin: address as u32, end: (address + len) as u32 })
    };
    images.modules.iter().enumerate().map(module).collect()
}

/// Texts, each ended by a zero, one behind the other.
#[derive(Debug)]
pub(super) struct Texts {
    /// Where the first one lies.
    pub(super) address: u32,
    pub(super) bytes: Vec<u8>,
}

impl Texts {
    pub(super) const fn at(address: u32) -> Self {
        Self { address, bytes: Vec::new() }
    }

    /// Where it lies.
    pub(super) fn put(&mut self, text: &str) -> u32 {
        let at = self.address + self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        at
    }
}
