//! A terminal for a program that asks for one.

use anyhow::{Context, Result};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};

/// Our end of a new pseudo-terminal, and the other, which is no process's controlling terminal.
///
/// # Errors
/// The host has no more of them.
pub fn open() -> Result<(File, File)> {
    try_open().context("cannot make a pseudo-terminal")
}

fn try_open() -> Result<(File, File)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?.into_string()?;
    let theirs = OpenOptions::new().read(true).write(true).open(name)?;
    Ok((File::from(ours), theirs))
}
