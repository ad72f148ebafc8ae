//! Debian packages, fetched and unpacked by Debian's own tools; nothing is installed.

use crate::packages;
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A package as its archive's index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

impl Package {
    /// The package `name`, in the version that would be installed.
    pub fn find(name: &str) -> Result<Self> {
        let shown = output("apt-cache", &["show", "--no-all-versions", name], Path::new("/"))?;
        Self::parse(&shown).with_context(|| format!("apt-cache shows no package {name}"))
    }

    /// The first one of those that apt-cache shows.
    fn parse(shown: &str) -> Option<Self> {
        let first = shown.split("\n\n").next()?;
        let field = |key: &str| {
            let mut values = first.lines().filter_map(|line| line.strip_prefix(key));
            values.next()?.strip_prefix(':').map(|value| value.trim().to_owned())
        };
        let (name, version, sha256) = (field("Package")?, field("Version")?, field("SHA256")?);
        Some(Self { name, version, sha256 })
    }

    /// Fetches it and unpacks it into `folder`, which is there and to which `file` is added.
    ///
    /// # Errors
    /// It cannot be had, or its checksum is not the one that the index states.
    pub fn fetch(&self, folder: &Path) -> Result<()> {
        let this = format!("{}={}", self.name, self.version);
        // As root, apt would fetch as a user who may not write here, and warn.
        let own_user = ["-o", "APT::Sandbox::User=root"];
        let mut arguments = vec!["download", "-q"];
        if rustix::process::geteuid().is_root() {
            arguments.extend(own_user);
        }
        arguments.push(&this);
        output("apt-get", &arguments, folder)?;
        let file = self.file(folder)?;
        let file = file.to_str().context("the folder's name is not text")?;
        let summed = output("sha256sum", &["--", file], folder)?;
        let sum = summed.split_whitespace().next().unwrap_or_default();
        if sum != self.sha256 {
            bail!("{this} has the SHA-256 {sum}; the package index states {}", self.sha256);
        }
        output("dpkg-deb", &["--extract", file, "."], folder)?;
        Ok(())
    }

    /// The file that was fetched: its name has a version that is spelled in another way.
    fn file(&self, folder: &Path) -> Result<PathBuf> {
        let entries = folder.read_dir().context("cannot read the folder")?;
        let lead = format!("{}_", self.name);
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let file = paths.find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&lead) && name.ends_with(".deb")
        });
        file.with_context(|| format!("apt-get left no file of {}", self.name))
    }
}

/// The package that a meta package stands for: the first one that it depends on.
pub fn behind(meta: &str) -> Result<String> {
    let shown = output("apt-cache", &["depends", "--important", meta], Path::new("/"))?;
    first_dependency(&shown).with_context(|| format!("{meta} depends on no package"))
}

fn first_dependency(shown: &str) -> Option<String> {
    let mut lines = shown.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    lines.next().map(|name| name.trim().to_owned())
}

/// Does `fetch` with the lists of packages as they are, and if that fails, as root, once more with
/// new ones.
pub fn with_lists<T>(fetch: impl Fn() -> Result<T>) -> Result<T> {
    fetch().or_else(|error| {
        if !rustix::process::geteuid().is_root() {
            return Err(error.context("perhaps `apt-get update`, as root, helps"));
        }
        eprintln!("{error:#}; updating the lists of packages");
        packages::update();
        fetch()
    })
}

/// What a program prints.
fn output(program: &str, arguments: &[&str], folder: &Path) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    // What is parsed is in English.
    command.env("LC_ALL", "C");
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(anyhow!("{program} {} failed: {}", arguments.join(" "), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_from_what_apt_cache_shows() {
        let shown = "Package: busybox-static\nSource: busybox (1:1.35.0-4)\n\
                     Version: 1:1.35.0-4+b1\nDepends: libc\nDescription-en: shells\n \
                     Version: of none\nSHA256: ab12\n\n\
                     Package: busybox-static\nVersion: 1\nSHA256: cd34\n";
        let package = Package::parse(shown).expect("it is whole");
        assert_eq!(package.name, "busybox-static");
        assert_eq!(package.version, "1:1.35.0-4+b1");
        assert_eq!(package.sha256, "ab12");
    }

    #[test]
    fn a_package_without_a_checksum_is_none() {
        assert_eq!(Package::parse("Package: a\nVersion: 1\n"), None);
        assert_eq!(Package::parse(""), None);
    }

    #[test]
    fn a_meta_package_stands_for_the_first_one_it_depends_on() {
        let shown = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(first_dependency(shown).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(first_dependency("a\n  Conflicts: b\n"), None);
    }
}
