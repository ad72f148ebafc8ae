//! A real gdb that does what a script says, for tests.

use crate::packages;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};

/// How long gdb waits for a reply, s: an emulated machine on a loaded host is slow.
const REPLY_SECONDS: u32 = 120;

/// Runs gdb on the symbols of `elf` at this address, as `target remote` takes it; what it printed.
///
/// # Errors
/// gdb is missing and cannot be installed, or cannot be run.
pub fn run(elf: &Path, address: &str, commands: &[&str]) -> Result<String> {
    packages::ensure(packages::GDB)?;
    let mut gdb = Command::new("gdb");
    // None of the user's files, and no questions.
    gdb.args(["-nx", "-quiet", "-batch"]).arg(elf).stdin(Stdio::null());
    for setting in ["pagination off", "confirm off", "debuginfod enabled off"] {
        gdb.args(["-iex", &format!("set {setting}")]);
    }
    gdb.args(["-ex", &format!("set remotetimeout {REPLY_SECONDS}")]);
    gdb.args(["-ex", &format!("target remote {address}")]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.output().context("cannot run gdb")?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(format!("{said}{complained}"))
}
