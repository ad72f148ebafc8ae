//! Cores: which are allowed, and pinning to one.

use std::{io, mem};

/// The calling thread, where a thread is named by its number.
const THIS_THREAD: libc::pid_t = 0;

/// The cores this thread may run on, in ascending order.
pub fn allowed_cores() -> io::Result<Vec<u64>> {
    allowed_cores_of(THIS_THREAD)
}

/// The cores that the thread with this number may run on, in ascending order.
pub fn allowed_cores_of(thread: i32) -> io::Result<Vec<u64>> {
    let set = mask_of(thread)?;
    // SAFETY: the core number is within the set's bits.
    let is_set = |core: &u64| unsafe { libc::CPU_ISSET(*core as usize, &set) };
    Ok((0..libc::CPU_SETSIZE as u64).filter(is_set).collect())
}

/// Whether the thread with this number may run on `core` alone.
pub fn is_pinned_to(thread: i32, core: u64) -> io::Result<bool> {
    // SAFETY: both sets are ours and whole.
    Ok(unsafe { libc::CPU_EQUAL(&mask_of(thread)?, &core_set(core)?) })
}

/// Pins the calling thread to `core`, and reads the mask back.
pub fn pin_to(core: u64) -> io::Result<()> {
    pin_thread_to(THIS_THREAD, core)
}

/// Pins the thread with this number to `core`, and reads the mask back.
pub fn pin_thread_to(thread: i32, core: u64) -> io::Result<()> {
    let set = core_set(core)?;
    // SAFETY: the pointer is to a set of ours of the size named.
    let result = unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    match is_pinned_to(thread, core)? {
        true => Ok(()),
        false => Err(io::Error::other("the mask did not take")),
    }
}

/// The core that the calling thread runs on at this moment, if the host says.
#[must_use]
pub fn current_core() -> Option<u64> {
    // SAFETY: the call has no preconditions.
    u64::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The calling thread's number.
#[must_use]
pub fn this_thread() -> i32 {
    // Not `libc::gettid`: the standard library refers to that weakly, which in a static program
    // leaves it null.
    // SAFETY: the call has no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

fn mask_of(thread: i32) -> io::Result<libc::cpu_set_t> {
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a set of ours of the size named.
    let result = unsafe { libc::sched_getaffinity(thread, size_of_val(&set), &mut set) };
    if result == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
}

/// The set of `core` alone.
/// A set of this core alone.
pub fn core_set(core: u64) -> io::Result<libc::cpu_set_t> {
    if core >= libc::CPU_SETSIZE as u64 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the core number was checked to be within the set's bits.
    unsafe { libc::CPU_SET(core as usize, &mut set) };
    Ok(set)
}
