//! Disk images for the guest `disk`: little-endian words of 64 bits that count from 0.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

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
    let folder = crate::guest_files::folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let image = counting();
    let [read, kept] = ["disk.img", "disk_kept.img"].map(|name| folder.join(name));
    if fs::read(&read).ok().as_ref() != Some(&image) {
        put(&read, &image)?;
    }
    if !fs::metadata(&kept).is_ok_and(|found| found.len() == BYTES) {
        put(&kept, &image)?;
    }
    Ok([read, kept])
}

/// Whole or not at all: two processes may do so at once.
fn put(file: &Path, image: &[u8]) -> Result<()> {
    let new = file.with_extension(std::process::id().to_string());
    let put = fs::write(&new, image).and_then(|()| fs::rename(&new, file));
    put.with_context(|| format!("cannot write {}", file.display()))
}
