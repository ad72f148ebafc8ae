//! Programs that are not Rust's: looked for, and installed where that is allowed.

use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Held while packages are installed: another thread that misses the same ones waits and finds
/// them.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Something that has to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// A program on the path, or a file.
    pub what: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

/// What QEMU needs.
pub const QEMU: &[Need] =
    &[need("qemu-system-x86_64", "qemu-system-x86"), need("setpriv", "util-linux")];
/// What Bochs needs.
pub const BOCHS: &[Need] = &[
    need("bochs", "bochs"),
    need("/usr/share/bochs/BIOS-bochs-latest", "bochsbios"),
    need("/usr/share/bochs/VGABIOS-lgpl-latest", "vgabios"),
    need("/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so", "bochs-term"),
    need("setsid", "util-linux"),
    need("setpriv", "util-linux"),
];
/// Packages for tests of the console on a terminal.
pub const TMUX: &[Need] = &[need("tmux", "tmux")];
/// Packages for tests of networks with a TAP.
pub const IPROUTE: &[Need] = &[need("ip", "iproute2")];
/// Packages for tests of captures.
pub const TSHARK: &[Need] = &[need("tshark", "tshark")];
/// Packages for tests of debuggers.
pub const GDB: &[Need] = &[need("gdb", "gdb")];
/// What making an ISO needs.
pub const GRUB: &[Need] = &[
    need("grub-mkrescue", "grub-common"),
    need("/usr/lib/grub/i386-pc/multiboot.mod", "grub-pc-bin"),
    need("xorriso", "xorriso"),
    need("mformat", "mtools"),
];

const fn need(what: &'static str, package: &'static str) -> Need {
    Need { what, package }
}

/// Sees to it that all of `needs` is there: looks, and on Debian installs as root.
///
/// # Errors
/// Something is missing; the message names the packages.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root && is_there("apt-get") {
        eprintln!("installing {}", missing.join(" "));
        // The list of packages may be there and good, or not.
        if !apt_get(&["install"], &missing) && update() {
            apt_get(&["install"], &missing);
        }
        missing = self::missing(needs);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    bail!("not installed: {packages}; on Debian: apt-get install {packages}")
}

/// Fetches new lists of packages; whether that went well.
pub(crate) fn update() -> bool {
    apt_get(&["update"], &[])
}

/// The packages of what is not there, each once.
fn missing(needs: &[Need]) -> Vec<&'static str> {
    let missing = needs.iter().filter(|need| !is_there(need.what));
    let mut packages: Vec<_> = missing.map(|need| need.package).collect();
    packages.dedup();
    packages
}

fn is_there(what: &str) -> bool {
    if what.starts_with('/') {
        return Path::new(what).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(what).is_file())
}

fn apt_get(command: &[&str], packages: &[&str]) -> bool {
    let mut apt_get = Command::new("apt-get");
    // Another process may be installing, too.
    apt_get.args(["-o", "DPkg::Lock::Timeout=600", "-y", "-q", "--no-install-recommends"]);
    apt_get.args(command).args(packages);
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    apt_get.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missing() {
        assert!(missing(&[need("sh", "dash"), need("/", "base-files")]).is_empty());
    }

    #[test]
    fn what_is_not_there_is_named_by_its_package() {
        assert_eq!(
            missing(&[need("no-such-program", "a"), need("/no/such/file", "b")]),
            ["a", "b"]
        );
    }
}
