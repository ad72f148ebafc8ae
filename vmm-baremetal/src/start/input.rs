//! What to run: the packed plan that the loader brought, or the seed's `config.bin` where its
//! loader device puts it, or, where there is neither, the seed's own pair.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use vmm_common::boot::{self, Boot, Images};
use vmm_common::pack::{self, Packed};
use vmm_common::plan::{self, BootKind, ImageSource, Limits, MIN_SLICE_NS, Plan};
use vmm_common::seed::{self, SeedVm};

/// A plan, and the initial contents of each VM's RAM.
#[derive(Debug)]
pub struct Input<'a> {
    /// What is to run.
    pub plan: Plan,
    /// Each VM's images and initial state.
    pub boots: Vec<(Images<'a>, Boot)>,
    /// What each VM's disks hold at the start.
    pub disks: Vec<Vec<&'a [u8]>>,
}

/// Where the plan comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A packed plan.
    Module(&'a [u8]),
    /// The memory at the seed's address, which holds a `config.bin` if its first word is not zero.
    SeedMemory(&'a [u8]),
    /// Nothing was brought.
    Nothing,
}

/// Reads and checks the plan for a machine with `memory_bytes` to give to VMs.
///
/// # Errors
/// What is wrong, as a message; a line for each fault.
pub fn read<'a>(source: Source<'a>, memory_bytes: u64) -> Result<Input<'a>, String> {
    let packed = match source {
        Source::Module(bytes) => pack::unpack(bytes).map_err(|error| format!("{error}"))?,
        Source::SeedMemory(bytes) if bytes.iter().take(8).any(|byte| *byte != 0) => {
            let vms = seed::decode(bytes)
                .map_err(|error| format!("config.bin at {:#x}: {error}", seed::CONFIG_ADDRESS))?;
            with_builtin_images(seed::to_plan(&vms))?
        }
        Source::SeedMemory(_) | Source::Nothing => {
            with_builtin_images(seed::to_plan(&[0, 1].map(seed_vm)))?
        }
    };
    let Packed { mut plan, images, disks } = packed;
    // Only the core that the loader started is used.
    plan.core = None;
    // There is no file for a tap: its buffer of 1.5 MiB would never be fetched.
    plan.links.iter_mut().for_each(|link| link.tap = None);
    plan.networks.iter_mut().for_each(|network| network.pcap = None);
    if let Some(network) = plan.networks.iter().find(|network| network.tap.is_some()) {
        return Err(format!(
            "network {}: a TAP is an interface of a Linux host, and the bare-metal target has \
            none; allowed: no tap",
            network.name
        ));
    }
    let limits =
        Limits { host_memory_bytes: memory_bytes, min_slice_ns: MIN_SLICE_NS, cores: Vec::new() };
    let problems = plan::check(&plan, &limits);
    if !problems.is_empty() {
        let line = |problem: &plan::Problem| {
            format!("{}: {}", name_of(&plan, problem.field), problem.message)
        };
        return Err(problems.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    let boots = plan.vms.iter().zip(images).map(|(vm, images)| {
        let boot = boot::place(vm, &images);
        boot.map(|boot| (images, boot)).map_err(|error| format!("VM {}: {error}", vm.name))
    });
    let boots = boots.collect::<Result<_, _>>()?;
    Ok(Input { plan, boots, disks })
}

/// One of the seed's machines.
const fn seed_vm(id: u64) -> SeedVm {
    let memory = plan::DEFAULT_MEMORY_BYTES;
    SeedVm { id, memory, vcpu_count: 1, io_apic: 1, hpet: 1, local_apic: 1 }
}

fn with_builtin_images<'a>(plan: Plan) -> Result<Packed<'a>, String> {
    let image = |vm: &plan::VmPlan| match &vm.boot.kernel {
        ImageSource::Builtin(name) => guests::find(name)
            .map(|image| Images::of(image.bytes))
            .ok_or_else(|| format!("VM {}: there is no built-in guest {name}", vm.name)),
        ImageSource::File(path) => Err(format!("VM {}: {path} was not packed", vm.name)),
    };
    debug_assert!(plan.vms.iter().all(|vm| vm.boot.kind == BootKind::Auto));
    let images = plan.vms.iter().map(image).collect::<Result<_, _>>()?;
    let disks = plan.vms.iter().map(|_| Vec::new()).collect();
    Ok(Packed { plan, images, disks })
}

/// The name of a plan's field, for messages.
fn name_of(plan: &Plan, field: plan::Field) -> String {
    use plan::Field;
    let vm = |index: usize, what: &str| match plan.vms.get(index) {
        Some(vm) => format!("VM {}, {what}", vm.name),
        None => format!("VM {index}, {what}"),
    };
    match field {
        Field::Slice => String::from("slice"),
        Field::Core => String::from("core"),
        Field::Vms => String::from("vms"),
        Field::VmId(index) => vm(index, "id"),
        Field::VmName(index) => vm(index, "name"),
        Field::VmMemory(index) => vm(index, "memory"),
        Field::VmVcpuCount(index) => vm(index, "vcpu_count"),
        Field::VmShare(index) => vm(index, "share"),
        Field::VmRestarts(index) => vm(index, "restarts"),
        Field::VmCmdline(index) => vm(index, "cmdline"),
        Field::VmModules(index) => vm(index, "modules"),
        Field::VmModuleCmdline(index, module) => vm(index, &format!("module {module}, cmdline")),
        Field::VmSerial(index, port) => vm(index, &format!("com{}", port + 1)),
        Field::VmDisks(index) => vm(index, "disks"),
        Field::VmNics(index) => vm(index, "networks"),
        Field::VmNicNetwork(index, nic) | Field::VmNicPlace(index, nic) => {
            vm(index, &format!("interface {nic}, network"))
        }
        Field::VmNicMac(index, nic) => vm(index, &format!("interface {nic}, mac")),
        Field::NetworkName(network) => format!("network {network}, name"),
        Field::NetworkTap(network) => format!("network {network}, tap"),
        Field::VmEntropy(index) => vm(index, "rng"),
        Field::VmKeyboard(index) => vm(index, "keyboard"),
        Field::LinkName(link) => format!("link {link}, name"),
        Field::LinkEnds(link) => format!("link {link}, ends"),
        Field::VmConsole(index) => vm(index, "console"),
        Field::VmHvc(index, port) => vm(index, &format!("hvc{port}")),
        Field::LinkBaud(link) => format!("link {link}, baud"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_common::plan::NetworkPlan;

    const MEMORY: u64 = 64 << 20;

    #[test]
    fn without_a_plan_the_seeds_pair_runs() {
        for source in [Source::Nothing, Source::SeedMemory(&[0; 4096])] {
            let input = read(source, MEMORY).expect("it is a good plan");
            assert_eq!(input.plan.vms.len(), 2);
            assert_eq!(input.boots.len(), 2);
        }
    }

    #[test]
    fn the_seeds_config_is_read_where_its_loader_puts_it() {
        let bytes = seed::encode(&[seed_vm(7), seed_vm(8), seed_vm(9)]).expect("three fit");
        let input = read(Source::SeedMemory(&bytes), MEMORY).expect("it is a good plan");
        assert_eq!(input.plan.vms.iter().map(|vm| vm.id).collect::<Vec<_>>(), [7, 8, 9]);
    }

    #[test]
    fn a_tap_takes_no_memory_where_no_file_can_be_written() {
        let mut plan = seed::to_plan(&[0, 1].map(seed_vm));
        plan.links[0].tap = Some(String::from("/tmp/tap"));
        let images = plan.vms.iter().map(|_| Images::of(b"\xf4")).collect::<Vec<_>>();
        let bytes = pack::pack(&plan, &images, &[Vec::new(), Vec::new()]);
        let input = read(Source::Module(&bytes), MEMORY).expect("it is a good plan");
        assert_eq!(input.plan.links[0].tap, None);
    }

    #[test]
    fn a_capture_is_left_out_and_a_tap_is_refused() {
        let mut plan = seed::to_plan(&[0, 1].map(seed_vm));
        let network = |tap| NetworkPlan {
            name: String::from("out"),
            tap,
            pcap: Some(String::from("seen.pcap")),
        };
        let images = plan.vms.iter().map(|_| Images::of(b"\xf4")).collect::<Vec<_>>();
        plan.networks = vec![network(None)];
        let bytes = pack::pack(&plan, &images, &[Vec::new(), Vec::new()]);
        let input = read(Source::Module(&bytes), MEMORY).expect("it is a good plan");
        assert_eq!(input.plan.networks[0].pcap, None);
        plan.networks = vec![network(Some(String::from("tandem0")))];
        let bytes = pack::pack(&plan, &images, &[Vec::new(), Vec::new()]);
        let words = ["network out: a TAP", "the bare-metal target has none", "allowed: no tap"];
        check_refused(Source::Module(&bytes), MEMORY, &words);
    }

    fn check_refused(source: Source<'_>, memory_bytes: u64, words: &[&str]) {
        let error = read(source, memory_bytes).expect_err("it is a bad plan");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn bad_plans_are_refused_by_name_and_amount() {
        check_refused(Source::SeedMemory(&[0xff; 4096]), MEMORY, &["config.bin", "vm_count"]);
        check_refused(Source::SeedMemory(&[2, 0, 0, 0, 0, 0, 0, 0]), MEMORY, &["8 bytes", "16"]);
        check_refused(Source::Nothing, 20 << 20, &["memory", "20"]);
        check_refused(Source::Module(b"nonsense"), MEMORY, &["magic"]);
    }
}
