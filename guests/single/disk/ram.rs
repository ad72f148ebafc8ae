//! The RAM that rings and buffers lie in. Places are offsets; the device gets their physical
//! addresses.

use crate::common::global::Global;

const BYTES: usize = 0x20000;

/// Descriptor table of 256 entries.
pub const DESCRIPTORS: usize = 0;
/// Available ring.
pub const AVAILABLE: usize = 0x1000;
/// Used ring.
pub const USED: usize = 0x2000;
/// Indirect tables, 64 bytes a slot.
pub const INDIRECT: usize = 0x3000;
/// Header, segment and status of a request, 64 bytes a slot.
pub const HEADERS: usize = 0x4000;
/// Data.
pub const DATA: usize = 0x8000;

#[repr(C, align(4096))]
struct Arena([u8; BYTES]);

static ARENA: Global<Arena> = Global::new(Arena([0; BYTES]));

/// An integer that takes one access.
pub trait Word: Copy {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

fn pointer<T: Word>(at: usize) -> *mut T {
    assert!(at + size_of::<T>() <= BYTES && at.is_multiple_of(size_of::<T>()), "no such place");
    ARENA.pointer().cast::<u8>().wrapping_add(at).cast()
}

/// Reads what the device may have written.
pub fn get<T: Word>(at: usize) -> T {
    // SAFETY: within the arena, aligned; volatile, as the device writes it.
    unsafe { pointer::<T>(at).read_volatile() }
}

/// Writes what the device may read.
pub fn put<T: Word>(at: usize, value: T) {
    // SAFETY: within the arena, aligned, and there are no references to it.
    unsafe { pointer::<T>(at).write_volatile(value) }
}

/// The physical address of a place: the boot tables map all as it is.
pub fn physical(at: usize) -> u64 {
    ARENA.pointer() as u64 + at as u64
}

/// Fills whole words with a value each.
pub fn fill(at: usize, bytes: usize, value: impl Fn(u64) -> u64) {
    for n in 0..bytes / 8 {
        put(at + n * 8, value(n as u64));
    }
}

/// Whether whole words have a value each.
pub fn holds(at: usize, bytes: usize, value: impl Fn(u64) -> u64) -> bool {
    (0..bytes / 8).all(|n| get::<u64>(at + n * 8) == value(n as u64))
}
