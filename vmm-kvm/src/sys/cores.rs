//! Cores: which are allowed, and pinning to one.

use std::{io, mem};

/// The cores this process may run on, in ascending order.
pub fn allowed_cores() -> io::Result<Vec<u64>> {
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a set of ours of the size named.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the core number is within the set's bits.
    let is_set = |core: &u64| unsafe { libc::CPU_ISSET(*core as usize, &set) };
    Ok((0..libc::CPU_SETSIZE as u64).filter(is_set).collect())
}

/// Pins the calling thread to `core`, and reads the mask back.
pub fn pin_to(core: u64) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as u64 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the core number was checked to be within the set's bits.
    unsafe { libc::CPU_SET(core as usize, &mut set) };
    // SAFETY: the pointer is to a set of ours of the size named.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if allowed_cores()? == [core] { Ok(()) } else { Err(io::Error::other("the mask did not take")) }
}
