//! A readable summary of what a config would run.

use crate::{Loaded, LoadedImage};
use std::fmt::{self, Write};
use vmm_common::boot::flat::KERNEL_ADDRESS;
use vmm_common::plan::{
    BootKind, ClockPolicy, DebuggerPlan, DiskPlan, ImageSource, LinkPlan, ModulePlan, NetworkPlan,
    NicPlan, OnSwitch, Outcome, Outcomes, Plan, Restarts, SerialPlan, Share, VmPlan, Writes,
};
use vmm_common::units::{Bytes, Escaped, Mac, Percent, RoundedTime};

/// The VMs, their shares and how long each may have to wait, their ports and links.
///
/// The worst blackout is the longest wait of a runnable VM, if the host does not take
/// the core: the turns of all others with what switching costs, or its own budget's next period.
#[must_use]
pub fn summary(loaded: &Loaded) -> String {
    let mut text = String::new();
    let kinds: Vec<BootKind> = loaded.images.iter().map(|image| image.boot.kind).collect();
    write(&loaded.plan, &kinds, &mut text).expect("writing to a String cannot fail");
    text
}

/// `kinds` are the protocols found.
fn write(plan: &Plan, kinds: &[BootKind], out: &mut String) -> fmt::Result {
    let core =
        plan.core.map_or_else(|| String::from("the first core allowed"), |n| format!("core {n}"));
    let (count, slice) = (plan.vms.len(), RoundedTime(plan.slice_ns));
    let plural = if count == 1 { "VM" } else { "VMs" };
    let memory: u64 = plan.vms.iter().map(|vm| vm.memory_bytes).sum();
    writeln!(out, "{count} {plural} with {} on {core}, slice {slice}", Bytes(memory))?;
    if plan.on_switch == OnSwitch::Nothing {
        writeln!(out, "between VMs nothing is done against speculation on bare metal")?;
    }
    for (index, (vm, kind)) in plan.vms.iter().zip(kinds).enumerate() {
        write_vm(plan, index, vm, *kind, out)?;
    }
    for (index, link) in plan.links.iter().enumerate() {
        write_link(plan, index, link, out)?;
    }
    for (index, network) in plan.networks.iter().enumerate() {
        write_network(plan, index, network, out)?;
    }
    Ok(())
}

fn write_vm(
    plan: &Plan,
    index: usize,
    vm: &VmPlan,
    kind: BootKind,
    out: &mut String,
) -> fmt::Result {
    let VmPlan { name, id, cmdline, .. } = vm;
    let share = Percent(plan.entitled_ppm(index));
    let blackout = RoundedTime(plan.worst_blackout_ns(index));
    writeln!(out, "\n{name} (id {id})")?;
    let keyboard = if vm.has_keyboard { ", starts with the keyboard" } else { "" };
    writeln!(out, "  memory   {}{keyboard}", Bytes(vm.memory_bytes))?;
    if vm.vcpu_count > 1 {
        writeln!(out, "  vcpus    {}", vm.vcpu_count)?;
    }
    writeln!(out, "  kernel   {}", kernel(vm, kind))?;
    if !cmdline.is_empty() {
        writeln!(out, "  cmdline  {}", Escaped(cmdline))?;
    }
    for ModulePlan { source, cmdline } in &vm.boot.modules {
        writeln!(out, "  module   {} {}", file(source), Escaped(cmdline))?;
    }
    if let Some(DebuggerPlan { address, waits }) = &vm.debugger {
        let waits = if *waits { ", for which it waits" } else { "" };
        writeln!(out, "  gdb      {address}{waits}")?;
    }
    if vm.clock == ClockPolicy::Own {
        writeln!(out, "  clock    stands while others have the core")?;
    }
    let how = match vm.share {
        Share::Weight(weight) => format!("weight {weight}"),
        Share::Budget { run_ns, period_ns } => {
            format!("{} every {}", RoundedTime(run_ns), RoundedTime(period_ns))
        }
    };
    writeln!(out, "  share    {share:.1} ({how}), worst blackout {blackout}")?;
    let Outcomes { on_halt, on_reset } = vm.outcomes;
    for (ending, outcome) in [("a halt for good", on_halt), ("a reset", on_reset)] {
        if outcome == Outcome::Success {
            writeln!(out, "  ending   {ending} counts as success")?;
        }
    }
    let Restarts { on_reset, on_failure, times, within_ns } = vm.restarts;
    let limit = format!("at most {times} times in {}", RoundedTime(within_ns));
    for (ending, _) in [("a reset", on_reset), ("a failure", on_failure)].iter().filter(|it| it.1) {
        writeln!(out, "  ending   {ending} restarts it, {limit}")?;
    }
    let absent: Vec<&str> = [
        ("I/O APIC", vm.devices.has_io_apic),
        ("HPET", vm.devices.has_hpet),
        ("local APIC", vm.devices.has_local_apic),
    ]
    .into_iter()
    .filter_map(|(device, is_there)| (!is_there).then_some(device))
    .collect();
    if !absent.is_empty() {
        writeln!(out, "  without  {}", absent.join(", "))?;
    }
    write_screen(vm, out)?;
    write_virtio(plan, vm, out)?;
    write_ports(plan, vm, out)
}

fn write_screen(vm: &VmPlan, out: &mut String) -> fmt::Result {
    if vm.screen.is_shown {
        writeln!(out, "  screen   console")?;
    }
    if vm.screen.has_keyboard {
        writeln!(out, "  keys     PS/2 keyboard: what is typed goes there")?;
    }
    Ok(())
}

