//! Where a fuzzer starts, and what is replayed without one: for each loader the valid samples and
//! the bad images beside it.

use super::case::Case;
use super::samples;
use std::fs;
use std::path::{Path, PathBuf};
use vmm_common::plan::BootKind;

/// A loader's folder of bad images, and how its images are placed.
pub const LOADERS: [(&str, BootKind); 5] = [
    ("multiboot", BootKind::Multiboot),
    ("elf", BootKind::Auto),
    ("pvh", BootKind::Pvh),
    ("linux", BootKind::Linux),
    ("flat", BootKind::Flat),
];

/// The folder of a loader's bad images.
pub fn folder(loader: &str) -> PathBuf {
    Path::new(ROOT).join(loader)
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vmm-common/tests/bad_images");

/// The files of a loader's bad images, in order.
pub fn bad_images(loader: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(loader)).expect("the images are in the repository");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths
}

/// A bad image and the error it expects.
pub fn read(path: &Path) -> (Case, String) {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Case::parse(&text).unwrap_or_else(|why| panic!("{}, {why}", path.display()))
}

/// Images that a loader places.
pub fn valid(loader: &str) -> Vec<Case> {
    let images = match loader {
        "multiboot" => vec![
            samples::multiboot_by_addresses(),
            samples::multiboot_elf(false),
            samples::multiboot_elf(true),
        ],
        "elf" => vec![samples::multiboot_elf(true), samples::pvh(false), samples::vmlinux()],
        "pvh" => vec![samples::pvh(false), samples::pvh(true)],
        "linux" => vec![samples::bzimage(), samples::vmlinux()],
        _ => vec![vec![0xf4; 100]],
    };
    let (_, kind) = LOADERS.into_iter().find(|(name, _)| *name == loader).expect("a loader");
    let mut cases: Vec<Case> = images.into_iter().map(|image| Case::of(kind, image)).collect();
    if loader != "flat" {
        let last = cases.last().expect("every loader has some").clone();
        let modules = vec![(vec![1; 0x1001], String::from("of a module"))];
        cases.push(Case { modules, cmdline: String::from("quiet"), ..last });
    }
    cases
}
