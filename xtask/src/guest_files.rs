//! The built-in guests as files, for configs that name a kernel by its path and for other loaders.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where they go, whatever Cargo's target directory is: configs name it.
#[must_use]
pub fn folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.expect("a member lies in the workspace").join("target/guests")
}

/// Writes all of them, and the disks of those that have some.
///
/// # Errors
/// The folder cannot be written.
pub fn write() -> Result<PathBuf> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for image in guests::IMAGES {
        put(&folder.join(format!("{}.bin", image.name)), image.bytes)?;
        let elf = format!("{}.elf", image.name);
        // What runs has no symbols; debuggers take them from here.
        if let Ok(bytes) = fs::read(Path::new(guests::BUILT).join(&elf)) {
            put(&folder.join(elf), &bytes)?;
        }
    }
    crate::disk_images::write()?;
    Ok(folder)
}

/// Writes a file whole or not at all: threads and processes may do so at once.
///
/// # Errors
/// It cannot be written.
pub(crate) fn put(file: &Path, content: &[u8]) -> Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let new = file.with_extension(format!("{}-{number}", std::process::id()));
    let put = fs::write(&new, content).and_then(|()| fs::rename(&new, file));
    put.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn threads_that_write_a_file_at_once_all_succeed() {
        let scratch = Scratch::new().expect("a folder for temporary files");
        let file = scratch.path().join("guest.bin");
        std::thread::scope(|scope| {
            let write = || (0..200).for_each(|_| put(&file, b"whole").expect("it can be written"));
            (0..4).for_each(|_| drop(scope.spawn(write)));
        });
        assert_eq!(fs::read(&file).expect("it is there"), b"whole");
        let left = fs::read_dir(scratch.path()).expect("it is there").count();
        assert_eq!(left, 1, "no other file is left");
    }
}
