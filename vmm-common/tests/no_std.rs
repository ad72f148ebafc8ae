//! `devices` and `vmm-common` need no standard library: a crate that cannot be compiled together
//! with it uses both.
//!
//! `#![no_std]` in a crate says nothing of what it depends on, and a test program has std anyway.
//! So the proof is a crate apart, with the versions that the workspace's lock file names.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROOF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/no_std_proof");
const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
/// What rustc calls the panic handler that exists twice.
const DUPLICATE: &str = "panic_impl";

/// Checks the proof, with `dependency` added, in a folder of its own.
fn check(name: &str, dependency: &str) -> Output {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.join("src")).expect("the folder for tests can be written");
    let read = |file: &str| {
        let path = Path::new(PROOF).join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    // The two share what they depend on, not their own results.
    let manifest = read("Cargo.toml")
        .replace("name = \"no-std-proof\"", &format!("name = \"{name}\""))
        .replace("\"../../../devices\"", &format!("{:?}", format!("{root}/devices")))
        .replace("\"../..\"", &format!("{:?}", env!("CARGO_MANIFEST_DIR")));
    let write = |file: &str, text: &str| {
        fs::write(folder.join(file), text).expect("the folder for tests can be written");
    };
    write("Cargo.toml", &manifest);
    write("src/main.rs", &format!("{}{dependency}", read("src/main.rs")));
    // Cargo drops what the proof does not need and keeps the versions of the rest.
    fs::copy(LOCK, folder.join("Cargo.lock")).expect("the workspace has a lock file");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["check", "--quiet"]).args(arguments).current_dir(&folder);
        command.env("CARGO_TARGET_DIR", folder.with_file_name("no_std_target"));
        // What the test itself was built with is not the proof's business.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        command.output().expect("cargo runs")
    };
    // All packages are there, since the workspace was built; unless they were cleaned away since.
    let offline = run(&["--offline"]);
    let is_missing = String::from_utf8_lossy(&offline.stderr).contains("--offline");
    if is_missing { run(&[]) } else { offline }
}

#[test]
fn the_shared_crates_compile_where_there_is_no_standard_library() {
    let output = check("no_std_proof", "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "std crept in, or the proof is out of date:\n{errors}");
}

#[test]
fn the_proof_fails_once_the_standard_library_is_in_the_tree() {
    let output = check("no_std_disproof", "\nextern crate std;\n");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains(DUPLICATE), "{errors}");
}
