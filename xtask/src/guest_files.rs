//! The built-in guests as files, for configs that name a kernel by its path and for other loaders.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where they go, whatever Cargo's target directory is: configs name it.
#[must_use]
pub fn folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.expect("a member lies in the workspace").join("target/guests")
}

/// Writes all of them, and the disks of those that have some, each whole or not at all: two
/// processes may do so at once.
///
/// # Errors
/// The folder cannot be written.
pub fn write() -> Result<PathBuf> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for image in guests::IMAGES {
        let file = folder.join(format!("{}.bin", image.name));
        let new = folder.join(format!("{}.{}", image.name, std::process::id()));
        fs::write(&new, image.bytes)
            .and_then(|()| fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    crate::disk_images::write()?;
    Ok(folder)
}
