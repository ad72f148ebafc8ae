//! The seed's spelling: `vm_count`, and `vm0`, `vm1`, ... with six keys each.

use crate::draft::Draft;
use crate::fault::Collector;
use crate::keys::{self, seed_vm_number};
use crate::node::{Node, Position, Value};
use crate::record::Record;
use crate::refusals::repeated_key;
use std::collections::btree_map::{BTreeMap, Entry};
use vmm_common::plan::MAX_VMS;
use vmm_common::seed::{SeedVm, to_plan};

/// Whether a file with these entries has this spelling.
pub(crate) fn is_spelled(entries: &[(Node, Node)]) -> bool {
    entries.iter().any(|(key, _)| {
        matches!(&key.value, Value::Text(key) if key == "vm_count" || seed_vm_number(key).is_some())
    })
}

/// Reads the entries of the top level, which begins at `at`.
pub(crate) fn read(at: Position, entries: &[(Node, Node)], faults: &mut Collector) -> Draft {
    let mut others = Vec::new();
    let mut machines: BTreeMap<u64, (&Node, &Node)> = BTreeMap::new();
    for (key, node) in entries {
        let Value::Text(name) = &key.value else {
            others.push((key, node));
            continue;
        };
        let Some(number) = seed_vm_number(name) else {
            others.push((key, node));
            continue;
        };
        match machines.entry(number) {
            Entry::Vacant(vacant) => {
                vacant.insert((key, node));
            }
            Entry::Occupied(first) => {
                faults.add(key.at, repeated_key(&format!("vm{number}"), first.get().0.at));
            }
        }
    }
    if let Some((key, _)) = machines.values().nth(MAX_VMS) {
        let count = machines.len();
        faults.add(key.at, format!("there are {count} VMs; allowed: 1 to {MAX_VMS}"));
    }
    let top = Record::read_entries(at, others, &keys::SEED_TOP, faults);
    check_count(&top, &machines, faults);
    let vms: Vec<Record> = machines
        .values()
        .take(MAX_VMS)
        .map(|(_, node)| Record::read(node, &keys::SEED_VM, faults))
        .collect();
    let plan = to_plan(&vms.iter().enumerate().map(seed_vm).collect::<Vec<_>>());
    let modules = vms.iter().map(|_| Vec::new()).collect();
    let (links, bauds) = (Vec::new(), Vec::new());
    Draft {
        plan,
        top,
        vms,
        modules,
        disks: Vec::new(),
        nics: Vec::new(),
        networks: Vec::new(),
        links,
        bauds,
        are_ports_sound: true,
    }
}

/// The seed's script reads `vm0` to `vm{vm_count - 1}`, and nothing else.
fn check_count(top: &Record, machines: &BTreeMap<u64, (&Node, &Node)>, faults: &mut Collector) {
    let (Some(count), entries) = (top.integer("vm_count"), machines.len() as u64) else { return };
    if count != entries {
        let site = top.site(&["vm_count"]);
        let plural = if entries == 1 { "VM is" } else { "VMs are" };
        faults.add(
            site.at,
            format!("vm_count is {count}, but {entries} {plural} described; allowed: {entries}"),
        );
        return;
    }
    for (number, (key, _)) in machines.iter().filter(|(number, _)| **number >= count) {
        let last = count - 1;
        faults.add(
            key.at,
            format!("vm{number} with vm_count {count}; allowed: vm0 to vm{last}, none left out"),
        );
    }
}

/// A missing or faulty value has been reported; a valid one replaces it.
fn seed_vm((index, record): (usize, &Record)) -> SeedVm {
    let word = |key, otherwise| record.integer(key).unwrap_or(otherwise);
    SeedVm {
        id: word("id", index as u64),
        memory: word("memory", vmm_common::plan::DEFAULT_MEMORY_BYTES),
        vcpu_count: word("vcpu_count", 1),
        io_apic: word("io_apic", 1),
        hpet: word("HPET", 1),
        local_apic: word("local_apic", 1),
    }
}
