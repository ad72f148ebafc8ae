//! Networks, and the interfaces at them.

use super::{Field, Problems, check_name};
use crate::plan::{MAX_INTERFACE_BYTES, MAX_NICS, NicPlan, Plan, VmPlan};
use crate::units::{Escaped, Mac};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

pub(super) fn check(plan: &Plan, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for (index, network) in plan.networks.iter().enumerate() {
        let name = &network.name;
        check_name(name, Field::NetworkName(index), problems);
        if !names.insert(name.as_str()) {
            problems.add(
                Field::NetworkName(index),
                format!("a network is named {name} already; allowed: a name of its own"),
            );
        }
    }
    check_taps(plan, problems);
    let mut macs = BTreeMap::new();
    for (index, vm) in plan.vms.iter().enumerate() {
        check_count(index, vm, problems);
        let mut own = BTreeSet::new();
        for (number, nic) in vm.virtio.nics.iter().enumerate() {
            let NicPlan { network, mac, .. } = *nic;
            check_mac(Field::VmNicMac(index, number), mac, problems);
            let Some(name) = plan.networks.get(network).map(|network| &network.name) else {
                let count = plan.networks.len();
                problems.add(
                    Field::VmNicNetwork(index, number),
                    format!("at network number {network}; allowed: numbers below {count}"),
                );
                continue;
            };
            if !own.insert(network) {
                problems.add(
                    Field::VmNicPlace(index, number),
                    format!("a second interface at {name}; allowed: one of each VM"),
                );
            }
            if let Some(owner) = macs.insert((network, mac), &vm.name) {
                let mac = Mac(mac);
                problems.add(
                    Field::VmNicMac(index, number),
                    format!("mac {mac} is that of {owner} at {name} already; allowed: its own"),
                );
            }
        }
    }
}

/// Names that the kernel takes, and that no tool reads as something else.
fn check_taps(plan: &Plan, problems: &mut Problems) {
    let mut owners = BTreeMap::new();
    for (index, network) in plan.networks.iter().enumerate() {
        let (Some(tap), field) = (&network.tap, Field::NetworkTap(index)) else { continue };
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_sized = (1..=MAX_INTERFACE_BYTES).contains(&tap.len());
        if !is_sized || tap.starts_with('.') || !tap.bytes().all(is_plain) {
            let start: String = tap.chars().take(2 * MAX_INTERFACE_BYTES).collect();
            let (start, most) = (Escaped(&start), MAX_INTERFACE_BYTES);
            let allowed = format!("1 to {most} letters, digits, -, _ and ., none in front");
            problems.add(field, format!("tap is {start}; allowed: {allowed}"));
        }
        if let Some(owner) = owners.insert(tap, &network.name) {
            let message = format!("tap {tap} is at {owner} already; allowed: one of its own");
            problems.add(field, message);
        }
    }
}

fn check_count(index: usize, vm: &VmPlan, problems: &mut Problems) {
    let nics = vm.virtio.nics.len();
    if nics > MAX_NICS {
        let message = format!("there are {nics} network interfaces; allowed: up to {MAX_NICS}");
        problems.add(Field::VmNics(index), message);
    }
    if nics > 0 && !vm.devices.has_io_apic {
        let rule = "networks without the io_apic, by whose pins they interrupt; allowed: with it";
        problems.add(Field::VmNics(index), String::from(rule));
    }
}

