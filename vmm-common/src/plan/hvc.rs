//! The ports of a VM's virtio console, and all its ports that may be ends of links.

use super::VmPlan;
use crate::index::{Com, LinkedPort};
use alloc::vec::Vec;
use devices::virtio::console::PortUse;
use serde::{Deserialize, Serialize};

/// The most ports of a virtio console that are ends of links.
pub const MAX_HVC_LINKS: usize = devices::virtio::console::MAX_LINK_PORTS;

/// A VM's virtio console. It is there if one of its ports is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsolePlan {
    /// Port 0 is the VM's console.
    pub is_console: bool,
    /// `links[n]` that ports 1, 2, ... are ends of.
    pub links: [Option<usize>; MAX_HVC_LINKS],
}

impl ConsolePlan {
    /// What each port is for, up to the last that is there.
    #[must_use]
    pub fn uses(&self) -> Vec<PortUse> {
        let link = |link: &Option<usize>| match link {
            Some(_) => PortUse::Link,
            None => PortUse::Absent,
        };
        let first = if self.is_console { PortUse::Console } else { PortUse::Absent };
        let mut uses: Vec<_> = core::iter::once(first).chain(self.links.iter().map(link)).collect();
        let count = uses.iter().rposition(|of| *of != PortUse::Absent).map_or(0, |last| last + 1);
        uses.truncate(count);
        uses
    }

    /// Whether the machine has it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        *self != Self::default()
    }
}

impl VmPlan {
    /// The ports that may be ends of links, each with its link.
    pub fn link_ends(&self) -> impl Iterator<Item = (LinkedPort, usize)> {
        let serial = Com::ALL.into_iter().zip(self.serial);
        let serial = serial.map(|(com, plan)| (LinkedPort::Com(com), plan.link()));
        let hvc = (1..).zip(self.virtio.console.links);
        let hvc = hvc.map(|(port, link)| (LinkedPort::Hvc(port), link));
        serial.chain(hvc).filter_map(|(port, link)| Some((port, link?)))
    }

    /// Whether the VM reads what is typed: some port is its console, or it has a keyboard.
    #[must_use]
    pub fn has_console(&self) -> bool {
        self.screen.has_keyboard
            || self.virtio.console.is_console
            || self.serial.iter().any(|port| port.is_console())
    }
}
