//! The bare-metal hypervisor's kernel, built.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The package and its binary.
const NAME: &str = "vmm-baremetal";
/// What cargo is asked for. The host's own target is named for its flags not to reach build scripts.
const BUILD: &[&str] = &[
    "build",
    "--package",
    NAME,
    "--features",
    "bare",
    "--profile",
    "bare",
    "--target",
    "x86_64-unknown-linux-gnu",
    "--message-format",
    "json-render-diagnostics",
];

/// Builds the kernel; where it is.
///
/// # Errors
/// Cargo cannot be run, or failed, which it told on standard error.
pub fn build() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(BUILD).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{NAME} was not built");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().find_map(executable).with_context(|| format!("cargo made no {NAME}"))
}

/// Cargo, in the workspace.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command
}

/// The kernel's path, if that is what a message of cargo's is about.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_kernel = message["target"]["name"] == NAME;
    let path = message["executable"].as_str().filter(|_| is_kernel)?;
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_found_among_the_messages_of_cargo() {
        let artifact = |name: &str, path: &str| {
            format!(r#"{{"target":{{"name":"{name}"}},"executable":{path}}}"#)
        };
        assert_eq!(executable(&artifact(NAME, r#""/a/b""#)), Some(PathBuf::from("/a/b")));
        assert_eq!(executable(&artifact(NAME, "null")), None);
        assert_eq!(executable(&artifact("guests", r#""/a/b""#)), None);
        assert_eq!(executable("warning: no JSON"), None);
    }
}
