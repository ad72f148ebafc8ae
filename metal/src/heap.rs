//! The program's heap.

use crate::carve::Region;
use linked_list_allocator::LockedHeap;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// The heap has this memory from now on.
pub(crate) fn begin(region: Region) {
    let bytes = region.bytes() as usize;
    // SAFETY: the region is mapped and owned by nothing else, and given up here.
    unsafe { HEAP.lock().init(region.begin() as *mut u8, bytes) };
}

/// Bytes of it in use.
#[must_use]
pub fn used_bytes() -> usize {
    HEAP.lock().used()
}
