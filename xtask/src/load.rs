//! From a config to what the bare-metal hypervisor is handed: the packed plan.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use vmm_common::pack::pack;
use vmm_common::plan::{DiskPlan, Limits, MIN_SLICE_NS, NetworkPlan, Plan, VmPlan, Writes};
use vmm_config::{Environment, Faults, Loaded, LoadedImage};

/// What the hypervisor itself may take of the emulated machine's memory.
const OWN_MEMORY_MIB: u64 = 64;
/// Boot loaders and BIOSes are at home in this.
const MIN_MEMORY_MIB: u64 = 128;
/// An emulated PC with this much has all of it below its hole for devices; with more, what lies at
/// 4 GiB may be only what is more than that.
const LOW_MEMORY_MIB: u64 = 2048;
const BELOW_4_GIB_MIB: u64 = 4096;
const MIB: u64 = 1 << 20;

/// A config that is ready to boot.
#[derive(Debug)]
pub struct Load {
    /// The plan.
    pub plan: Plan,
    /// The plan and its images, packed.
    pub pack: Vec<u8>,
}

impl Load {
    /// Memory of a machine that this fits into, MiB.
    #[must_use]
    pub fn machine_memory_mib(&self) -> u64 {
        let vms: u64 = self.plan.vms.iter().map(|vm| vm.memory_bytes).sum();
        let own = OWN_MEMORY_MIB + (self.pack.len() as u64).div_ceil(MIB);
        // What the pack holds of disks is copied once more.
        let disks = self.plan.vms.iter().flat_map(|vm| &vm.virtio.disks);
        let disks: u64 = disks.map(|disk| disk.bytes).sum();
        let all = ((vms + disks).div_ceil(MIB) + own).max(MIN_MEMORY_MIB);
        // The RAM of a VM lies in one piece, and a PC's does not: what is low may not take any.
        if all > LOW_MEMORY_MIB { all + BELOW_4_GIB_MIB } else { all }
    }

    /// A note for each file that the config has written, as only the KVM target has files.
    pub fn unwritten_files(&self) -> Vec<String> {
        let tapped = self.plan.links.iter().filter(|link| link.tap.is_some());
        let taps =
            tapped.map(|link| format!("link {}: its tap is written over KVM alone", link.name));
        let captured = self.plan.networks.iter().filter(|network| network.pcap.is_some());
        let captures = captured.map(|network| {
            format!("network {}: its capture is written over KVM alone", network.name)
        });
        let written = |vm: &VmPlan| {
            let disks = vm.virtio.disks.iter().enumerate();
            let note = |(number, disk): (usize, &DiskPlan)| {
                let file = match &disk.writes {
                    Writes::Keep => &disk.file,
                    Writes::To(file) => file,
                    Writes::Discard | Writes::Refuse => return None,
                };
                Some(format!(
                    "VM {}: what it writes to disk{number} stays in RAM and is dropped at the end; \
                    {file} is written over KVM alone",
                    vm.name
                ))
            };
            disks.filter_map(note).collect::<Vec<_>>()
        };
        taps.chain(captures).chain(self.plan.vms.iter().flat_map(written)).collect()
    }

    /// A message for each network that bare metal cannot have.
    pub fn refused_networks(&self) -> Vec<String> {
        let message = |network: &NetworkPlan| {
            let (name, tap) = (&network.name, network.tap.as_ref()?);
            Some(format!(
                "network {name}: tap {tap} is an interface of a Linux host, and the bare-metal \
                target has none; allowed: no tap, or the KVM target (vmm-kvm)"
            ))
        };
        self.plan.networks.iter().filter_map(message).collect()
    }
}

