//! Memory of processes: frames of 4 KiB, one page table for the programs, which all share, and one
//! for each process's private 2 MiB, of which only the stack's last pages are ever present.
//!
//! So an address space is one entry of `user_directory`, and switching is a store and a reload of
//! CR3. Stack pages come when they are first touched.

use crate::abi::{PRIVATE_BASE, PROGRAMS_BASE, STACK_PAGES, STACK_TOP};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr;
use core::slice;

/// The unit of everything here.
pub const PAGE_BYTES: u64 = 4096;
const ENTRIES: usize = 512;
const PRESENT_USER: u64 = 0x5;
const PRESENT_USER_WRITABLE: u64 = 0x7;
const ADDRESS_MASK: u64 = 0x000F_FFFF_FFFF_F000;

/// RAM is used up to here at most: more than the processes can ever need.
const HIGHEST_FRAME: u64 = 16 << 20;
/// RAM assumed when the loader does not say.
const ASSUMED_MEMORY_END: u64 = 8 << 20;

/// The programs' image, aligned so that its pages can be mapped where they lie.
#[repr(C, align(4096))]
struct Pages<T: ?Sized>(T);

static PROGRAMS: &Pages<[u8]> = &Pages(*include_bytes!(env!("GUEST_OS_PROGRAMS")));

/// A page table that the processor reads.
#[repr(C, align(4096))]
pub struct PageTable(UnsafeCell<[u64; ENTRIES]>);

// SAFETY: only the kernel's one thread writes tables.
unsafe impl Sync for PageTable {}

impl PageTable {
    /// A table that maps nothing.
    pub const fn empty() -> Self {
        Self(UnsafeCell::new([0; ENTRIES]))
    }

    fn entry(&self, index: usize) -> u64 {
        // SAFETY: the reference lives for this expression only.
        unsafe { &*self.0.get() }.get(index).copied().unwrap_or(0)
    }

    fn set_entry(&self, index: usize, value: u64) {
        // SAFETY: the reference lives for this statement only, and no other one exists.
        if let Some(entry) = unsafe { &mut *self.0.get() }.get_mut(index) {
            *entry = value;
        }
    }

    fn address(&self) -> u64 {
        self.0.get() as u64 // the kernel is mapped one to one
    }
}

static PROGRAMS_TABLE: PageTable = PageTable::empty();

unsafe extern "C" {
    static boot_pml4: PageTable;
    static user_directory: PageTable;
    static image_bss_end: u8;
}

/// Maps the programs, read-only, for every process.
pub fn map_programs() {
    let first = PROGRAMS.0.as_ptr() as u64;
    for page in 0..PROGRAMS.0.len().div_ceil(PAGE_BYTES as usize).min(ENTRIES) {
        PROGRAMS_TABLE.set_entry(page, (first + page as u64 * PAGE_BYTES) | PRESENT_USER);
    }
    // SAFETY: the boot code reserved the directory for this; nothing is mapped there yet.
    unsafe { user_directory.set_entry(0, PROGRAMS_TABLE.address() | PRESENT_USER_WRITABLE) };
}

/// Makes a private table the current one.
pub fn load(table: &PageTable) {
    // SAFETY: the second entry is the private window; the kernel itself is mapped elsewhere.
    unsafe { user_directory.set_entry(1, table.address() | PRESENT_USER_WRITABLE) };
    flush();
}

fn flush() {
    // SAFETY: reloads the tables in use, which makes the processor forget old translations.
    unsafe { asm!("mov cr3, {}", in(reg) &raw const boot_pml4, options(nostack)) }
}

/// The address that the last page fault was about.
pub fn fault_address() -> u64 {
    let address;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) }
    address
}

/// The free frames: RAM never used yet, and a list of returned frames threaded through themselves.
pub struct FramePool {
    next: u64,
    end: u64,
    returned: u64,
    returned_count: u64,
}

impl FramePool {
    /// A pool without frames.
    pub const EMPTY: Self = Self { next: 0, end: 0, returned: 0, returned_count: 0 };

    /// Takes the RAM behind the kernel's image.
    pub fn initialise(&mut self, memory_end: Option<u64>) {
        self.next = &raw const image_bss_end as u64;
        self.end = memory_end.unwrap_or(ASSUMED_MEMORY_END).min(HIGHEST_FRAME) & ADDRESS_MASK;
    }

    /// What is free, in KiB.
    pub fn free_kibibytes(&self) -> u64 {
        (self.end.saturating_sub(self.next) + self.returned_count * PAGE_BYTES) / 1024
    }

    fn take(&mut self) -> Option<u64> {
        if self.returned != 0 {
            let frame = self.returned;
            // SAFETY: a returned frame holds the address of the next one.
            self.returned = unsafe { ptr::read(frame as *const u64) };
            self.returned_count -= 1;
            return Some(frame);
        }
        if self.next + PAGE_BYTES > self.end {
            return None;
        }
        self.next += PAGE_BYTES;
        Some(self.next - PAGE_BYTES)
    }

