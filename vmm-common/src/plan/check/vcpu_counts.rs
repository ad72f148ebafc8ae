//! How many vCPUs there may be.

use super::{Field, Problems};
use crate::plan::{MAX_TOTAL_VCPUS, MAX_VCPUS, Plan, VmPlan};
use alloc::format;

/// A VM has some, and several have local APICs, by which they start each other.
pub(super) fn check_machine(index: usize, vm: &VmPlan, problems: &mut Problems) {
    let (field, count) = (Field::VmVcpuCount(index), vm.vcpu_count);
    if count == 0 || count > MAX_VCPUS {
        problems.add(field, format!("{count} vCPUs; allowed: 1 to {MAX_VCPUS}"));
    }
    if count > 1 && !vm.devices.has_local_apic {
        problems.add(
            field,
            format!(
                "{count} vCPUs without local_apic, by which one starts the others; allowed: 1 \
                vCPU, or a local_apic"
            ),
        );
    }
}

/// The VM with which the vCPUs become too many is the one named.
pub(super) fn check_total(plan: &Plan, problems: &mut Problems) {
    let mut total = 0;
    for (index, vm) in plan.vms.iter().enumerate().filter(|(_, vm)| vm.vcpu_count <= MAX_VCPUS) {
        let before = total;
        total += vm.vcpu_count;
        if total > MAX_TOTAL_VCPUS && before <= MAX_TOTAL_VCPUS {
            problems.add(
                Field::VmVcpuCount(index),
                format!(
                    "vCPUs of the VMs up to this one are {total}; allowed: {MAX_TOTAL_VCPUS} on \
                    the core"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check::tests::{plan, problems};
    use crate::plan::check::{Limits, check};
    use crate::plan::{SERIAL_PORTS, SerialPlan};
    use alloc::string::String;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn a_vm_has_1_to_16_vcpus() {
        for count in [0, 17, u64::MAX] {
            let message = format!("{count} vCPUs; allowed: 1 to 16");
            let found = problems(|plan| plan.vms[1].vcpu_count = count);
            assert_eq!(found, [(Field::VmVcpuCount(1), message)]);
        }
    }

    #[test]
    fn several_vcpus_need_local_apics() {
        let found = problems(|plan| {
            plan.vms[0].devices.has_local_apic = false;
            plan.vms[1].vcpu_count = 2;
            plan.vms[1].devices.has_local_apic = false;
        });
        let message = "2 vCPUs without local_apic, by which one starts the others; allowed: 1 \
            vCPU, or a local_apic";
        assert_eq!(found, [(Field::VmVcpuCount(1), String::from(message))]);
        let found = problems(|plan| {
            plan.vms[1].vcpu_count = 17;
            plan.vms[1].devices.has_local_apic = false;
        });
        let found: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
        assert_eq!(found, ["17 vCPUs; allowed: 1 to 16", &message.replace('2', "17")]);
    }

    #[test]
    fn the_first_vm_with_too_many_vcpus_for_the_core_is_named() {
        let limits = Limits { host_memory_bytes: u64::MAX, min_slice_ns: 0, cores: vec![0] };
        let mut plan = plan(20);
        plan.links.clear();
        for vm in &mut plan.vms {
            vm.vcpu_count = 16;
            vm.serial = [SerialPlan::Absent; SERIAL_PORTS];
        }
        let found = |plan: &Plan| -> Vec<(Field, String)> {
            check(plan, &limits).into_iter().map(|it| (it.field, it.message)).collect()
        };
        let message = |total: u64| {
            format!("vCPUs of the VMs up to this one are {total}; allowed: 256 on the core")
        };
        assert_eq!(found(&plan), [(Field::VmVcpuCount(16), message(272))]);
        plan.vms.truncate(17);
        plan.vms[0].vcpu_count = 1;
        assert_eq!(found(&plan), [(Field::VmVcpuCount(16), message(257))]);
    }
}
