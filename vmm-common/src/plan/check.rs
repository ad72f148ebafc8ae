//! What a plan must satisfy on its host. Every problem is found, not only the first.
//!
//! A problem names the plan's field, the value and what is allowed; the reader of a file adds line
//! and column.

use super::{MAX_MEMORY_BYTES, MAX_MODULES, MAX_VMS, PAGE_BYTES, Plan, VmPlan};
use crate::index::LinkedPort;
use crate::units::{Bytes, Escaped, ExactTime};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

mod hvc_needs;
mod nics;
mod restart_limits;
mod shares;
#[cfg(test)]
mod tests;
mod vcpu_counts;
mod virtio_needs;

/// What the host offers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// RAM that all VMs together may have, bytes.
    pub host_memory_bytes: u64,
    /// The shortest useful slice: ten times what handing the core over costs, ns.
    pub min_slice_ns: u64,
    /// The cores this process may run on.
    pub cores: Vec<u64>,
}

/// A place in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `Plan::slice_ns`.
    Slice,
    /// `Plan::core`.
    Core,
    /// `Plan::vms` as a whole.
    Vms,
    /// `VmPlan::id`.
    VmId(usize),
    /// `VmPlan::name`.
    VmName(usize),
    /// `VmPlan::memory_bytes`.
    VmMemory(usize),
    /// `VmPlan::vcpu_count`.
    VmVcpuCount(usize),
    /// `VmPlan::share`.
    VmShare(usize),
    /// `VmPlan::restarts`.
    VmRestarts(usize),
    /// `VmPlan::cmdline`.
    VmCmdline(usize),
    /// `BootPlan::modules` as a whole.
    VmModules(usize),
    /// `ModulePlan::cmdline` of that module.
    VmModuleCmdline(usize, usize),
    /// `VmPlan::serial[port]`.
    VmSerial(usize, usize),
    /// `VirtioPlan::disks` as a whole.
    VmDisks(usize),
    /// `VirtioPlan::nics` as a whole.
    VmNics(usize),
    /// `NicPlan::network` of that interface.
    VmNicNetwork(usize, usize),
    /// The interface as one of several at its network.
    VmNicPlace(usize, usize),
    /// `NicPlan::mac` of that interface.
    VmNicMac(usize, usize),
    /// `NetworkPlan::name`.
    NetworkName(usize),
    /// `NetworkPlan::tap`.
    NetworkTap(usize),
    /// `VirtioPlan::has_entropy`.
    VmEntropy(usize),
    /// `ConsolePlan::is_console`.
    VmConsole(usize),
    /// `ConsolePlan::links[port - 1]`.
    VmHvc(usize, usize),
    /// `VmPlan::has_keyboard`.
    VmKeyboard(usize),
    /// `LinkPlan::name`.
    LinkName(usize),
    /// The ports that are ends of the link.
    LinkEnds(usize),
    /// `LinkPlan::baud`.
    LinkBaud(usize),
}

/// One thing wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub field: Field,
    /// What is wrong, with the value and what is allowed.
    pub message: String,
}

/// The longest slice: a second.
pub const MAX_SLICE_NS: u64 = 1_000_000_000;
/// The largest weight.
pub const MAX_WEIGHT: u32 = 10_000;
/// The longest period of a budget: ten seconds.
pub const MAX_BUDGET_PERIOD_NS: u64 = 10_000_000_000;
/// The longest name of a VM or link.
pub const MAX_NAME_CHARS: usize = 32;
/// The longest command line: it lies below the memory that kernels are loaded to.
pub const MAX_CMDLINE_BYTES: usize = 4096;
/// What a 16550A divides to get its rate.
pub const BASE_BAUD: u32 = 115_200;

