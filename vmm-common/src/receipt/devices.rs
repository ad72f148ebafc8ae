//! What virtio devices did.

use crate::machine::Machine;
use crate::plan::VirtioKind;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use devices::virtio::Device;
use serde::Serialize;

/// What a virtio device did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReceipt {
    /// `disk0`, `disk1`, ..., `rng`.
    pub device: String,
    /// Requests, bytes, errors; what did not occur is left out.
    pub counts: BTreeMap<&'static str, u64>,
    /// The rule that its driver broke, if it has stopped for that.
    pub stopped: Option<String>,
}

impl DeviceReceipt {
    /// Of each device of `machine`.
    pub(super) fn all(machine: &Machine) -> Vec<Self> {
        machine.virtio().map(|(kind, device)| Self::new(kind, device)).collect()
    }

    fn new(kind: VirtioKind, device: &Device) -> Self {
        let name = match kind {
            VirtioKind::Disk(number) => format!("disk{number}"),
            VirtioKind::Entropy => String::from("rng"),
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
            Device::Entropy(entropy) => BTreeMap::from([("bytes given", entropy.given_bytes())]),
        };
        Self {
            device: name,
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            stopped: device.transport().error().map(|error| error.to_string()),
        }
    }
}

/// One line, without its end.
impl fmt::Display for DeviceReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.device)?;
        if self.counts.is_empty() {
            write!(f, "not used")?;
        }
        for (index, (what, count)) in self.counts.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {what}")?;
        }
        match &self.stopped {
            Some(rule) => write!(f, "; stopped by its driver: {rule}"),
            None => Ok(()),
        }
    }
}
