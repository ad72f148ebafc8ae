//! The archives that a kernel starts with: busybox, an `/init`, and what that wants.

use super::archive::Archive;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// The first process.
const INIT: &str = include_str!("../../linux/init");
/// Commands in `/jobs`, and what they share.
const JOBS: &[(&str, &str)] = &[
    ("busy", include_str!("../../linux/busy")),
    ("chip", include_str!("../../linux/chip")),
    ("clocks", include_str!("../../linux/clocks")),
    ("exchange", include_str!("../../linux/exchange")),
    ("link", include_str!("../../linux/link")),
    ("modem", include_str!("../../linux/modem")),
    ("shell", include_str!("../../linux/shell")),
    ("steal", include_str!("../../linux/steal")),
    ("network", include_str!("../../linux/network")),
    ("virtio", include_str!("../../linux/virtio")),
];
/// `/jobs/exchange` under other names.
const EXCHANGES: &[&str] = &["receive", "send"];

/// The initramfs with the jobs, and with `modules` in the order in which they can be inserted.
///
/// # Errors
/// A module cannot be read.
pub fn with_jobs(busybox: &[u8], modules: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = with_init(busybox, INIT);
    archive.folder("jobs");
    for (name, script) in JOBS {
        archive.program(&format!("jobs/{name}"), script.as_bytes());
    }
    for name in EXCHANGES {
        archive.link(&format!("jobs/{name}"), "exchange");
    }
    archive.folder("modules");
    for (number, path) in modules.iter().enumerate() {
        let module = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        archive.program(&format!("modules/{number:02}-{name}"), &module);
    }
    Ok(archive.finish())
}

/// An archive that starts with the script `init`, to which more can be added.
pub fn with_init(busybox: &[u8], init: &str) -> Archive {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.folder(folder);
    }
    // Before anything is mounted, /init wants to be seen.
    archive.device("dev/console", 5, 1);
    archive.program("bin/busybox", busybox);
    archive.link("bin/sh", "busybox");
    archive.program("init", init.as_bytes());
    archive
}