/// All that is wrong with `plan` on a machine with `limits`.
#[must_use]
pub fn check(plan: &Plan, limits: &Limits) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    check_core(plan, limits, &mut problems);
    for (index, vm) in plan.vms.iter().enumerate() {
        check_machine(index, vm, &mut problems);
    }
    check_total_memory(plan, limits, &mut problems);
    vcpu_counts::check_total(plan, &mut problems);
    check_vm_names(plan, &mut problems);
    check_keyboard(plan, &mut problems);
    shares::check(plan, limits, &mut problems);
    check_ends(plan, &mut problems);
    hvc_needs::check_ends(plan, &mut problems);
    check_links(plan, &mut problems);
    nics::check(plan, &mut problems);
    problems.0
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: Field, message: String) {
        self.0.push(Problem { field, message });
    }
}

fn check_core(plan: &Plan, limits: &Limits, problems: &mut Problems) {
    if let Some(core) = plan.core
        && !limits.cores.contains(&core)
    {
        let allowed: Vec<String> = limits.cores.iter().map(u64::to_string).collect();
        let allowed = allowed.join(", ");
        problems.add(Field::Core, format!("core is {core}; allowed on this host: {allowed}"));
    }
    if plan.slice_ns < limits.min_slice_ns || plan.slice_ns > MAX_SLICE_NS {
        let slice = ExactTime(plan.slice_ns);
        let (min, max) = (ExactTime(limits.min_slice_ns), ExactTime(MAX_SLICE_NS));
        problems.add(Field::Slice, format!("slice is {slice}; allowed: {min} to {max}"));
    }
    if plan.vms.is_empty() || plan.vms.len() > MAX_VMS {
        let count = plan.vms.len();
        problems.add(Field::Vms, format!("there are {count} VMs; allowed: 1 to {MAX_VMS}"));
    }
}

fn check_machine(index: usize, vm: &VmPlan, problems: &mut Problems) {
    if !is_memory(vm.memory_bytes) {
        let (memory, page, most) =
            (Bytes(vm.memory_bytes), Bytes(PAGE_BYTES), Bytes(MAX_MEMORY_BYTES));
        problems.add(
            Field::VmMemory(index),
            format!("memory is {memory}; allowed: {page} to {most} in steps of {page}"),
        );
    }
    vcpu_counts::check_machine(index, vm, problems);
    restart_limits::check(index, vm, problems);
    virtio_needs::check_machine(index, vm, problems);
    hvc_needs::check_machine(index, vm, problems);
    check_cmdline(&vm.cmdline, Field::VmCmdline(index), problems);
    let modules = &vm.boot.modules;
    if modules.len() > MAX_MODULES {
        let count = modules.len();
        problems.add(
            Field::VmModules(index),
            format!("there are {count} modules; allowed: up to {MAX_MODULES}"),
        );
    }
    for (module, plan) in modules.iter().enumerate() {
        check_cmdline(&plan.cmdline, Field::VmModuleCmdline(index, module), problems);
    }
    let consoles = vm.serial.iter().enumerate().filter(|(_, port)| port.is_console());
    let allowed = usize::from(!vm.virtio.console.is_console);
    for (port, _) in consoles.skip(allowed) {
        problems.add(
            Field::VmSerial(index, port),
            String::from("a second console port; allowed: one in a VM"),
        );
    }
}

fn check_cmdline(cmdline: &str, field: Field, problems: &mut Problems) {
    if cmdline.len() > MAX_CMDLINE_BYTES || cmdline.contains('\0') {
        let bytes = cmdline.len();
        problems.add(
            field,
            format!(
                "cmdline has {bytes} bytes; allowed: up to {MAX_CMDLINE_BYTES}, none of them NUL"
            ),
        );
    }
}

const fn is_memory(bytes: u64) -> bool {
    bytes > 0 && bytes <= MAX_MEMORY_BYTES && bytes.is_multiple_of(PAGE_BYTES)
}

