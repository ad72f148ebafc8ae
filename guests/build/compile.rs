//! Compiles one image: rustc for the host's target without its libraries, our linker script, the
//! check of ring-0 code, and the ELF file cut down to the bytes that belong in memory.

use crate::elf::Elf;
use crate::ring0::{CodeRange, refusals};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// In which ring an image's code runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Ring 0, except for the section `.ring3`.
    Zero,
    /// Ring 3 only.
    Three,
}

/// What to compile.
pub struct Job<'a> {
    pub name: &'a str,
    /// The crate's main file, relative to the package.
    pub source: &'a str,
    /// The linker script's file name in `link/`.
    pub script: &'a str,
    pub ring: Ring,
    /// Environment variables for the source's `env!`.
    pub environment: Vec<(&'a str, PathBuf)>,
}

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Flags of every image. Linked by the toolchain's own linker, since a compiler driver would add
/// start files and libraries. LTO drops what of `core` is not called.
const FLAGS: &[&str] = &[
    "--edition=2024",
    "--crate-type=bin",
    "-Cpanic=abort",
    "-Copt-level=2",
    "-Clto=fat",
    "-Ccodegen-units=1",
    "-Cstrip=debuginfo",
    "-Crelocation-model=static",
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
];

/// Flags of ring-0 code: no vector registers, which its interpreter does not know (and which hold
/// ring 3's values); no red zone, because interrupts use the same stack.
const RING_0_FLAGS: &[&str] = &["-Ctarget-feature=-sse,-sse2", "-Cno-redzone=yes"];

/// Compiles, checks and flattens; gives the image's bytes, or what to tell the user.
pub fn compile(job: &Job<'_>, out: &Path) -> Result<Vec<u8>, String> {
    let linked = out.join(format!("{}.elf", job.name));
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .current_dir(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .args(["--crate-name", job.name, job.source, "--target", TARGET, "--color=never"])
        .args(FLAGS)
        .arg(format!("-Clink-arg=-Tlink/{}", job.script))
        .arg("-o")
        .arg(&linked);
    if job.ring == Ring::Zero {
        rustc.args(RING_0_FLAGS);
    }
    rustc.envs(job.environment.iter().map(|(name, value)| (name, value)));
    let output = rustc.output().map_err(|error| format!("{rustc:?} did not start: {error}"))?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        return Err(format!("guest image {} did not compile:\n{messages}", job.name));
    }
    let file = fs::read(&linked).map_err(|error| format!("{}: {error}", linked.display()))?;
    let elf = Elf::new(&file);
    match job.ring {
        Ring::Zero => check_ring_0(job.name, &elf)?,
        Ring::Three => {}
    }
    Ok(elf.flat())
}

fn check_ring_0(name: &str, elf: &Elf<'_>) -> Result<(), String> {
    let mut complaint = String::new();
    for section in elf.code().iter().filter(|section| section.name != ".ring3") {
        let bits = if section.name == ".text32" { 32 } else { 64 };
        let code = CodeRange { address: section.address, bytes: section.bytes, bits };
        for refusal in refusals(&code) {
            let place = match elf.symbol_before(refusal.address) {
                Some((symbol, distance)) => format!("{symbol}+{distance:#x}"),
                None => section.name.to_string(),
            };
            complaint += &format!(
                "    {:#x} {place}: {} {:02x?}\n",
                refusal.address, refusal.instruction, refusal.bytes
            );
        }
    }
    if complaint.is_empty() {
        return Ok(());
    }
    Err(format!(
        "guest image {name} has ring-0 instructions that an interpreting KVM cannot run \
         (build/ring0.rs):\n{complaint}"
    ))
}