/// Loads a config for a machine of one core with up to `max_memory_mib`.
///
/// # Errors
/// All that is wrong with the config.
pub fn config(path: &Path, max_memory_mib: u64) -> Result<Loaded, Faults> {
    let host_memory_bytes = max_memory_mib.saturating_sub(OWN_MEMORY_MIB).saturating_mul(MIB);
    let limits = Limits { host_memory_bytes, min_slice_ns: MIN_SLICE_NS, cores: vec![0] };
    let builtin: Vec<_> = guests::IMAGES.iter().map(|image| (image.name, image.bytes)).collect();
    vmm_config::load(path, &Environment { limits, builtin: &builtin })
}

/// Packs a config that was loaded.
///
/// # Errors
/// The file of a disk cannot be read.
pub fn packed(loaded: Loaded) -> Result<Load> {
    let Loaded { plan, images } = loaded;
    let images: Vec<_> = images.iter().map(LoadedImage::files).collect();
    let read = |disk: &DiskPlan| {
        fs::read(&disk.file).with_context(|| format!("cannot read {}", disk.file))
    };
    let of_vm = |vm: &VmPlan| vm.virtio.disks.iter().map(read).collect::<Result<Vec<_>>>();
    let disks = plan.vms.iter().map(of_vm).collect::<Result<Vec<_>>>()?;
    let disks: Vec<Vec<&[u8]>> =
        disks.iter().map(|disks| disks.iter().map(|disk| &**disk).collect()).collect();
    let pack = pack(&plan, &images, &disks);
    Ok(Load { plan, pack })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use vmm_common::pack::unpack;

    fn load(name: &str) -> Load {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs")).join(name);
        packed(config(&path, 2048).expect("it is right")).expect("no disks")
    }

    #[test]
    fn a_config_is_packed_with_its_guests() {
        let load = load("two.yml");
        let packed = unpack(&load.pack).expect("it was just packed");
        assert_eq!(packed.plan, load.plan);
        let os = guests::find("os").expect("it is built in").bytes;
        assert!(packed.images.iter().all(|image| image.kernel == os));
        assert!(load.pack.len() < 2 * os.len(), "the same image lies there twice");
    }

    #[test]
    fn what_bare_metal_does_not_write_and_does_not_have_is_said() {
        let mut load = load("link.yml");
        assert_eq!((load.unwritten_files(), load.refused_networks()), (vec![], vec![]));
        let network = |name: &str| NetworkPlan { name: name.into(), tap: None, pcap: None };
        load.plan.networks = vec![network("lan"), network("out")];
        load.plan.networks[0].pcap = Some("seen.pcap".into());
        load.plan.networks[1].tap = Some("tandem0".into());
        load.plan.links[0].tap = Some("wire.log".into());
        let disk = |writes| DiskPlan { file: "image".into(), bytes: 512, writes };
        let writes = [Writes::Keep, Writes::Discard, Writes::Refuse, Writes::To("beside".into())];
        load.plan.vms[1].virtio.disks = writes.map(disk).into();
        let (link, vm) = (&load.plan.links[0].name, &load.plan.vms[1].name);
        let drops = "stays in RAM and is dropped at the end;";
        let expected = [
            format!("link {link}: its tap is written over KVM alone"),
            "network lan: its capture is written over KVM alone".into(),
            format!("VM {vm}: what it writes to disk0 {drops} image is written over KVM alone"),
            format!("VM {vm}: what it writes to disk3 {drops} beside is written over KVM alone"),
        ];
        assert_eq!(load.unwritten_files(), expected);
        let refused = "network out: tap tandem0 is an interface of a Linux host, and the \
                       bare-metal target has none; allowed: no tap, or the KVM target (vmm-kvm)";
        assert_eq!(load.refused_networks(), [refused]);
    }

    #[test]
    fn the_machine_has_memory_for_the_vms_and_the_hypervisor() {
        let load = load("many.yml");
        let vms: u64 = load.plan.vms.iter().map(|vm| vm.memory_bytes).sum();
        assert!(load.machine_memory_mib() * MIB >= vms + 64 * MIB);
    }
}
