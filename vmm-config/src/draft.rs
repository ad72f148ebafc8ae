//! A plan read from a file, with the position of each value in it.

use crate::fault::Collector;
use crate::node::Position;
use crate::record::{Record, Site};
use std::collections::BTreeSet;
use vmm_common::plan::{Field, Limits, MAX_HVC_LINKS, Plan, Problem, check};

/// The keys of the serial ports, COM1 first.
pub(crate) const PORT_KEYS: [&str; 4] = ["com1", "com2", "com3", "com4"];

/// The keys of the virtio console's ports that are ends of links, port 1 first.
pub(crate) const HVC_KEYS: [&str; MAX_HVC_LINKS] = ["hvc1", "hvc2", "hvc3", "hvc4"];

/// A plan and the records it was made of.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) plan: Plan,
    /// The file's top level.
    pub(crate) top: Record,
    /// One for each of the plan's VMs.
    pub(crate) vms: Vec<Record>,
    /// For each of the plan's VMs, one for each of its `modules`.
    pub(crate) modules: Vec<Vec<Record>>,
    /// For each of the plan's VMs, one for each of its `disks`.
    pub(crate) disks: Vec<Vec<Record>>,
    /// For each of the plan's VMs, one for each of its interfaces.
    pub(crate) nics: Vec<Vec<Record>>,
    /// One for each of the plan's networks.
    pub(crate) networks: Vec<Record>,
    /// One for each of the plan's links, unless the spelling has none.
    pub(crate) links: Vec<Record>,
    /// Where each link's rate was fixed first.
    pub(crate) bauds: Vec<Option<Position>>,
    /// Every port's link is known, so that the links' ends can be counted.
    pub(crate) are_ports_sound: bool,
}

impl Draft {
    /// Reports the plan's faults, except those that only follow from earlier ones.
    /// Returns the faulty fields.
    pub(crate) fn check(&self, limits: &Limits, faults: &mut Collector) -> BTreeSet<Field> {
        let mut wrong = BTreeSet::new();
        for Problem { field, message } in check(&self.plan, limits) {
            wrong.insert(field);
            let site = self.site(field);
            let default = match field {
                Field::VmId(_) if !site.is_there => "; left out, id is the VM's place in the list",
                Field::VmName(_) if !site.is_there => "; left out, name is vm and that place",
                _ => "",
            };
            if site.is_sound {
                faults.add(site.at, format!("{message}{default}"));
            }
        }
        wrong
    }

    /// The field's position in the file, or where it belongs.
    pub(crate) fn site(&self, field: Field) -> Site {
        let vm = |vm: usize, keys: &[&str]| self.vms[vm].site(keys);
        let link = |link: usize, keys: &[&str]| match self.links.get(link) {
            Some(record) => record.site(keys),
            None => self.top.site(&["vm_count"]),
        };
        match field {
            Field::Slice => self.top.site(&["slice"]),
            Field::Core => self.top.site(&["core"]),
            Field::Vms => self.top.site(&["vms", "vm_count"]),
            Field::VmId(index) => vm(index, &["id"]),
            Field::VmName(index) => vm(index, &["name"]),
            Field::VmMemory(index) => vm(index, &["memory"]),
            Field::VmVcpuCount(index) => vm(index, &["vcpus", "vcpu_count"]),
            Field::VmShare(index) => vm(index, &["budget", "weight"]),
            Field::VmRestarts(index) => vm(index, &["restart_limit"]),
            Field::VmCmdline(index) => vm(index, &["cmdline"]),
            Field::VmModules(index) => vm(index, &["modules", "initrd"]),
            Field::VmModuleCmdline(index, module) => match self.modules[index].get(module) {
                Some(record) => record.site(&["cmdline"]),
                None => vm(index, &["modules", "initrd"]),
            },
            Field::VmSerial(index, port) => vm(index, &[PORT_KEYS[port]]),
            Field::VmDisks(index) => vm(index, &["disks"]),
            Field::VmNics(index) => vm(index, &["networks"]),
            // One that names no network has been reported.
            Field::VmNicNetwork(index, nic) => {
                Site { is_sound: false, ..self.nics[index][nic].site(&["name"]) }
            }
            Field::VmNicPlace(index, nic) => self.nics[index][nic].site(&["name"]),
            Field::VmNicMac(index, nic) => self.nics[index][nic].site(&["mac"]),
            Field::NetworkName(index) => self.networks[index].site(&["name"]),
            Field::NetworkTap(index) => self.networks[index].site(&["tap"]),
            Field::VmEntropy(index) => match self.vms[index].record("devices") {
                Some(devices) => devices.site(&["rng"]),
                None => vm(index, &["devices"]),
            },
            Field::VmConsole(index) => vm(index, &["console"]),
            Field::VmHvc(index, port) => vm(index, &[HVC_KEYS[port - 1]]),
            Field::VmKeyboard(index) => vm(index, &["keyboard"]),
            Field::LinkName(index) => link(index, &["name"]),
            Field::LinkEnds(index) => {
                let site = link(index, &["name"]);
                Site { is_sound: site.is_sound && self.are_ports_sound, ..site }
            }
            Field::LinkBaud(index) => {
                let site = link(index, &["baud"]);
                Site { at: self.bauds.get(index).copied().flatten().unwrap_or(site.at), ..site }
            }
        }
    }
}
