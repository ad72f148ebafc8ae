//! Counting the lines of code of a folder.

use anyhow::{Context, Result};
use conformance::code_lines;
use std::fs;
use std::path::Path;

/// The lines of code of the Rust files in `folder` and below, but for `tests.rs` and `tests/`.
///
/// # Errors
/// A file or folder cannot be read.
pub fn count(folder: &Path) -> Result<usize> {
    let mut lines = 0;
    let shown = || folder.display().to_string();
    for entry in fs::read_dir(folder).with_context(shown)? {
        let path = entry.with_context(shown)?.path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            lines += count(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            lines += code_lines(&fs::read_to_string(&path).with_context(shown)?);
        }
    }
    Ok(lines)
}
