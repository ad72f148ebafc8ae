//! Builds every image into OUT_DIR and writes the list that `src/lib.rs` includes. rustc is called
//! directly: the images have no dependencies, and so neither cargo's lock nor its environment
//! (flags, wrappers, target directory) of the outer build matters.

mod compile;
mod elf;
mod images;
mod ring0;

use compile::{Job, Ring, compile};
use images::{IMAGES, Kind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

/// The environment variable by which the kernel's source finds the programs.
const PROGRAMS_VARIABLE: &str = "GUEST_OS_PROGRAMS";
const PAGE_BYTES: usize = 4096;

fn main() {
    for directory in ["build", "common", "link", "nimble", "os", "single"] {
        println!("cargo::rerun-if-changed={directory}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    if let Err(message) = build(&out) {
        eprintln!("{message}");
        std::process::exit(1);
    }
}

fn build(out: &Path) -> Result<(), String> {
    let programs = build_programs(out)?;
    // The kernel as a target of this package, for clippy, includes them too.
    println!("cargo::rustc-env={PROGRAMS_VARIABLE}={}", programs.display());
    build_images(out, &programs)?;
    write_list(out)
}

fn build_programs(out: &Path) -> Result<PathBuf, String> {
    let job = Job {
        name: "programs",
        source: "os/programs/main.rs",
        script: "programs.ld",
        ring: Ring::Three,
        environment: Vec::new(),
    };
    let mut bytes = compile(&job, out)?;
    bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0); // mapped in whole pages
    let path = out.join("programs.bin");
    write(&path, &bytes)?;
    Ok(path)
}

/// Compiles as many images at a time as cargo allows.
fn build_images(out: &Path, programs: &Path) -> Result<(), String> {
    let workers = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1);
    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(String::new()));
    thread::scope(|scope| {
        for _ in 0..workers.min(IMAGES.len()) {
            scope.spawn(|| {
                while let Some(image) = IMAGES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let job = Job {
                        name: image.name,
                        source: image.source,
                        script: match image.kind {
                            Kind::Multiboot => "image.ld",
                            Kind::Flat => "flat.ld",
                            Kind::Both => "nimble.ld",
                        },
                        ring: Ring::Zero,
                        environment: vec![(PROGRAMS_VARIABLE, programs.to_path_buf())],
                    };
                    let built = compile(&job, out)
                        .and_then(|bytes| write(&out.join(format!("{}.bin", image.name)), &bytes));
                    if let Err(message) = built {
                        *complaints.lock().expect("no worker panics") += &message;
                    }
                }
            });
        }
    });
    let complaints = complaints.into_inner().expect("no worker panics");
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

fn write_list(out: &Path) -> Result<(), String> {
    let mut list = String::from("&[\n");
    for image in IMAGES {
        list += &format!(
            "    Image {{ name: {:?}, summary: {:?}, bytes: include_bytes!(concat!(\
             env!(\"OUT_DIR\"), \"/{}.bin\")) }},\n",
            image.name, image.summary, image.name
        );
    }
    write(&out.join("images.rs"), (list + "]\n").as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