    fn give_back(&mut self, frame: u64) {
        // SAFETY: the frame is not mapped any more; it is RAM of this pool, mapped one to one.
        unsafe { ptr::write(frame as *mut u64, self.returned) };
        self.returned = frame;
        self.returned_count += 1;
    }
}

fn index_in_private(address: u64) -> usize {
    ((address - PRIVATE_BASE) / PAGE_BYTES) as usize
}

fn is_stack(address: u64) -> bool {
    (STACK_TOP - STACK_PAGES as u64 * PAGE_BYTES..STACK_TOP).contains(&address)
}

/// Gives a stack its page at `address`; `false` if that is no stack address, the page was present
/// already, or there is no memory.
pub fn add_stack_page(table: &PageTable, address: u64, frames: &mut FramePool) -> bool {
    if !is_stack(address) || table.entry(index_in_private(address)) != 0 {
        return false;
    }
    let Some(frame) = frames.take() else { return false };
    // SAFETY: the frame is free RAM, mapped one to one. Cleared: it may have been another's.
    unsafe { ptr::write_bytes(frame as *mut u64, 0, ENTRIES) };
    table.set_entry(index_in_private(address), frame | PRESENT_USER_WRITABLE);
    true
}

/// Returns all stack pages.
pub fn free_stack(table: &PageTable, frames: &mut FramePool) {
    for index in ENTRIES - STACK_PAGES..ENTRIES {
        let entry = table.entry(index);
        if entry != 0 {
            frames.give_back(entry & ADDRESS_MASK);
            table.set_entry(index, 0);
        }
    }
}

/// Copies all stack pages into an empty table. On failure the copy is incomplete.
pub fn copy_stack(from: &PageTable, to: &PageTable, frames: &mut FramePool) -> bool {
    for index in ENTRIES - STACK_PAGES..ENTRIES {
        let entry = from.entry(index);
        if entry == 0 {
            continue;
        }
        let Some(frame) = frames.take() else { return false };
        let source = (entry & ADDRESS_MASK) as *const u64;
        // SAFETY: two different frames of RAM, both mapped one to one.
        unsafe { ptr::copy_nonoverlapping(source, frame as *mut u64, ENTRIES) };
        to.set_entry(index, frame | PRESENT_USER_WRITABLE);
    }
    true
}

/// Puts the command at the top of a new stack and gives its address, aligned for a stack pointer.
pub fn place_command(table: &PageTable, command: &[u8], frames: &mut FramePool) -> Option<u64> {
    if command.len() as u64 > PAGE_BYTES || !add_stack_page(table, STACK_TOP - 1, frames) {
        return None;
    }
    let offset = (PAGE_BYTES - command.len() as u64) & !15;
    let frame = table.entry(ENTRIES - 1) & ADDRESS_MASK;
    // SAFETY: the length was checked, so the bytes fit between the offset and the frame's end.
    unsafe {
        ptr::copy_nonoverlapping(command.as_ptr(), (frame + offset) as *mut u8, command.len());
    }
    Some(STACK_TOP - PAGE_BYTES + offset)
}

/// Whether the current process may read the range, or write it if `is_write`. Stack pages that
/// were not touched yet are added.
fn is_accessible(
    table: &PageTable,
    frames: &mut FramePool,
    start: u64,
    length: u64,
    is_write: bool,
) -> bool {
    let Some(end) = start.checked_add(length) else { return false };
    let programs_end = PROGRAMS_BASE + PROGRAMS.0.len() as u64;
    if start >= PROGRAMS_BASE && end <= programs_end {
        return !is_write;
    }
    if !is_stack(start) || end > STACK_TOP {
        return false;
    }
    let mut page = start & ADDRESS_MASK;
    while page < end {
        if table.entry(index_in_private(page)) == 0 && !add_stack_page(table, page, frames) {
            return false;
        }
        page += PAGE_BYTES;
    }
    true
}

/// Bytes of the current process, for reading. `None` if it may not read all of them itself.
pub fn readable<'a>(
    table: &PageTable,
    frames: &mut FramePool,
    start: u64,
    length: u64,
) -> Option<&'a [u8]> {
    if !is_accessible(table, frames, start, length, false) {
        return None;
    }
    // SAFETY: present memory of the current process, which does not run while the kernel does.
    Some(unsafe { slice::from_raw_parts(start as *const u8, length as usize) })
}

/// Bytes of the current process, for writing. `None` if it may not write all of them itself.
pub fn writable<'a>(
    table: &PageTable,
    frames: &mut FramePool,
    start: u64,
    length: u64,
) -> Option<&'a mut [u8]> {
    if !is_accessible(table, frames, start, length, true) {
        return None;
    }
    // SAFETY: as for `readable`, and the range was checked for writing.
    Some(unsafe { slice::from_raw_parts_mut(start as *mut u8, length as usize) })
}
