//! What a VM's virtio console needs.

use super::{Field, Problems};
use crate::plan::{Plan, VmPlan};
use alloc::format;

pub(super) fn check_machine(index: usize, vm: &VmPlan, problems: &mut Problems) {
    if vm.devices.has_io_apic {
        return;
    }
    let rule = "without the io_apic, by whose pins virtio devices interrupt; allowed: with it";
    if vm.virtio.console.is_console {
        let message = format!("console is hvc0 {rule}, or com1");
        problems.add(Field::VmConsole(index), message);
    }
    for (port, _) in (1..).zip(vm.virtio.console.links).filter(|(_, link)| link.is_some()) {
        problems.add(Field::VmHvc(index, port), format!("hvc{port} {rule}, or hvc{port} absent"));
    }
}

/// A plan from YAML names links, and has none that are not there; a packed one numbers them.
pub(super) fn check_ends(plan: &Plan, problems: &mut Problems) {
    let links = plan.links.len();
    for (index, vm) in plan.vms.iter().enumerate() {
        for (port, link) in (1..).zip(vm.virtio.console.links) {
            if let Some(link) = link.filter(|link| *link >= links) {
                problems.add(
                    Field::VmHvc(index, port),
                    format!("an end of link number {link}; allowed: numbers below {links}"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check::tests::problems;
    use crate::plan::{ConsolePlan, SerialPlan};
    use alloc::string::String;
    use alloc::vec;

    const PORTS: ConsolePlan = ConsolePlan { is_console: true, links: [None, Some(0), None, None] };

    #[test]
    fn a_virtio_console_needs_the_io_apic() {
        let found = problems(|plan| {
            plan.vms[0].devices.has_io_apic = false;
            plan.vms[0].serial[0] = SerialPlan::Absent;
            plan.vms[0].virtio.console = ConsolePlan { is_console: true, ..PORTS };
        });
        let rule = "without the io_apic, by whose pins virtio devices interrupt; allowed: with it";
        let expected = vec![
            (Field::VmConsole(0), format!("console is hvc0 {rule}, or com1")),
            (Field::VmHvc(0, 2), format!("hvc2 {rule}, or hvc2 absent")),
        ];
        let own =
            |(field, _): &(Field, String)| matches!(field, Field::VmConsole(_) | Field::VmHvc(..));
        assert_eq!(found.into_iter().filter(own).collect::<vec::Vec<_>>(), expected);
    }

    #[test]
    fn a_vm_has_one_console() {
        let found = problems(|plan| {
            plan.vms[0].serial[0] = SerialPlan::Console;
            plan.vms[0].virtio.console.is_console = true;
        });
        let message = String::from("a second console port; allowed: one in a VM");
        assert!(found.contains(&(Field::VmSerial(0, 0), message)), "{found:?}");
    }

    #[test]
    fn a_link_that_is_not_there_is_refused() {
        let found = problems(|plan| plan.vms[0].virtio.console.links[3] = Some(9));
        let count = found.iter().filter(|(field, _)| *field == Field::VmHvc(0, 4)).count();
        assert_eq!(count, 1, "{found:?}");
    }
}
