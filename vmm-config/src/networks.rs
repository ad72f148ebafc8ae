//! The networks, and the interfaces of VMs at them.

use crate::fault::{Collector, shown};
use crate::native::resolved;
use crate::record::Record;
use crate::value::nearest;
use std::path::Path;
use vmm_common::plan::{NetworkPlan, NicPlan};

/// The networks that `records` describe; paths are relative to `directory`.
pub(crate) fn plans(records: &[Record], directory: &Path) -> Vec<NetworkPlan> {
    let network = |record: &Record| NetworkPlan {
        name: record.text("name").unwrap_or("network").to_owned(),
        tap: record.text("tap").map(str::to_owned),
        pcap: record.text("pcap").map(|path| resolved(directory, path)),
    };
    records.iter().map(network).collect()
}

/// The names of networks.
pub(crate) struct Names<'a> {
    /// In the plan's order; None is faulty, which has been reported.
    names: Vec<Option<&'a str>>,
    /// All networks have their names, so that one which is not found does not exist.
    are_sound: bool,
}

impl<'a> Names<'a> {
    pub(crate) fn new(records: &'a [Record], is_list_sound: bool) -> Self {
        let names: Vec<_> = records.iter().map(|record| record.text("name")).collect();
        let are_sound = is_list_sound && names.iter().all(Option::is_some);
        Self { names, are_sound }
    }

    /// The interfaces of the VM with this number. One at a network that is not there is at one
    /// beyond the last.
    pub(crate) fn nics(&self, id: u64, nics: &[Record], faults: &mut Collector) -> Vec<NicPlan> {
        let mut nic = |(number, record): (usize, &Record)| {
            let name = record.text("name");
            let is_it = |network: &Option<&str>| network.is_some() && *network == name;
            let network = self.names.iter().position(is_it);
            if let (Some(name), None, true) = (name, network, self.are_sound) {
                faults.add(record.site(&["name"]).at, self.unknown(name));
            }
            NicPlan {
                network: network.unwrap_or(usize::MAX),
                mac: record.mac("mac").unwrap_or_else(|| NicPlan::default_mac(id, number)),
                is_up: record.text("link") != Some("down"),
            }
        };
        nics.iter().enumerate().map(&mut nic).collect()
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.names.iter().copied().flatten().collect();
        let shown = shown(name);
        match nearest(name, known.iter().copied()) {
            _ if known.is_empty() => {
                format!("name is {shown}, but networks names none; allowed: a network's name")
            }
            Some(meant) => format!("name is {shown}, which is no network; did you mean {meant}?"),
            None => {
                format!("name is {shown}, which is no network; allowed: {}", known.join(", "))
            }
        }
    }
}
