//! What holds for the tree as a whole. The tests proper are in `tests/`: [`Tree`] is the source
//! files as they are read from there.

mod code_lines;
pub mod syntax;

pub use code_lines::code_lines;

use std::fs;
use std::path::{Path, PathBuf};

/// The source files of the repository.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: Vec<SourceFile>,
}

/// A file and what is in it.
#[derive(Debug)]
pub struct SourceFile {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Folders that hold nothing written by hand.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// What the names of the files end in that are read.
const READ: [&str; 4] = [".rs", ".md", ".toml", ".yml"];

impl Tree {
    /// Reads every file of the repository that is Rust, a document or a setting.
    ///
    /// # Panics
    /// If the tree cannot be read: a test that sees nothing must not pass.
    #[must_use]
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        collect(&root, &root, &mut files);
        assert!(files.len() > 50, "the tree was not found at {}", root.display());
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { root, files }
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// Every file that was read.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// The text of the file at `path`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        let file = self.files.iter().find(|file| file.path == path);
        &file.unwrap_or_else(|| panic!("{path} is missing")).text
    }

    /// The repository's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether something lies at `path`.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

impl SourceFile {
    /// The file belongs to tests rather than to what is shipped.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let is_test_part = |part: &str| matches!(part, "tests" | "tests.rs");
        self.path.split('/').any(is_test_part)
    }

    /// The text less line comments, for searches that prose would confuse.
    pub fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code))
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("a folder of the repository can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) && !name.starts_with("target") {
                collect(root, &path, files);
            }
        } else if READ.iter().any(|end| name.ends_with(end)) {
            // Some configs are no text, on purpose.
            let bytes = fs::read(&path).expect("a file of the repository can be read");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let path = path.strip_prefix(root).expect("it was found there");
            files.push(SourceFile { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    }
}
