//! Debian's kernel for clouds and a small user space of busybox, in `target/linux/`.
//!
//! ```text
//! linux-image-cloud-amd64 --debian--> vmlinuz, modules/  -.
//! busybox-static ---------debian--> busybox              -+-> Linux
//! xtask/linux/: init, jobs --initramfs, archive--> initramfs.cpio
//! ```
//!
//! A whole Debian on a disk is made apart (`root_disk`), in `target/linux/debian/`.
//!
//! As a guest of ours it does its jobs; without us it does them in QEMU (`plain`); and as a host it
//! runs vmm-kvm on its own KVM (`nested`).
//!
//! Nothing of it is ours to keep, so nothing is committed: the packages are fetched once, checked
//! against their archive's index, and noted in the stamp. The initramfs is made anew whenever what
//! goes into it has changed.

use crate::scratch::Scratch;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

mod archive;
mod debian;
mod initramfs;
mod modules;
pub mod nested;
pub mod plain;
pub mod root_disk;
mod stamp;

pub use archive::Archive;
pub use debian::Package;
pub use initramfs::with_init;

/// What stands for the newest kernel of this kind.
const KERNEL_META_PACKAGE: &str = "linux-image-cloud-amd64";
const BUSYBOX_PACKAGE: &str = "busybox-static";
/// The modules that a host of ours is given, with all that they need.
const HOST_MODULES: &[&str] = &["kvm-amd"];
/// Those that a guest of ours is given.
const GUEST_MODULES: &[&str] =
    &["virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng"];

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Linux {
    /// A bzImage.
    pub kernel: PathBuf,
    /// An uncompressed cpio archive with `/init` and the jobs.
    pub initramfs: PathBuf,
    /// Linked statically.
    pub busybox: PathBuf,
    /// KVM for AMD's processors, in the order in which they can be inserted.
    pub modules: Vec<PathBuf>,
    /// Drivers of virtio devices, in such an order.
    pub guest_modules: Vec<PathBuf>,
    /// Where kernel and busybox are from; none if they were put there by hand.
    pub packages: Vec<Package>,
}

/// Where everything goes, whatever Cargo's target directory is: configs name it.
#[must_use]
pub fn folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.expect("a member lies in the workspace").join("target/linux")
}

/// Sees to it that everything is there: looks, and on Debian fetches what is not.
///
/// Another process that does the same at the same time waits, and then finds it.
///
/// # Errors
/// Something cannot be had; the message says what to put where by hand.
pub fn ensure() -> Result<Linux> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("cannot make a lock file")?;
    // Until the file is closed.
    lock.lock().context("cannot lock a file")?;
    let linux = match found(&folder) {
        Some(linux) => linux,
        None => {
            debian::with_lists(|| fetch(&folder)).with_context(|| by_hand(&folder))?;
            found(&folder).expect("all of it was put there just now")
        }
    };
    let busybox = fs::read(&linux.busybox).context("cannot read busybox")?;
    let initramfs = initramfs::with_jobs(&busybox, &linux.guest_modules)?;
    if fs::read(&linux.initramfs).ok().as_ref() != Some(&initramfs) {
        put(&linux.initramfs, |new| fs::write(new, &initramfs))?;
    }
    Ok(linux)
}

/// What is there, if all is. Files are put there whole, one by one.
fn found(folder: &Path) -> Option<Linux> {
    let modules = modules::with_needs(&folder.join("modules"), HOST_MODULES).ok()?;
    let guest_modules = modules::with_needs(&folder.join("modules"), GUEST_MODULES).ok()?;
    let [kernel, busybox] = ["vmlinuz", "busybox"].map(|name| folder.join(name));
    if !kernel.is_file() || !busybox.is_file() {
        return None;
    }
    let packages = stamp::read(&folder.join("stamp"))?;
    let initramfs = folder.join("initramfs.cpio");
    Some(Linux { kernel, busybox, modules, guest_modules, packages, initramfs })
}

fn fetch(folder: &Path) -> Result<()> {
    let kernel = Package::find(&debian::behind(KERNEL_META_PACKAGE)?)?;
    let busybox = Package::find(BUSYBOX_PACKAGE)?;
    let scratch = Scratch::new()?;
    for package in [&kernel, &busybox] {
        eprintln!("fetching {package}");
        package.fetch(scratch.path())?;
    }
    let release = kernel.name.strip_prefix("linux-image-").unwrap_or(&kernel.name);
    let unpacked = |name: &str| scratch.path().join(name);
    let tree = unpacked("lib/modules").join(release);
    fs::create_dir_all(folder.join("modules")).context("cannot make a folder")?;
    for module in modules::with_needs(&tree, &[HOST_MODULES, GUEST_MODULES].concat())? {
        let name = module.file_name().expect("a module has a name");
        put(&folder.join("modules").join(name), |new| fs::copy(&module, new))?;
    }
    let image = unpacked("boot").join(format!("vmlinuz-{release}"));
    put(&folder.join("vmlinuz"), |new| fs::copy(&image, new))?;
    put(&folder.join("busybox"), |new| fs::copy(unpacked("bin/busybox"), new))?;
    // Last: with it, all is there.
    let stamp = stamp::text(&[kernel, busybox]);
    put(&folder.join("stamp"), |new| fs::write(new, &stamp))
}

/// Makes a file whole or not at all.
fn put<T>(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<T>) -> Result<()> {
    let new = path.with_extension("new");
    let moved = write(&new).and_then(|_| fs::rename(&new, path));
    moved.with_context(|| format!("cannot write {}", path.display()))
}

fn by_hand(folder: &Path) -> String {
    format!(
        "Debian's kernel cannot be fetched. By hand: into {} put `vmlinuz`, a kernel for x86-64 \
        with \
         serial console and initramfs; `busybox`, linked statically; in `modules/`, `kvm-amd.ko` \
         of that kernel and what it needs; and an empty file `stamp`",
        folder.display()
    )
}