fn write_ports(plan: &Plan, vm: &VmPlan, out: &mut String) -> fmt::Result {
    for (port, wiring) in vm.serial.iter().enumerate() {
        let link = |link: usize| &plan.links[link].name;
        let wiring = match *wiring {
            SerialPlan::Absent => continue,
            SerialPlan::Unconnected => String::from("connected to nothing"),
            SerialPlan::Console => String::from("console"),
            SerialPlan::Link(number) => format!("link {}", link(number)),
            SerialPlan::Switched(number) => {
                format!("console, link {} while IER is 1", link(number))
            }
        };
        writeln!(out, "  com{}     {wiring}", port + 1)?;
    }
    let console = &vm.virtio.console;
    if console.is_console {
        writeln!(out, "  hvc0     console")?;
    }
    for (port, link) in (1..).zip(console.links) {
        if let Some(link) = link {
            writeln!(out, "  hvc{port}     link {}", plan.links[link].name)?;
        }
    }
    Ok(())
}

fn write_virtio(plan: &Plan, vm: &VmPlan, out: &mut String) -> fmt::Result {
    for (number, disk) in vm.virtio.disks.iter().enumerate() {
        let DiskPlan { file, bytes, writes } = disk;
        let writes = match writes {
            Writes::Keep => String::from("writes go to it"),
            Writes::Discard => String::from("writes are dropped at the end"),
            Writes::To(file) => format!("writes go to {}", Escaped(file)),
            Writes::Refuse => String::from("read-only"),
        };
        writeln!(out, "  disk{number}    {} ({}), {writes}", Escaped(file), Bytes(*bytes))?;
    }
    write_nics(plan, vm, out)?;
    if vm.virtio.has_entropy {
        writeln!(out, "  rng      random bytes of the host")?;
    }
    Ok(())
}

fn write_nics(plan: &Plan, vm: &VmPlan, out: &mut String) -> fmt::Result {
    for (number, NicPlan { network, mac, is_up }) in vm.virtio.nics.iter().enumerate() {
        let (name, mac) = (&plan.networks[*network].name, Mac(*mac));
        let link = if *is_up { "" } else { ", link down" };
        writeln!(out, "  net{number}     network {name}, {mac}{link}")?;
    }
    Ok(())
}

/// The interfaces at a network.
fn write_network(
    plan: &Plan,
    index: usize,
    network: &NetworkPlan,
    out: &mut String,
) -> fmt::Result {
    let mut ports = Vec::new();
    for vm in &plan.vms {
        let nics = vm.virtio.nics.iter().enumerate().filter(|(_, nic)| nic.network == index);
        ports.extend(nics.map(|(number, _)| format!("{}.net{number}", vm.name)));
    }
    let ports = if ports.is_empty() { String::from("no interface") } else { ports.join(", ") };
    writeln!(out, "\nnetwork {}: {ports}", network.name)?;
    if let Some(tap) = &network.tap {
        writeln!(out, "  tap      {tap} of the host, over KVM alone")?;
    }
    if let Some(pcap) = &network.pcap {
        writeln!(out, "  pcap     {}, over KVM alone", Escaped(pcap))?;
    }
    Ok(())
}

fn file(source: &ImageSource) -> String {
    match source {
        ImageSource::Builtin(name) => format!("{name} (built in)"),
        ImageSource::File(path) => Escaped(path).to_string(),
    }
}

fn kernel(vm: &VmPlan, kind: BootKind) -> String {
    let kernel = file(&vm.boot.kernel);
    let bios = vm.boot.bios.as_ref().map(|bios| format!(" behind {}", file(bios)));
    let is_named = vm.boot.kind != BootKind::Auto;
    let protocol = match kind {
        BootKind::Multiboot => "multiboot 1",
        BootKind::Linux => "Linux",
        BootKind::Pvh => "PVH",
        BootKind::Flat if is_named => "raw",
        BootKind::Flat | BootKind::Auto => "raw, as it has no signature that is known",
    };
    let symbols = vm.boot.symbols.as_ref().map(|path| format!(", symbols {}", Escaped(path)));
    format!("{kernel}, {protocol}{}{}", bios.unwrap_or_default(), symbols.unwrap_or_default())
}

/// Notes at the start of a run: files that run as raw code although the config does not ask for it.
#[must_use]
pub fn notes(loaded: &Loaded) -> Vec<String> {
    let note = |(vm, image): (&VmPlan, &LoadedImage)| {
        let is_guessed = vm.boot.kind == BootKind::Auto && image.boot.kind == BootKind::Flat;
        is_guessed.then(|| {
            let (name, kernel) = (&vm.name, file(&vm.boot.kernel));
            format!(
                "VM {name}: {kernel} has no signature that is known and runs as raw code at \
                {KERNEL_ADDRESS:#x}; boot: raw says that it is meant"
            )
        })
    };
    loaded.plan.vms.iter().zip(&loaded.images).filter_map(note).collect()
}

fn write_link(plan: &Plan, index: usize, link: &LinkPlan, out: &mut String) -> fmt::Result {
    let mut ends = Vec::new();
    for vm in &plan.vms {
        let own = vm.link_ends().filter(|(_, link)| *link == index);
        ends.extend(own.map(|(port, _)| format!("{}.{port}", vm.name)));
    }
    let rate =
        link.baud.map_or_else(|| String::from("the guests' rate"), |baud| format!("{baud} baud"));
    let loss = if link.is_lossy { "lossy" } else { "lossless" };
    let tap = link.tap.as_ref().map(|tap| format!(", tapped to {}", Escaped(tap)));
    let ends = ends.join(" <-> ");
    writeln!(out, "\nlink {}: {ends}, {rate}, {loss}{}", link.name, tap.unwrap_or_default())
}

#[cfg(test)]
mod tests;
