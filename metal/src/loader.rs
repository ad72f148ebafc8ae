//! From the loader to [`Memory`]: what is ours, what is free, and the hypervisor's own page tables.

mod command_line;
#[cfg(feature = "bare")]
mod long_mode;
pub mod multiboot;
#[cfg(feature = "bare")]
mod requirements;
#[cfg(feature = "bare")]
mod start;
mod structures;

use crate::carve::Free;
use crate::frames::Frames;
use multiboot::Range;

/// The loader's registers at the entry, which creates the only one.
#[derive(Debug)]
pub struct Loader {
    magic: u32,
    information: u32,
}

/// The memory that the hypervisor needs for itself, and memory to preserve.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// For the heap.
    pub heap_bytes: u64,
    /// For frames, besides those of its own page tables.
    pub frame_bytes: u64,
    /// Guests' tables map 4 KiB at a time, and take a frame for each 2 MiB.
    pub has_small_pages: bool,
    /// Where a plan may lie, if the loader brought no module.
    pub plan: Range,
}

/// Physical memory, divided.
#[derive(Debug)]
pub struct Memory {
    /// Unused memory.
    pub free: Free,
    /// The hypervisor's own frames.
    pub frames: Frames,
    /// The loader's module.
    pub module: Option<&'static [u8]>,
    /// The memory of [`Needs::plan`], where there is no module, and memory beyond it.
    pub plan: Option<&'static [u8]>,
}

/// Why the hypervisor has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The loader is no multiboot 1 loader.
    NotMultiboot,
    /// For the heap.
    Heap,
    /// For frames.
    Frames,
    /// For our own page tables.
    PageTables,
}

impl Refused {
    /// The message; there may be no heap yet.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotMultiboot => "not started by a multiboot 1 loader",
            Self::Heap => "less than 8 MiB of memory below 4 GiB is free",
            Self::Frames => "no memory below 4 GiB for page tables",
            Self::PageTables => "no memory for page tables",
        }
    }
}
