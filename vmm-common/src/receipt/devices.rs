//! What virtio devices did.

use crate::machine::Machine;
use crate::plan::{NetworkPlan, Plan, VirtioKind};
use crate::system::{Network, NetworkPort, System};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use devices::virtio::Device;
use devices::virtio::net::{Counts, DropReason};
use serde::Serialize;

/// What a virtio device did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReceipt {
    /// `disk0`, `disk1`, ..., `net0`, ..., `rng`, `hvc`.
    pub device: String,
    /// Requests, bytes, errors; what did not occur is left out.
    pub counts: BTreeMap<&'static str, u64>,
    /// The rule that its driver broke, if it has stopped for that.
    pub stopped: Option<String>,
}

/// What passed through a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkReceipt {
    /// The config's name.
    pub name: String,
    /// Of its interfaces together: frames, bytes, drops by reason; what did not occur is left out.
    pub counts: BTreeMap<&'static str, u64>,
    /// Its TAP, if it has one.
    pub tap: Option<TapReceipt>,
}

/// What passed between a network and the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TapReceipt {
    /// The host's interface.
    pub device: String,
    /// Frames and bytes from it and to it; of those from it, copies that did not arrive, by reason;
    /// what did not occur is left out.
    pub counts: BTreeMap<&'static str, u64>,
}

impl DeviceReceipt {
    /// Of each device of `machine`.
    pub(super) fn all(machine: &Machine) -> Vec<Self> {
        machine.virtio().map(|(kind, device)| Self::new(kind, device)).collect()
    }

    fn new(kind: VirtioKind, device: &Device) -> Self {
        let name = match kind {
            VirtioKind::Disk(number) => format!("disk{number}"),
            VirtioKind::Nic(number) => format!("net{number}"),
            VirtioKind::Entropy => String::from("rng"),
            VirtioKind::Console => String::from("hvc"),
        };
        let counts = match device {
            Device::Block(block) => {
                let counts = block.counts();
                BTreeMap::from([
                    ("requests", counts.requests),
                    ("bytes read", counts.read_bytes),
                    ("bytes written", counts.written_bytes),
                    ("errors", counts.errors),
                ])
            }
            Device::Net(net) => of_interface(&net.counts()).collect(),
            Device::Entropy(entropy) => BTreeMap::from([("bytes given", entropy.given_bytes())]),
            Device::Console(console) => {
                let [sent, given] = console.counts();
                BTreeMap::from([("bytes sent", sent), ("bytes given", given)])
            }
        };
        Self {
            device: name,
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            stopped: device.transport().error().map(|error| error.to_string()),
        }
    }
}

impl NetworkReceipt {
    /// Of each network of the plan.
    pub(super) fn all<M>(plan: &Plan, system: &System<M>) -> Vec<Self> {
        let network = |(plan, network): (&NetworkPlan, &Network)| {
            let mut counts = BTreeMap::new();
            for (vm, device) in network.ports.iter().filter_map(NetworkPort::nic) {
                for (_, device) in system.vms[vm].machine.virtio().skip(device).take(1) {
                    let Device::Net(net) = device else { continue };
                    for (what, count) in of_interface(&net.counts()) {
                        *counts.entry(what).or_insert(0) += count;
                    }
                }
            }
            counts.retain(|_, count| *count > 0);
            let tap = plan.tap.as_ref().zip(network.uplink.as_ref());
            let tap = tap.map(|(device, uplink)| TapReceipt::new(device, &uplink.counts()));
            Self { name: plan.name.clone(), counts, tap }
        };
        plan.networks.iter().zip(&system.networks.all).map(network).collect()
    }
}

impl TapReceipt {
    fn new(device: &str, counts: &Counts) -> Self {
        let passed = [
            ("frames from it", counts.sent),
            ("bytes from it", counts.sent_bytes),
            ("frames to it", counts.received),
            ("bytes to it", counts.received_bytes),
        ];
        let counts = passed.into_iter().chain(dropped(counts)).filter(|(_, count)| *count > 0);
        Self { device: String::from(device), counts: counts.collect() }
    }
}

fn of_interface(counts: &Counts) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let passed = [
        ("frames sent", counts.sent),
        ("bytes sent", counts.sent_bytes),
        ("frames received", counts.received),
        ("bytes received", counts.received_bytes),
    ];
    passed.into_iter().chain(dropped(counts))
}

fn dropped(counts: &Counts) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    DropReason::ALL.map(|why| (why.as_str(), counts.dropped(why))).into_iter()
}

fn fmt_counts(counts: &BTreeMap<&str, u64>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if counts.is_empty() {
        write!(f, "not used")?;
    }
    for (index, (what, count)) in counts.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        write!(f, "{comma}{count} {what}")?;
    }
    Ok(())
}

/// One line, without its end, and one for a TAP.
impl fmt::Display for NetworkReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network {}: ", self.name)?;
        fmt_counts(&self.counts, f)?;
        let Some(tap) = &self.tap else { return Ok(()) };
        write!(f, "\n  TAP {}: ", tap.device)?;
        fmt_counts(&tap.counts, f)
    }
}

/// One line, without its end.
impl fmt::Display for DeviceReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.device)?;
        fmt_counts(&self.counts, f)?;
        match &self.stopped {
            Some(rule) => write!(f, "; stopped by its driver: {rule}"),
            None => Ok(()),
        }
    }
}
