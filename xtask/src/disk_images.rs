//! Disk images for the guest `disk`: little-endian words of 64 bits that count from 0.

use crate::guest_files;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// Bytes of an image, which the guest expects.
const BYTES: u64 = 256 << 10;

/// What an image holds.
#[must_use]
pub fn counting() -> Vec<u8> {
    (0..BYTES / 8).flat_map(u64::to_le_bytes).collect()
}

/// Writes those that configs name to the folder of the guests: one that is only read, and one that
/// keeps what guests write, as they left it.
///
/// # Errors
/// The folder cannot be written.
pub fn write() -> Result<[PathBuf; 2]> {
    let folder = guest_files::folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let image = counting();
    let [read, kept] = ["disk.img", "disk_kept.img"].map(|name| folder.join(name));
    if fs::read(&read).ok().as_ref() != Some(&image) {
        guest_files::put(&read, &image)?;
    }
    if !fs::metadata(&kept).is_ok_and(|found| found.len() == BYTES) {
        guest_files::put(&kept, &image)?;
    }
    Ok([read, kept])
}
