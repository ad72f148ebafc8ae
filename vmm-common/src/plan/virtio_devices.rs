//! What of a plan becomes virtio devices.

use super::ConsolePlan;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most disks of a VM.
pub const MAX_DISKS: usize = 8;
/// The most network interfaces of a VM.
pub const MAX_NICS: usize = 8;

/// The longest name of a host's network interface: IFNAMSIZ without the NUL.
pub const MAX_INTERFACE_BYTES: usize = 15;

/// A VM's virtio devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioPlan {
    /// Disks, in the order of their devices.
    pub disks: Vec<DiskPlan>,
    /// Network interfaces, in the order of their devices.
    pub nics: Vec<NicPlan>,
    /// It has a source of random bytes.
    pub has_entropy: bool,
    /// Its virtio console.
    pub console: ConsolePlan,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPlan {
    /// A raw image, by a path that the host understands.
    pub file: String,
    /// Its size as it was when the plan was read, a multiple of 512.
    pub bytes: u64,
    /// What becomes of the guest's writes.
    pub writes: Writes,
}

/// What becomes of a guest's writes to a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Writes {
    /// They go to the file.
    Keep,
    /// The guest reads them back, and the end of the run drops them.
    Discard,
    /// They go to this file, and the image is only read.
    To(String),
    /// The disk is read-only.
    Refuse,
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicPlan {
    /// `Plan::networks[n]`.
    pub network: usize,
    /// Its address.
    pub mac: [u8; 6],
    /// Its link is up.
    pub is_up: bool,
}

impl NicPlan {
    /// The address of interface `number` of the VM `id`, if the config names none: administered
    /// locally (IEEE 802-2014, 8.4).
    #[must_use]
    pub const fn default_mac(id: u64, number: usize) -> [u8; 6] {
        let [.., a, b, c] = id.to_be_bytes();
        [0x02, 0x54, a, b, c, number as u8]
    }
}

/// A network: a switch between interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// Unique name.
    pub name: String,
    /// A TAP interface of the host that is a port of the switch, too: over KVM.
    pub tap: Option<String>,
    /// A file on the host that gets a copy of what passes.
    pub pcap: Option<String>,
}

/// A virtio device of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtioKind {
    /// `disks[n]`.
    Disk(usize),
    /// `nics[n]`.
    Nic(usize),
    /// The source of random bytes.
    Entropy,
    /// The console.
    Console,
}

impl VirtioPlan {
    /// The devices, in the order of their windows and interrupts.
    pub fn devices(&self) -> impl Iterator<Item = VirtioKind> {
        let disks = (0..self.disks.len()).map(VirtioKind::Disk);
        let nics = (0..self.nics.len()).map(VirtioKind::Nic);
        let entropy = self.has_entropy.then_some(VirtioKind::Entropy);
        let console = self.console.is_there().then_some(VirtioKind::Console);
        disks.chain(nics).chain(entropy).chain(console)
    }
}
