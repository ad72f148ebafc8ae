//! The entry's first Rust, and the division of memory.

use super::multiboot::{Information, LOADED_MAGIC, Range};
use super::structures::MAX_STRUCTURES;
use super::{Loader, Memory, Needs, Refused};
use crate::carve::Free;
use crate::frames::{FRAME_BYTES, Frames};
use crate::paging::{self, Image};
use crate::{cpu, heap};

const GIB: u64 = 1 << 30;
const LARGE_PAGE: u64 = 1 << 21;
const BELOW_4_GIB: u64 = 1 << 32;

unsafe extern "C" {
    static image_begin: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
    static stack_guard: u8;
}

unsafe extern "Rust" {
    /// The program, which uses this crate.
    fn hypervisor_main(loader: Loader) -> !;
}

/// Called by the entry's assembly, once.
#[unsafe(no_mangle)]
extern "C" fn loaded(magic: u32, information: u32) -> ! {
    // SAFETY: the program defines it with this signature, or does not link.
    unsafe { hypervisor_main(Loader { magic, information }) }
}

impl Loader {
    /// Whether the loader's command line has `wanted` among its words.
    #[must_use]
    pub fn has_word(&self, wanted: &str) -> bool {
        self.magic == LOADED_MAGIC
            && Information::read(self.information, word).has_word(wanted, word)
    }

    /// Divides memory, makes the heap, and loads page tables of our own.
    ///
    /// # Errors
    /// [`Refused`], before which nothing is allocated.
    pub fn divide(self, needs: &Needs) -> Result<Memory, Refused> {
        if self.magic != LOADED_MAGIC {
            return Err(Refused::NotMultiboot);
        }
        let information = Information::read(self.information, word);
        let image = image();
        // Where a module brings the plan, the memory for another is free.
        let plan_end = if information.module.is_none() { needs.plan.end } else { needs.plan.begin };
        let plan = Range { begin: needs.plan.begin, end: plan_end };
        let mut reserved = [Range::default(); MAX_STRUCTURES + 3];
        reserved[3..].copy_from_slice(&information.structures().map(Range::whole_frames));
        reserved[0] = Range { begin: 0, end: 0x10_0000 };
        reserved[1] = Range { begin: image.text.begin, end: &raw const image_end as u64 };
        reserved[2] = plan;
        let top = information.ram().iter().map(|range| range.end).max().unwrap_or(0);
        let own = information.first_gap(&reserved, needs.heap_bytes).ok_or(Refused::Heap)?;
        let taken = own.range();
        heap::begin(own);
        let mut free = Free::new(information.ram(), &reserved, taken);
        // A directory for each GiB of memory: in our tables, and again in those of the VM that has
        // it.
        let tables = 2 * top.div_ceil(GIB) + 8;
        let small = if needs.has_small_pages { top.div_ceil(LARGE_PAGE) } else { 0 };
        let frame_bytes = (tables + small) * FRAME_BYTES + needs.frame_bytes;
        let region = free.take(frame_bytes, FRAME_BYTES, BELOW_4_GIB).ok_or(Refused::Frames)?;
        let mut frames = Frames::new(region);
        let root = paging::build(&image, top, &mut frames).map_err(|_| Refused::PageTables)?;
        // SAFETY: the tables identity-map all memory in use.
        unsafe { cpu::set_cr3(root) };
        let has_plan = information.module.is_none() && top > plan.end;
        Ok(Memory {
            free,
            frames,
            module: information.module.map(bytes_at),
            plan: has_plan.then(|| bytes_at(plan)),
        })
    }
}

/// A load from what the loader left.
fn word(at: u64) -> u32 {
    // SAFETY: the first 4 GiB are mapped; the structures lie there, and any bits are a number.
    unsafe { (at as *const u32).read_unaligned() }
}

fn image() -> Image {
    Image {
        text: Range { begin: &raw const image_begin as u64, end: &raw const text_end as u64 },
        rodata: Range { begin: &raw const text_end as u64, end: &raw const rodata_end as u64 },
        stack_guard: &raw const stack_guard as u64,
    }
}

fn bytes_at(range: Range) -> &'static [u8] {
    if range.begin == range.end {
        return &[];
    }
    let len = (range.end - range.begin) as usize;
    // SAFETY: mapped memory that was reserved for what lies there; nothing writes it.
    unsafe { core::slice::from_raw_parts(range.begin as *const u8, len) }
}