fn check_mac(field: Field, mac: [u8; 6], problems: &mut Problems) {
    let wrong = match mac {
        [0, 0, 0, 0, 0, 0] => "no address at all",
        _ if devices::switch::is_multicast(mac) => "the address of a group",
        _ => return,
    };
    let mac = Mac(mac);
    let allowed = "allowed: that of one interface, as 52:54:00:00:00:01";
    problems.add(field, format!("mac is {mac}, {wrong}; {allowed}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NetworkPlan;
    use crate::plan::check::tests::problems;
    use alloc::vec;
    use alloc::vec::Vec;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

    fn nic(network: usize, mac: [u8; 6]) -> NicPlan {
        NicPlan { network, mac, is_up: true }
    }

    fn networks(names: &[&str]) -> Vec<NetworkPlan> {
        let network =
            |name: &&str| NetworkPlan { name: String::from(*name), tap: None, pcap: None };
        names.iter().map(network).collect()
    }

    fn check(change: impl Fn(&mut Plan)) -> Vec<(Field, String)> {
        problems(|plan| {
            plan.networks = networks(&["lan", "out"]);
            plan.vms[0].virtio.nics = vec![nic(0, MAC), nic(1, MAC)];
            change(plan);
        })
    }

    #[test]
    fn one_address_may_be_at_two_networks() {
        assert_eq!(check(|_| ()), []);
    }

    #[test]
    fn what_is_wrong_with_interfaces_is_found() {
        let found = check(|plan| {
            plan.networks[1].name = String::from("lan");
            plan.vms[1].virtio.nics =
                vec![nic(0, MAC), nic(0, [0x53, 0, 0, 0, 0, 1]), nic(2, [0; 6])];
        });
        let allowed = "allowed: that of one interface, as 52:54:00:00:00:01";
        let expected = [
            (
                Field::NetworkName(1),
                String::from("a network is named lan already; allowed: a name of its own"),
            ),
            (
                Field::VmNicMac(1, 0),
                String::from(
                    "mac 52:54:00:00:00:01 is that of vm0 at lan already; allowed: its own",
                ),
            ),
            (
                Field::VmNicMac(1, 1),
                format!("mac is 53:00:00:00:00:01, the address of a group; {allowed}"),
            ),
            (
                Field::VmNicPlace(1, 1),
                String::from("a second interface at lan; allowed: one of each VM"),
            ),
            (
                Field::VmNicMac(1, 2),
                format!("mac is 00:00:00:00:00:00, no address at all; {allowed}"),
            ),
            (
                Field::VmNicNetwork(1, 2),
                String::from("at network number 2; allowed: numbers below 2"),
            ),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_tap_has_a_name_of_the_kernels_and_one_network() {
        let found = check(|plan| {
            let taps = ["fifteen-bytes.1", "sixteen-bytes.12", ".", "", "a b", "a/b", "a%d", "é"];
            plan.networks = networks(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
            for (network, tap) in plan.networks.iter_mut().zip(taps) {
                network.tap = Some(String::from(tap));
            }
            plan.networks[8].tap = Some(String::from("fifteen-bytes.1"));
        });
        let wrong = |index, tap: &str| {
            let allowed = "allowed: 1 to 15 letters, digits, -, _ and ., none in front";
            (Field::NetworkTap(index), format!("tap is {tap}; {allowed}"))
        };
        let taken = "tap fifteen-bytes.1 is at a already; allowed: one of its own";
        let expected = [
            wrong(1, "sixteen-bytes.12"),
            wrong(2, "."),
            wrong(3, "\"\""),
            wrong(4, "a b"),
            wrong(5, "a/b"),
            wrong(6, "a%d"),
            wrong(7, "é"),
            (Field::NetworkTap(8), String::from(taken)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_vm_has_up_to_8_interfaces_and_they_need_the_io_apic() {
        let found = check(|plan| {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
            plan.networks = networks(&names);
            let nics = (0..9).map(|n| nic(n, NicPlan::default_mac(0x0102_0304_0506, n)));
            plan.vms[0].virtio.nics = nics.collect();
            assert_eq!(plan.vms[0].virtio.nics[8].mac, [2, 0x54, 4, 5, 6, 8]);
            plan.vms[0].devices.has_io_apic = false;
        });
        let expected = [
            "there are 9 network interfaces; allowed: up to 8",
            "networks without the io_apic, by whose pins they interrupt; allowed: with it",
        ];
        assert_eq!(found, expected.map(|message| (Field::VmNics(0), String::from(message))));
    }
}
