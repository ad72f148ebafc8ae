//! Locks on the files of disks, so that two runs cannot corrupt one. They are the open file's
//! (`F_OFD_SETLK`): they hold between processes and between VMs of one, and end with the process.

use crate::sys;
use anyhow::{Result, bail};
use std::fs::File;
use std::io;

/// Locks the whole file, for its own writes or against others'.
///
/// # Errors
/// Someone else has a lock that excludes this one.
pub fn take(file: &File, is_exclusive: bool) -> Result<()> {
    match sys::lock_file(file, is_exclusive) {
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
