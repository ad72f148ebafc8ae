//! How many virtio devices there may be, and what they need.

use super::{Field, Problems};
use crate::plan::{MAX_DISKS, VmPlan};
use alloc::format;

pub(super) fn check_machine(index: usize, vm: &VmPlan, problems: &mut Problems) {
    let disks = vm.virtio.disks.len();
    if disks > MAX_DISKS {
        let message = format!("there are {disks} disks; allowed: up to {MAX_DISKS}");
        problems.add(Field::VmDisks(index), message);
    }
    if vm.devices.has_io_apic {
        return;
    }
    let allowed = "without the io_apic, by whose pins virtio devices interrupt; allowed: with it";
    if disks > 0 {
        problems.add(Field::VmDisks(index), format!("disks {allowed}"));
    }
    if vm.virtio.has_entropy {
        problems.add(Field::VmEntropy(index), format!("rng is true {allowed}, or false"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check::tests::problems;
    use crate::plan::{DiskPlan, Writes};
    use alloc::string::String;
    use alloc::vec;

    fn disk() -> DiskPlan {
        DiskPlan { file: String::from("image"), bytes: 512, writes: Writes::Discard }
    }

    #[test]
    fn a_vm_has_up_to_8_disks() {
        assert_eq!(problems(|plan| plan.vms[1].virtio.disks = vec![disk(); 8]), []);
        let found = problems(|plan| plan.vms[1].virtio.disks = vec![disk(); 9]);
        let message = String::from("there are 9 disks; allowed: up to 8");
        assert_eq!(found, [(Field::VmDisks(1), message)]);
    }

    #[test]
    fn virtio_devices_need_the_io_apic() {
        let found = problems(|plan| {
            plan.vms[0].devices.has_io_apic = false;
            plan.vms[0].virtio.disks = vec![disk()];
            plan.vms[0].virtio.has_entropy = true;
        });
        let rule = "without the io_apic, by whose pins virtio devices interrupt; allowed: with it";
        let expected = [
            (Field::VmDisks(0), format!("disks {rule}")),
            (Field::VmEntropy(0), format!("rng is true {rule}, or false")),
        ];
        assert_eq!(found, expected);
    }
}
