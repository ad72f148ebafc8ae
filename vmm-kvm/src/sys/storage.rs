//! Files that hold what VMs store.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Bytes of a regular file or a block device.
pub fn file_bytes(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// A file without a name, which ends with its last descriptor: in the directory for temporary
/// files, or in memory where that has none.
pub fn unnamed_file() -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE);
    options.open(std::env::temp_dir()).or_else(|_| {
        // SAFETY: the name is a C string that lives through the call.
        let fd = unsafe { libc::memfd_create(c"overlay".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and belongs to nobody else.
        Ok(unsafe { File::from_raw_fd(fd) })
    })
}

/// Fills `to` with random bytes of the kernel's.
pub fn fill_with_random(to: &mut [u8]) {
    let mut done = 0;
    while done < to.len() {
        let rest = &mut to[done..];
        // SAFETY: the kernel fills memory that `rest` borrows.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        // Up to 256 bytes are never cut short once the kernel's source is ready (getrandom(2)); a
        // signal may come before that.
        done += usize::try_from(got).unwrap_or(0);
    }
}

/// Locks a whole file for its open file description, exclusively or against writers (fcntl(2),
/// "Open file description locks"); [`io::ErrorKind::WouldBlock`] if another one excludes it.
pub fn lock_file(file: &File, is_exclusive: bool) -> io::Result<()> {
    let kind = if is_exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    // A length of 0 is up to the end, wherever that will be.
    let lock = libc::flock64 {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the pointer is to a flock of ours, which the call reads.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Allocates, zeroes or frees bytes of a file, as `mode` says (fallocate(2)); its size stays.
pub fn allocate(file: &File, mode: libc::c_int, offset: u64, bytes: u64) -> io::Result<()> {
    let (offset, bytes) = (offset as libc::off64_t, bytes as libc::off64_t);
    let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the call changes a file that `file` has open, and no memory.
    let result = unsafe { libc::fallocate64(file.as_raw_fd(), mode, offset, bytes) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
