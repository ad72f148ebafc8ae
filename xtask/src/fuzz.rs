//! `fuzz`: libFuzzer on the loaders of kernels, on instructions and on rings. It needs a nightly
//! toolchain, and `fuzz/`, a workspace of its own.

use std::path::Path;
use std::process::Command;

/// Each a program of `fuzz/`: for the loader of that name, for instructions that are carried out,
/// or for virtio's rings.
const TARGETS: [&str; 7] = ["multiboot", "elf", "pvh", "linux", "flat", "instruction", "rings"];
/// Coverage as libFuzzer reads it, and the address sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address --cfg fuzzing";
const MANIFEST: &str = "fuzz/Cargo.toml";
/// What was found, and what it began with.
const FOLDER: &str = "target/fuzz/";

/// Runs each target, or the one of this name, for so many seconds, beginning with valid and bad
/// images.
pub fn run(name: Option<&str>, seconds: u64) -> bool {
    if let Some(name) = name.filter(|name| !TARGETS.contains(name)) {
        eprintln!("xtask: {name} is no fuzz target; allowed: {}", TARGETS.join(", "));
        return false;
    }
    let is_wanted = |target: &&&str| name.is_none_or(|name| name == **target);
    cargo(&["run", "--release", "--manifest-path", MANIFEST, "--bin", "seeds", "--", FOLDER], "")
        && TARGETS.iter().filter(is_wanted).all(|target| run_one(target, seconds))
}

fn run_one(target: &str, seconds: u64) -> bool {
    // Flags for a target of its own do not reach build scripts.
    let build = ["run", "--release", "--manifest-path", MANIFEST, "--bin", target];
    let triple = ["--target", "x86_64-unknown-linux-gnu", "--"];
    let time = format!("-max_total_time={seconds}");
    let prefix = format!("-artifact_prefix={FOLDER}");
    let corpus = format!("{FOLDER}{target}");
    let options = [&*time, "-max_len=16384", &*prefix, &*corpus];
    cargo(&[&build[..], &triple, &options].concat(), FLAGS)
}

fn cargo(arguments: &[&str], flags: &str) -> bool {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("cargo");
    command.arg("+nightly").args(arguments).env("RUSTFLAGS", flags).current_dir(workspace);
    // Set for the toolchain that runs us.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    command.status().is_ok_and(|status| status.success())
}
