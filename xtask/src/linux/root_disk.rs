//! A Debian on a disk, made by Debian's own tools: `mmdebstrap` fills a folder from the mirror that
//! apt here is configured for, and `mkfs.ext4` makes an image of it. Its kernel is the one for
//! clouds, its initramfs the one that the distribution makes, with virtio's drivers by
//! `/etc/initramfs-tools/modules`.
//!
//! What an initramfs has loaded needs no copy on the disk, and documents need none at all: they are
//! left out, as a bare machine holds the disk in memory.

use super::{folder, put};
use crate::packages::{self, Need};
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What making it needs.
const NEEDS: &[Need] = &[
    Need { what: "mmdebstrap", package: "mmdebstrap" },
    Need { what: "mkfs.ext4", package: "e2fsprogs" },
];
/// Besides what is essential.
const PACKAGES: &str =
    "--include=systemd-sysv,udev,login,initramfs-tools,zstd,linux-image-cloud-amd64";
/// Where apt's mirror is not found out.
const MIRROR: &str = "http://deb.debian.org/debian";
/// The image's size, which leaves some room: MiB.
const SIZE: &str = "320M";
/// Of the folder `$1`: the initramfs gets virtio's drivers; root has no password.
const CUSTOMIZE: &str = r#"
    printf 'virtio_mmio\nvirtio_blk\n' >>"$1/etc/initramfs-tools/modules"
    chroot "$1" update-initramfs -u
    chroot "$1" passwd -d root
    echo tandem >"$1/etc/hostname"
    echo '/dev/vda / ext4 defaults 0 1' >"$1/etc/fstab"
"#;
/// In the folder: what the disk does without, once kernel and initramfs are elsewhere.
const LEFT_OUT: &str = r#"
    rm -rf boot/* usr/share/doc usr/share/man usr/share/info usr/share/locale
    rm -rf usr/lib/modules/*/kernel/net usr/lib/modules/*/kernel/drivers/net
    rm -rf var/cache/apt/* var/lib/apt/lists/*
"#;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct RootDisk {
    /// A bzImage.
    pub kernel: PathBuf,
    /// The initramfs of the distribution.
    pub initrd: PathBuf,
    /// A raw image with an ext4 file system, not to be written: a copy is.
    pub image: PathBuf,
}

/// Sees to it that it is there: looks, and on Debian, as root, makes it.
///
/// # Errors
/// It cannot be made.
pub fn ensure() -> Result<RootDisk> {
    let folder = folder().join("debian");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("cannot make a lock file")?;
    // Until the file is closed.
    lock.lock().context("cannot lock a file")?;
    let [kernel, initrd, image] =
        ["vmlinuz", "initrd.img", "root.img"].map(|name| folder.join(name));
    let disk = RootDisk { kernel, initrd, image };
    // The image comes last: with it, all is there.
    if !disk.image.is_file() {
        make(&disk).context("cannot make a disk with Debian")?;
    }
    Ok(disk)
}

fn make(disk: &RootDisk) -> Result<()> {
    packages::ensure(NEEDS)?;
    if !rustix::process::geteuid().is_root() {
        bail!("its files belong to root, and this is another user; run it as root");
    }
    let scratch = Scratch::new()?;
    let root = scratch.path().join("root");
    eprintln!("making a disk with Debian, which takes some minutes");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", PACKAGES]);
    mmdebstrap.arg(format!("--customize-hook={CUSTOMIZE}"));
    succeeds(mmdebstrap.arg(suite()?).arg(&root).arg(mirror()))?;
    for (name, file) in [("vmlinuz", &disk.kernel), ("initrd.img", &disk.initrd)] {
        // Links to those of the version that is installed.
        put(file, |new| fs::copy(root.join(name), new))?;
    }
    succeeds(Command::new("sh").args(["-e", "-c", LEFT_OUT]).current_dir(&root))?;
    let image = scratch.path().join("root.img");
    let mut format = Command::new("mkfs.ext4");
    succeeds(format.args(["-q", "-d"]).arg(&root).arg(&image).arg(SIZE))?;
    put(&disk.image, |new| fs::copy(&image, new).map(|_| ()))
}

/// What this Debian is called.
fn suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(str::to_owned).context("/etc/os-release has no VERSION_CODENAME")
}

/// Where apt gets Debian's packages from.
fn mirror() -> String {
    const LISTS: [&str; 2] = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let found = LISTS.iter().find_map(|list| first_mirror(&fs::read_to_string(list).ok()?));
    found.unwrap_or_else(|| MIRROR.to_owned())
}

/// The first address of a list of either format.
fn first_mirror(list: &str) -> Option<String> {
    let lines = list.lines().map(str::trim);
    let mut lines = lines.filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let is_address = |word: &&str| word.contains("://");
    lines.find_map(|line| line.split_whitespace().find(is_address)).map(str::to_owned)
}

/// Runs it; its messages only if it fails.
fn succeeds(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_found_in_lists_of_either_format() {
        let check = |list: &str, mirror: Option<&str>| {
            assert_eq!(first_mirror(list).as_deref(), mirror, "{list}");
        };
        check(
            "# http://x\nTypes: deb\nURIs: http://a/debian\nSuites: b\n",
            Some("http://a/debian"),
        );
        check("deb [signed-by=/k] https://b/debian bookworm main\n", Some("https://b/debian"));
        check("deb-src http://c/debian bookworm main\n", None);
    }
}
