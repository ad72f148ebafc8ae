//! vmm-kvm on Debian's kernel: hardware's KVM rather than the host's, emulated hardware's at that.
//!
//! The config and the files that it names go into the initramfs under the paths they have here, so
//! that they are found by the same words.

use super::{Archive, Linux, ensure, with_init};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use vmm_common::plan::{BootPlan, ImageSource, Plan};

/// The first process.
const INIT: &str = include_str!("../../linux/nested");
/// What Linux takes for itself, and vmm-kvm beside the VMs' memory, MiB.
const OWN_MEMORY_MIB: u64 = 160;
const MIB: u64 = 1 << 20;

/// What a machine boots to run a config.
#[derive(Clone, Debug)]
pub struct Nested {
    /// Debian's.
    pub kernel: PathBuf,
    /// What it starts with.
    pub initramfs: Vec<u8>,
    /// The memory that it takes, MiB.
    pub memory_mib: u64,
}

impl Nested {
    /// What runs the config that was loaded from `config` as `plan`, by the program `vmm_kvm`,
    /// which is linked statically.
    ///
    /// # Errors
    /// Debian's kernel cannot be had, or a file cannot be read.
    pub fn new(vmm_kvm: &Path, config: &Path, plan: &Plan) -> Result<Self> {
        let linux = ensure()?;
        let initramfs = initramfs(&linux, vmm_kvm, config, plan)?;
        let vms: u64 = plan.vms.iter().map(|vm| vm.memory_bytes).sum();
        // While it is unpacked it is there twice, and vmm-kvm reads the files in it.
        let files = 3 * (initramfs.len() as u64).div_ceil(MIB);
        let memory_mib = vms.div_ceil(MIB) + files + OWN_MEMORY_MIB;
        Ok(Self { kernel: linux.kernel, initramfs, memory_mib })
    }
}

fn initramfs(linux: &Linux, vmm_kvm: &Path, config: &Path, plan: &Plan) -> Result<Vec<u8>> {
    let mut archive = with_init(&read(&linux.busybox)?, INIT);
    archive.device("dev/null", 1, 3);
    archive.device("dev/ttyS0", 4, 64);
    archive.device("dev/kvm", 10, 232);
    archive.program("bin/vmm-kvm", &read(vmm_kvm)?);
    archive.folder("modules");
    let mut order = String::new();
    for module in &linux.modules {
        let name = module.file_name().context("a module has no name")?.to_string_lossy();
        archive.file(&format!("modules/{name}"), &read(module)?);
        order += &format!("{name}\n");
    }
    archive.file("modules/order", order.as_bytes());
    archive.file("config", plain(config)?.to_string_lossy().as_bytes());
    for path in named(config, plan) {
        add(&mut archive, path)?;
    }
    Ok(archive.finish())
}

/// The config and the files that it names, each once.
fn named<'a>(config: &'a Path, plan: &'a Plan) -> BTreeSet<&'a Path> {
    let files = plan.vms.iter().flat_map(|vm| files(&vm.boot)).map(Path::new);
    let disks = plan.vms.iter().flat_map(|vm| &vm.virtio.disks).map(|disk| Path::new(&disk.file));
    files.chain(disks).chain([config]).collect()
}

/// The files that boot a VM.
fn files(boot: &BootPlan) -> impl Iterator<Item = &str> {
    let sources = [Some(&boot.kernel), boot.bios.as_ref()].into_iter().flatten();
    let sources = sources.chain(boot.modules.iter().map(|module| &module.source));
    sources.filter_map(|source| match source {
        ImageSource::File(path) => Some(path.as_str()),
        ImageSource::Builtin(_) => None,
    })
}

fn add(archive: &mut Archive, path: &Path) -> Result<()> {
    let place = plain(path)?;
    let name = |path: &Path| path.to_string_lossy().trim_start_matches('/').to_owned();
    let folders: Vec<_> = place.ancestors().skip(1).map(name).collect();
    // The kernel does not mind a folder that is there already.
    for folder in folders.iter().rev().filter(|folder| !folder.is_empty()) {
        archive.folder(folder);
    }
    archive.file(&name(&place), &read(path)?);
    Ok(())
}

/// The path from the root, without `..`: in the archive there are no links that could lead
/// elsewhere.
fn plain(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).context("there is no current folder")?;
    let mut plain = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    Ok(plain)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_plain_from_the_root() {
        let plain = |path: &str| plain(Path::new(path)).expect("there is a current folder");
        assert_eq!(plain("/a/./b/../c/../../d"), Path::new("/d"));
        assert_eq!(plain("/../a"), Path::new("/a"));
        assert!(plain("a").is_absolute());
    }

    #[test]
    fn a_file_that_boots_several_vms_is_added_once() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/two.yml"));
        let loaded = crate::load::config(path, 2048).expect("it is right");
        let mut plan = loaded.plan;
        assert_eq!(named(path, &plan).len(), 1, "built-in guests are no files");
        for vm in &mut plan.vms {
            vm.boot.kernel = ImageSource::File("k.bin".into());
        }
        plan.vms[0].boot.bios = Some(ImageSource::File("b.bin".into()));
        let names = ["b.bin", "k.bin"].map(Path::new);
        assert!(named(path, &plan).into_iter().filter(|file| *file != path).eq(names));
    }
}
