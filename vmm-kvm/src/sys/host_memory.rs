//! Memory: how much is available, and freeing what is no longer needed.

use std::ptr;

/// Bytes of memory available now, or None if the host does not say.
pub fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Makes all threads allocate from one heap. glibc reads a file (overcommit_memory) before it
/// shrinks a thread's own heap, which a confined thread may not; and one thread runs at a time. To
/// be called before the first thread is started.
pub fn share_one_heap() {
    // SAFETY: no other thread allocates yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Frees memory that only start-up needed: resident pages of text and constants of the program and
/// its libraries (which are read again from the files, page by page, when needed), and free
/// heap.
pub fn forget_start_up() {
    // SAFETY: the callback keeps to what it is given, and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_object), ptr::null_mut()) };
    // SAFETY: the call has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

/// Unmaps the pages of one loaded object's segments that cannot be written.
unsafe extern "C" fn forget_object(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    const PAGE_BYTES: u64 = 4096;
    // SAFETY: the dynamic linker hands out a valid structure for the time of the call.
    let info = unsafe { &*info };
    // SAFETY: it says itself how many program headers there are.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let is_constant =
        |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0;
    for header in headers.iter().filter(is_constant) {
        let start = info.dlpi_addr + header.p_vaddr;
        let (first, end) = (start / PAGE_BYTES * PAGE_BYTES, start + header.p_memsz);
        // SAFETY: these pages are mapped from a file without write permission, and no relocation
        // was written to them (text relocations do not exist here), so the file has what they hold.
        // Where it is another kind of mapping (the vDSO) the call fails and nothing happens.
        unsafe { libc::madvise(first as *mut _, (end - first) as usize, libc::MADV_DONTNEED) };
    }
    0
}
