use super::*;
use crate::plan::{DEVICE_HOLE, ImageSource, ModulePlan, SerialPlan, Share, ram_ranges};
use crate::seed::{SeedVm, to_plan};
use alloc::vec;

const MIB: u64 = 1 << 20;

fn limits() -> Limits {
    Limits { host_memory_bytes: 64 * MIB, min_slice_ns: 200_000, cores: vec![0, 1] }
}

pub(super) fn plan(vms: u64) -> Plan {
    let vm =
        |id| SeedVm { id, memory: 16 * MIB, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 };
    to_plan(&(0..vms).map(vm).collect::<Vec<_>>())
}

/// What is wrong with the plan of two VMs once it has been changed so.
pub(super) fn problems(change: impl Fn(&mut Plan)) -> Vec<(Field, String)> {
    let mut plan = plan(2);
    change(&mut plan);
    check(&plan, &limits()).into_iter().map(|problem| (problem.field, problem.message)).collect()
}

fn fields(change: impl Fn(&mut Plan)) -> Vec<Field> {
    problems(change).into_iter().map(|(field, _)| field).collect()
}

#[test]
fn the_seeds_plan_is_right() {
    assert_eq!(fields(|_| ()), []);
}

#[test]
fn memory_is_whole_pages_up_to_the_most() {
    for bytes in [0, 1, 4097, MAX_MEMORY_BYTES + PAGE_BYTES, u64::MAX] {
        assert_eq!(fields(|plan| plan.vms[1].memory_bytes = bytes), [Field::VmMemory(1)]);
    }
}

#[test]
fn memory_beyond_the_device_hole_goes_on_at_4_gib() {
    const GIB: u64 = 1 << 30;
    let mut limits = limits();
    limits.host_memory_bytes = 2 * MAX_MEMORY_BYTES;
    for bytes in [DEVICE_HOLE, DEVICE_HOLE + PAGE_BYTES, 64 * GIB, MAX_MEMORY_BYTES] {
        let mut plan = plan(1);
        plan.vms[0].memory_bytes = bytes;
        assert_eq!(check(&plan, &limits), []);
    }
    assert_eq!(ram_ranges(0x100_0000), [0..0x100_0000, 4 * GIB..4 * GIB]);
    assert_eq!(ram_ranges(0xe000_0000), [0..0xe000_0000, 4 * GIB..4 * GIB]);
    assert_eq!(ram_ranges(5 * GIB), [0..0xe000_0000, 4 * GIB..0x1_6000_0000]);
}

#[test]
fn the_first_vm_too_much_for_the_host_is_named() {
    let mut plan = plan(6);
    let found = |plan: &Plan| check(plan, &limits()).iter().map(|p| p.field).collect::<Vec<_>>();
    assert_eq!(found(&plan), [Field::VmMemory(4)]);
    plan.vms[0].memory_bytes = 65 * MIB;
    assert_eq!(found(&plan), [Field::VmMemory(0)]);
}

#[test]
fn all_problems_are_found_at_once() {
    let found = fields(|plan| {
        plan.core = Some(7);
        plan.slice_ns = 1000;
        plan.vms[0].name = String::from("a b");
        plan.vms[0].vcpu_count = 17;
        plan.vms[1].id = 0;
        plan.vms[1].has_keyboard = true;
        plan.links[0].baud = Some(9601);
    });
    let expected = [
        Field::Core,
        Field::Slice,
        Field::VmVcpuCount(0),
        Field::VmName(0),
        Field::VmId(1),
        Field::VmKeyboard(1),
        Field::LinkBaud(0),
    ];
    assert_eq!(found, expected);
}

#[test]
fn budgets_are_admitted_up_to_the_whole_core() {
    let half = Share::Budget { run_ns: 5_000_000, period_ns: 10_000_000 };
    let more = Share::Budget { run_ns: 6_000_000, period_ns: 10_000_000 };
    let both = |shares: [Share; 2]| {
        problems(|plan| (plan.vms[0].share, plan.vms[1].share) = (shares[0], shares[1]))
    };
    assert_eq!(both([half, half]), []);
    assert_eq!(both([half, Share::Weight(1)]), []);
    let message = String::from("budgets up to this one sum to 110.0 %; allowed: 100 %");
    assert_eq!(both([half, more]), [(Field::VmShare(1), message)]);
    let whole = Share::Budget { run_ns: 10_000_000, period_ns: 10_000_000 };
    assert_eq!(both([whole, Share::Weight(1)])[0].0, Field::VmShare(1));
    let longer_than_its_period = Share::Budget { run_ns: 10_000_000, period_ns: 5_000_000 };
    assert_eq!(both([longer_than_its_period, half])[0].0, Field::VmShare(0));
}

#[test]
fn weights_leave_everybody_a_useful_turn() {
    let weights = |left, right| {
        fields(|plan| {
            plan.vms[0].share = Share::Weight(left);
            plan.vms[1].share = Share::Weight(right);
        })
    };
    assert_eq!(weights(1, 49), []);
    assert_eq!(weights(1, 50), [Field::VmShare(0)]);
    assert_eq!(weights(0, 0), [Field::VmShare(0)]);
    assert_eq!(weights(MAX_WEIGHT + 1, MAX_WEIGHT), [Field::VmShare(0)]);
}

#[test]
fn a_link_has_two_ends_and_a_vm_one_console() {
    assert_eq!(fields(|plan| plan.vms[1].serial[0] = SerialPlan::Console), [Field::LinkEnds(0)]);
    let second = fields(|plan| plan.vms[1].serial[3] = SerialPlan::Console);
    assert_eq!(second, [Field::VmSerial(1, 3)]);
}

#[test]
fn a_command_line_has_room_below_the_kernel_and_no_nul() {
    let with = |text: &str| fields(|plan| plan.vms[0].cmdline = String::from(text));
    assert_eq!(with(&"x".repeat(MAX_CMDLINE_BYTES)), []);
    assert_eq!(with(&"x".repeat(MAX_CMDLINE_BYTES + 1)), [Field::VmCmdline(0)]);
    assert_eq!(with("a\0b"), [Field::VmCmdline(0)]);
}

#[test]
fn modules_are_few_and_their_command_lines_no_longer_than_a_kernels() {
    let with = |count: usize, cmdline: &str| {
        let source = ImageSource::Builtin(String::from("os"));
        let module = ModulePlan { source, cmdline: String::from(cmdline) };
        fields(|plan| plan.vms[1].boot.modules = vec![module.clone(); count])
    };
    assert_eq!(with(MAX_MODULES, &"x".repeat(MAX_CMDLINE_BYTES)), []);
    assert_eq!(with(MAX_MODULES + 1, ""), [Field::VmModules(1)]);
    let both = [Field::VmModuleCmdline(1, 0), Field::VmModuleCmdline(1, 1)];
    assert_eq!(with(2, &"x".repeat(MAX_CMDLINE_BYTES + 1)), both);
}

#[test]
fn a_port_of_a_link_that_is_not_there_is_refused() {
    let message = |link: usize| format!("an end of link number {link}; allowed: numbers below 1");
    let found = problems(|plan| plan.vms[1].serial[2] = SerialPlan::Link(1));
    assert_eq!(found, [(Field::VmSerial(1, 2), message(1))]);
    let found = problems(|plan| plan.vms[0].serial[3] = SerialPlan::Switched(usize::MAX));
    assert!(found.contains(&(Field::VmSerial(0, 3), message(usize::MAX))), "{found:?}");
    assert_eq!(fields(|plan| plan.vms[0].serial[3] = SerialPlan::Unconnected), []);
}
