//! Locks on the files of disks, so that two runs cannot corrupt one. They are the open file's
//! (`F_OFD_SETLK`): they hold between processes and between VMs of one, and end with the process,
//! or soon after: the kernel cancels what a killed process had under way in its io_uring, and keeps
//! its files open until then.

use crate::sys;
use anyhow::{Result, bail};
use std::fs::File;
use std::io;
use std::thread;
use std::time::Duration;

/// How often, and how far apart, a lock that another one excludes is tried again: a second in all,
/// for a run that was just killed to be gone.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(10);

/// Locks the whole file, for its own writes or against others'.
///
/// # Errors
/// Someone else has a lock that excludes this one.
pub fn take(file: &File, is_exclusive: bool) -> Result<()> {
    match try_often(file, is_exclusive) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_exclusive => {
            bail!("it is in use by another disk or another run; `writes: keep` needs it alone")
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            bail!("another disk or another run writes to it (`writes: keep`)")
        }
        // A file system without locks: nothing is excluded there.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn try_often(file: &File, is_exclusive: bool) -> io::Result<()> {
    for _ in 1..TRIES {
        match sys::lock_file(file, is_exclusive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(BETWEEN),
            locked => return locked,
        }
    }
    sys::lock_file(file, is_exclusive)
}
