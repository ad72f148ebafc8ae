//! What a plan must satisfy on the machine at hand. Every problem is found, not only the first.
//!
//! A problem names the plan's field, the value and what is allowed; whoever read the plan from a
//! file adds line and column.

use super::{DEVICE_HOLE, MAX_VMS, PAGE_BYTES, Plan, SerialPlan, Share};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What the machine at hand offers.
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
    /// `VmPlan::boot`: the kernel.
    VmKernel(usize),
    /// `VmPlan::serial[port]`.
    VmSerial(usize, usize),
    /// `VmPlan::has_keyboard`.
    VmKeyboard(usize),
    /// `LinkPlan::name`.
    LinkName(usize),
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
const MAX_SLICE_NS: u64 = 1_000_000_000;
/// The largest weight.
const MAX_WEIGHT: u32 = 10_000;
/// The longest period of a budget: ten seconds.
const MAX_PERIOD_NS: u64 = 10_000_000_000;
/// The longest name of a VM or link.
const MAX_NAME_CHARS: usize = 32;
/// What a 16550A divides to get its rate.
const BASE_BAUD: u32 = 115_200;

/// All that is wrong with `plan` on a machine with `limits`, in the order of the plan.
#[must_use]
pub fn check(plan: &Plan, limits: &Limits) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    check_core(plan, limits, &mut problems);
    check_machines(plan, limits, &mut problems);
    check_names(plan, &mut problems);
    check_shares(plan, limits, &mut problems);
    check_links(plan, &mut problems);
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
        let allowed: Vec<String> = limits.cores.iter().map(|core| format!("{core}")).collect();
        let allowed = allowed.join(", ");
        problems.add(Field::Core, format!("core {core} is not there; allowed here: {allowed}"));
    }
    let slice = Nanoseconds(plan.slice_ns);
    let (min, max) = (Nanoseconds(limits.min_slice_ns), Nanoseconds(MAX_SLICE_NS));
    if plan.slice_ns < limits.min_slice_ns {
        problems.add(
            Field::Slice,
            format!("a slice of {slice} goes to switching; allowed: {min} to {max}"),
        );
    } else if plan.slice_ns > MAX_SLICE_NS {
        problems.add(Field::Slice, format!("a slice of {slice} is too long; allowed: {min} to {max}"));
    }
}

fn check_machines(plan: &Plan, limits: &Limits, problems: &mut Problems) {
    if plan.vms.is_empty() || plan.vms.len() > MAX_VMS {
        let count = plan.vms.len();
        problems.add(Field::Vms, format!("{count} VMs; allowed: 1 to {MAX_VMS}"));
    }
    let mut total_bytes = 0_u64;
    for (index, vm) in plan.vms.iter().enumerate() {
        let bytes = vm.memory_bytes;
        let field = Field::VmMemory(index);
        if bytes == 0 {
            problems.add(field, String::from("a machine with no memory; allowed: 4KiB to 3584MiB"));
        } else if !bytes.is_multiple_of(PAGE_BYTES) {
            problems.add(field, format!("{bytes:#x} bytes are no whole pages; allowed: multiples of 4KiB"));
        } else if bytes > DEVICE_HOLE {
            problems.add(
                field,
                format!("{bytes:#x} bytes overlap the device hole at {DEVICE_HOLE:#x}; allowed: up to 3584MiB"),
            );
        } else {
            total_bytes = total_bytes.saturating_add(bytes);
            if total_bytes > limits.host_memory_bytes {
                let host_mib = limits.host_memory_bytes >> 20;
                let total_mib = total_bytes.div_ceil(1 << 20);
                problems.add(
                    field,
                    format!("VMs up to this one want {total_mib}MiB; allowed: the host's {host_mib}MiB"),
                );
            }
        }
        if vm.vcpu_count != 1 {
            let count = vm.vcpu_count;
            problems.add(
                Field::VmVcpuCount(index),
                format!("{count} vCPUs; allowed: 1, as all VMs share one core"),
            );
        }
    }
}

fn check_names(plan: &Plan, problems: &mut Problems) {
    let mut ids = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut keyboard = None;
    for (index, vm) in plan.vms.iter().enumerate() {
        check_name(&vm.name, Field::VmName(index), problems);
        if let Some(first) = ids.insert(vm.id, index) {
            let (id, name) = (vm.id, &plan.vms[first].name);
            problems.add(Field::VmId(index), format!("id {id} is already the id of {name}"));
        }
        if names.insert(vm.name.as_str(), index).is_some() {
            let name = &vm.name;
            problems.add(Field::VmName(index), format!("there is already a VM named {name}"));
        }
        if vm.has_keyboard {
            if let Some(first) = keyboard {
                let other: &str = &plan.vms[usize::min(first, index)].name;
                problems.add(
                    Field::VmKeyboard(index),
                    format!("{other} has the keyboard already; allowed: one VM, and Ctrl-A moves it"),
                );
            }
            keyboard = keyboard.or(Some(index));
        }
    }
    let mut links = BTreeMap::new();
    for (index, link) in plan.links.iter().enumerate() {
        check_name(&link.name, Field::LinkName(index), problems);
        if links.insert(link.name.as_str(), index).is_some() {
            let name = &link.name;
            problems.add(Field::LinkName(index), format!("there is already a link named {name}"));
        }
    }
}