/// The VM with which the host's memory no longer suffices is the one named.
fn check_total_memory(plan: &Plan, limits: &Limits, problems: &mut Problems) {
    let host = limits.host_memory_bytes;
    let mut total = 0_u64;
    for (index, vm) in plan.vms.iter().enumerate().filter(|(_, vm)| is_memory(vm.memory_bytes)) {
        let before = total;
        total = total.saturating_add(vm.memory_bytes);
        if total > host && before <= host {
            let (total_mib, host_mib) = (total.div_ceil(1 << 20), host >> 20);
            problems.add(
                Field::VmMemory(index),
                format!(
                    "memory of the VMs up to this one is {total_mib}MiB; \
                    allowed: the host's {host_mib}MiB"
                ),
            );
        }
    }
}

fn check_vm_names(plan: &Plan, problems: &mut Problems) {
    let mut ids = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (index, vm) in plan.vms.iter().enumerate() {
        check_name(&vm.name, Field::VmName(index), problems);
        if let Some(first) = ids.insert(vm.id, index) {
            let (id, name) = (vm.id, &plan.vms[first].name);
            problems.add(
                Field::VmId(index),
                format!("id {id} is the id of {name} already; allowed: one of its own"),
            );
        }
        if names.insert(vm.name.as_str(), index).is_some() {
            let name = &vm.name;
            problems.add(
                Field::VmName(index),
                format!("a VM is named {name} already; allowed: a name of its own"),
            );
        }
    }
}

fn check_name(name: &str, field: Field, problems: &mut Problems) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || !name.chars().all(is_plain) {
        let start: String = name.chars().take(2 * MAX_NAME_CHARS).collect();
        problems.add(
            field,
            format!(
                "name is {}; allowed: 1 to {MAX_NAME_CHARS} letters, digits, - and _",
                Escaped(&start)
            ),
        );
    }
}

fn check_keyboard(plan: &Plan, problems: &mut Problems) {
    let mut owners = plan.vms.iter().enumerate().filter(|(_, vm)| vm.has_keyboard);
    let Some((_, first)) = owners.next() else { return };
    for (index, _) in owners {
        let name = &first.name;
        problems.add(
            Field::VmKeyboard(index),
            format!(
                "{name} starts with the keyboard already; allowed: one VM, and Ctrl-A moves it"
            ),
        );
    }
}

/// A plan from YAML names links, and has none that are not there; a packed one numbers them.
fn check_ends(plan: &Plan, problems: &mut Problems) {
    let links = plan.links.len();
    for (index, vm) in plan.vms.iter().enumerate() {
        for (port, serial) in vm.serial.iter().enumerate() {
            if let Some(link) = serial.link().filter(|link| *link >= links) {
                problems.add(
                    Field::VmSerial(index, port),
                    format!("an end of link number {link}; allowed: numbers below {links}"),
                );
            }
        }
    }
}

fn check_links(plan: &Plan, problems: &mut Problems) {
    let mut names = BTreeMap::new();
    for (index, link) in plan.links.iter().enumerate() {
        let name = &link.name;
        check_name(name, Field::LinkName(index), problems);
        if names.insert(name.as_str(), index).is_some() {
            problems.add(
                Field::LinkName(index),
                format!("a link is named {name} already; allowed: a name of its own"),
            );
        }
        let is_end = |(_, link): &(LinkedPort, usize)| *link == index;
        let ends = plan.vms.iter().flat_map(VmPlan::link_ends).filter(is_end).count();
        if !(2..=devices::link::MAX_ENDS).contains(&ends) {
            let max = devices::link::MAX_ENDS;
            let plural = if ends == 1 { "end" } else { "ends" };
            problems.add(
                Field::LinkEnds(index),
                format!("link {name} has {ends} {plural}; allowed: 2 to {max}"),
            );
        }
        if let Some(baud) = link.baud
            && (baud == 0 || baud > BASE_BAUD || !BASE_BAUD.is_multiple_of(baud))
        {
            problems.add(
                Field::LinkBaud(index),
                format!("baud is {baud}; allowed: {BASE_BAUD} divided by a whole number, as 9600"),
            );
        }
    }
}
