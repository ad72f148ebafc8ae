//! The bare-metal hypervisor's kernel, built; vmm-kvm for a machine without libraries; and other
//! programs of the workspace.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The package and its binary.
const NAME: &str = "vmm-baremetal";
/// How it is built. The host's own target is named for its flags not to reach build scripts.
pub const FLAGS: &[&str] =
    &["--features", "bare", "--profile", "bare", "--target", "x86_64-unknown-linux-gnu"];

/// Builds the kernel; where it is.
///
/// # Errors
/// As for [`built`].
pub fn build() -> Result<PathBuf> {
    built(NAME, FLAGS)
}

/// Builds vmm-kvm with its C library in it, beside the one that is built otherwise; where it is.
///
/// # Errors
/// As for [`built`].
pub fn build_static() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let flags = format!(r#"target.{TARGET}.rustflags=["-Ctarget-feature=+crt-static"]"#);
    built("vmm-kvm", &["--profile", "static", "--target", TARGET, "--config", &flags])
}

/// Builds a package with more `flags` for cargo; where its binary is, which has the package's name.
///
/// # Errors
/// Cargo cannot be run, or failed, which it reported on standard error.
pub fn built(package: &str, flags: &[&str]) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--package", package, "--message-format", "json-render-diagnostics"]);
    cargo.args(flags).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{package} was not built");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages.lines().find_map(|message| executable(message, package));
    path.with_context(|| format!("cargo made no {package}"))
}

/// Cargo, in the workspace.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command
}

/// The binary's path, if that is what a message of cargo's is about.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_binary = message["target"]["name"] == name;
    let path = message["executable"].as_str().filter(|_| is_binary)?;
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_found_among_the_messages_of_cargo() {
        let artifact = |name: &str, path: &str| {
            format!(r#"{{"target":{{"name":"{name}"}},"executable":{path}}}"#)
        };
        let found = |message: &str| executable(message, "tandem");
        assert_eq!(found(&artifact("tandem", r#""/a/b""#)), Some(PathBuf::from("/a/b")));
        assert_eq!(found(&artifact("tandem", "null")), None);
        assert_eq!(found(&artifact("guests", r#""/a/b""#)), None);
        assert_eq!(found("warning: no JSON"), None);
    }
}
