//! The note of what was fetched: a line for each package, its name, version and SHA-256.

use super::Package;
use std::fmt;
use std::fs;
use std::path::Path;

/// What is noted at `path`; None: nothing is, or not as we note it.
pub fn read(path: &Path) -> Option<Vec<Package>> {
    fs::read_to_string(path).ok()?.lines().map(package).collect()
}

/// The note.
pub fn text(packages: &[Package]) -> String {
    packages.iter().map(|package| format!("{package}\n")).collect()
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.sha256)
    }
}

fn package(line: &str) -> Option<Package> {
    let mut words = line.split(' ').map(str::to_owned);
    let (name, version, sha256) = (words.next()?, words.next()?, words.next()?);
    words.next().is_none().then_some(Package { name, version, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn noted(text: &str) -> Option<Vec<Package>> {
        let scratch = Scratch::new().expect("a folder for temporary files");
        read(&scratch.write("stamp", text.as_bytes()).expect("it can be written"))
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let package = |name: &str, version: &str| Package {
            name: name.into(),
            version: version.into(),
            sha256: "0123".into(),
        };
        let packages = [package("linux", "6.1.192-2"), package("busybox", "1:1.35.0-4+b1")];
        assert_eq!(noted(&text(&packages)).as_deref(), Some(&packages[..]));
    }

    #[test]
    fn an_empty_note_is_one_of_files_put_there_by_hand() {
        assert_eq!(noted(""), Some(Vec::new()));
    }

    #[test]
    fn what_we_did_not_note_is_none() {
        assert_eq!(read(Path::new("/no/such/file")), None);
        assert_eq!(noted("linux 6.1\n"), None);
        assert_eq!(noted("linux 6.1 0123 more\n"), None);
    }
}
