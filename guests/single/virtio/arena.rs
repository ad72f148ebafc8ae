//! The RAM that rings and buffers lie in. Places are offsets; the device gets their physical
//! addresses.

use crate::common::global::Global;
use core::ptr;

const BYTES: usize = 0xA_0000;

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

/// Copies out of a buffer that the device has returned, or that it has not been given: as many
/// bytes as there is room for.
pub fn copy_out(at: usize, to: &mut [u8]) {
    assert!(at <= BYTES && to.len() <= BYTES - at, "no such place");
    let from = ARENA.pointer().cast::<u8>().wrapping_add(at);
    // SAFETY: within the arena, to which there are no references; the device does not write it now.
    unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) }
}

/// Copies into a buffer that the device is not using.
pub fn copy_in(at: usize, from: &[u8]) {
    assert!(at <= BYTES && from.len() <= BYTES - at, "no such place");
    let to = ARENA.pointer().cast::<u8>().wrapping_add(at);
    // SAFETY: as above.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
}