fn check_name(name: &str, field: Field, problems: &mut Problems) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || !name.chars().all(is_plain) {
        problems.add(
            field,
            format!("{name:?} cannot be a name; allowed: 1 to {MAX_NAME_CHARS} letters, digits, - and _"),
        );
    }
}

fn check_shares(plan: &Plan, limits: &Limits, problems: &mut Problems) {
    let weights = plan.vms.iter().filter_map(|vm| match vm.share {
        Share::Weight(weight) => Some(u64::from(weight)),
        Share::Budget { .. } => None,
    });
    let (sum, count) = weights.fold((0, 0), |(sum, count), weight| (sum + weight, count + 1));
    let mut budget_ppm = 0;
    for (index, vm) in plan.vms.iter().enumerate() {
        let field = Field::VmShare(index);
        match vm.share {
            Share::Weight(0) if sum == 0 => problems.add(
                field,
                format!("weights sum to 0; allowed: 1 to {MAX_WEIGHT} each"),
            ),
            Share::Weight(weight) if weight == 0 || weight > MAX_WEIGHT => {
                problems.add(field, format!("weight {weight}; allowed: 1 to {MAX_WEIGHT}"));
            }
            Share::Weight(weight) => {
                let cycle_ns = u128::from(plan.slice_ns) * count as u128;
                let quantum_ns = (cycle_ns * u128::from(weight) / u128::from(sum.max(1))) as u64;
                if quantum_ns < limits.min_slice_ns && plan.slice_ns >= limits.min_slice_ns {
                    let (quantum, min) = (Nanoseconds(quantum_ns), Nanoseconds(limits.min_slice_ns));
                    problems.add(
                        field,
                        format!("weight {weight} of {sum} leaves turns of {quantum}; allowed: {min} or longer, by a longer slice or a larger weight"),
                    );
                }
            }
            Share::Budget { run_ns, period_ns } => {
                check_budget(run_ns, period_ns, limits, field, problems);
                let before = budget_ppm;
                budget_ppm += u128::from(run_ns) * 1_000_000 / u128::from(period_ns.max(1));
                if budget_ppm > 1_000_000 && before <= 1_000_000 {
                    let percent = budget_ppm as f64 / 10_000.0;
                    problems.add(
                        field,
                        format!("budgets up to this one sum to {percent:.1} %; allowed: 100 %"),
                    );
                }
            }
        }
    }
    if budget_ppm == 1_000_000
        && let Some(index) = plan.vms.iter().position(|vm| matches!(vm.share, Share::Weight(_)))
    {
        problems.add(
            Field::VmShare(index),
            String::from("budgets take 100 % and leave nothing to weights; allowed: less"),
        );
    }
}

fn check_budget(run_ns: u64, period_ns: u64, limits: &Limits, field: Field, problems: &mut Problems) {
    let (run, period) = (Nanoseconds(run_ns), Nanoseconds(period_ns));
    if run_ns < limits.min_slice_ns || run_ns > period_ns || period_ns > MAX_PERIOD_NS {
        let (min, max) = (Nanoseconds(limits.min_slice_ns), Nanoseconds(MAX_PERIOD_NS));
        problems.add(
            field,
            format!("a budget of {run} in {period}; allowed: {min} or more in a period of the same to {max}"),
        );
    }
}

fn check_links(plan: &Plan, problems: &mut Problems) {
    for (index, vm) in plan.vms.iter().enumerate() {
        let consoles = vm.serial.iter().enumerate().filter(|(_, port)| port.is_console());
        for (port, _) in consoles.skip(1) {
            problems.add(
                Field::VmSerial(index, port),
                String::from("a second console port; allowed: one for each VM"),
            );
        }
    }
    for (index, link) in plan.links.iter().enumerate() {
        let is_end = |port: &&SerialPlan| port.link() == Some(index);
        let ends = plan.vms.iter().flat_map(|vm| &vm.serial).filter(is_end).count();
        let name = &link.name;
        if !(2..=devices::link::MAX_ENDS).contains(&ends) {
            let max = devices::link::MAX_ENDS;
            let plural = if ends == 1 { "end" } else { "ends" };
            problems.add(
                Field::LinkName(index),
                format!("link {name} has {ends} {plural}; allowed: 2 to {max}"),
            );
        }
        if let Some(baud) = link.baud
            && (baud == 0 || baud > BASE_BAUD || !BASE_BAUD.is_multiple_of(baud))
        {
            problems.add(
                Field::LinkBaud(index),
                format!("{baud} baud; allowed: {BASE_BAUD} divided by a whole number"),
            );
        }
    }
}

/// Nanoseconds, printed in the unit that fits.
struct Nanoseconds(u64);

impl core::fmt::Display for Nanoseconds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            ns if ns.is_multiple_of(1_000_000_000) && ns > 0 => write!(f, "{}s", ns / 1_000_000_000),
            ns if ns.is_multiple_of(1_000_000) && ns > 0 => write!(f, "{}ms", ns / 1_000_000),
            ns if ns.is_multiple_of(1_000) && ns > 0 => write!(f, "{}us", ns / 1_000),
            ns => write!(f, "{ns}ns"),
        }
    }
}
