//! What this process gives up once it has all it needs.

use std::io;
use std::os::fd::RawFd;

/// Descriptors that are not the standard three, as this process was started with them: to be called
/// before it opens any.
#[must_use]
pub fn inherited_files() -> Vec<RawFd> {
    /// Where /proc does not list them.
    const PROBED: RawFd = 1024;
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let number = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().parse().ok();
        entries.flatten().filter_map(number).collect::<Vec<RawFd>>()
    });
    let all = listed.unwrap_or_else(|_| (0..PROBED).collect());
    // The listing's own descriptor is closed by now.
    all.into_iter().filter(|fd| *fd > libc::STDERR_FILENO && is_open(*fd)).collect()
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: the call reads a flag, and fails for a descriptor that is not open.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Closes descriptors that [`inherited_files`] found.
pub fn close_inherited(files: &[RawFd]) {
    for file in files {
        // SAFETY: they were open before this process opened its first, so that no value here owns
        // them.
        unsafe { libc::close(*file) };
    }
}

/// Sets PR_SET_NO_NEW_PRIVS: no program that this process executes gets more rights than it has.
pub fn allow_no_new_privileges() -> io::Result<()> {
    // SAFETY: the call changes an attribute of this thread; its arguments are numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Clears PR_SET_DUMPABLE: the kernel writes no core dump of this process, and no other process of
/// the same user may trace it.
pub fn forbid_dumps() -> io::Result<()> {
    // SAFETY: the call changes an attribute of this process; its arguments are numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A capability by its number (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(u32);

impl Capability {
    /// Access to files whatever their permissions.
    pub const DAC_OVERRIDE: Self = Self(1);
    /// Replacing files of others in directories with the sticky bit.
    pub const FOWNER: Self = Self(3);
}

/// The header of capget and capset (linux/capability.h).
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// A half of the three sets, of 32 capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Drops all capabilities of this thread, and of those it starts later, but for `kept`. Adds none
/// that the thread lacks.
pub fn drop_capabilities(kept: &[Capability]) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: the header is ours, and so are the two halves that this version fills.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let mask = kept.iter().fold(0, |mask, Capability(number)| mask | 1 << number);
    for (sets, mask) in sets.iter_mut().zip([mask, 0]) {
        sets.permitted &= mask;
        sets.effective &= mask;
        sets.inheritable = 0;
    }
    // SAFETY: the header is ours, and so are the two halves that this version reads.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel filters system calls, and lets a handler report those it refuses.
#[must_use]
pub fn has_call_filters() -> bool {
    let action = libc::SECCOMP_RET_TRAP;
    let operation = libc::SECCOMP_GET_ACTION_AVAIL;
    // SAFETY: the pointer is to a number of ours, which the call reads.
    unsafe { libc::syscall(libc::SYS_seccomp, operation, 0, &raw const action) == 0 }
}
