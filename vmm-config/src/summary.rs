//! What a config would run, for people.

use crate::Loaded;
use crate::value::size;
use std::fmt::{self, Write};
use vmm_common::plan::{
    BootKind, ClockPolicy, ImageSource, LinkPlan, ModulePlan, Plan, SerialPlan, Share, VmPlan,
};

/// The VMs, their shares and how long each may have to wait, their ports and links.
///
/// The worst blackout is what a VM that wants to run waits for at most, if the host does not take the core:
/// the turns of all others with what switching costs, or its own budget's next period.
#[must_use]
pub fn summary(loaded: &Loaded) -> String {
    let mut text = String::new();
    write(&loaded.plan, &mut text).expect("writing to a String cannot fail");
    text
}

fn write(plan: &Plan, out: &mut String) -> fmt::Result {
    let core =
        plan.core.map_or_else(|| String::from("the first core allowed"), |n| format!("core {n}"));
    let (count, slice) = (plan.vms.len(), Time(plan.slice_ns));
    let plural = if count == 1 { "VM" } else { "VMs" };
    let memory: u64 = plan.vms.iter().map(|vm| vm.memory_bytes).sum();
    writeln!(out, "{count} {plural} with {} on {core}, slice {slice}", size(memory))?;
    for (index, vm) in plan.vms.iter().enumerate() {
        write_vm(plan, index, vm, out)?;
    }
    for (index, link) in plan.links.iter().enumerate() {
        write_link(plan, index, link, out)?;
    }
    Ok(())
}

fn write_vm(plan: &Plan, index: usize, vm: &VmPlan, out: &mut String) -> fmt::Result {
    let VmPlan { name, id, cmdline, .. } = vm;
    let (percent, tenths) = tenths_of_percent(plan.entitled_ppm(index));
    let blackout = Time(plan.worst_blackout_ns(index));
    writeln!(out, "\n{name} (id {id})")?;
    let keyboard = if vm.has_keyboard { ", starts with the keyboard" } else { "" };
    writeln!(out, "  memory   {}{keyboard}", size(vm.memory_bytes))?;
    writeln!(out, "  kernel   {}", kernel(vm))?;
    if !cmdline.is_empty() {
        writeln!(out, "  cmdline  {}", cmdline.escape_debug())?;
    }
    for ModulePlan { source, cmdline } in &vm.boot.modules {
        writeln!(out, "  module   {} {}", file(source), cmdline.escape_debug())?;
    }
    if vm.clock == ClockPolicy::Own {
        writeln!(out, "  clock    stands while others have the core")?;
    }
    let how = match vm.share {
        Share::Weight(weight) => format!("weight {weight}"),
        Share::Budget { run_ns, period_ns } => {
            format!("{} every {}", Time(run_ns), Time(period_ns))
        }
    };
    writeln!(out, "  share    {percent}.{tenths} % ({how}), worst blackout {blackout}")?;
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
    Ok(())
}

fn file(source: &ImageSource) -> String {
    match source {
        ImageSource::Builtin(name) => format!("{name} (built in)"),
        ImageSource::File(path) => path.escape_debug().to_string(),
    }
}

fn kernel(vm: &VmPlan) -> String {
    let kernel = file(&vm.boot.kernel);
    let bios = vm.boot.bios.as_ref().map(|bios| format!(" behind {}", file(bios)));
    match vm.boot.kind {
        BootKind::Auto => kernel,
        BootKind::Multiboot => format!("{kernel}, multiboot"),
        BootKind::Linux => format!("{kernel}, Linux"),
        BootKind::Pvh => format!("{kernel}, PVH"),
        BootKind::Flat => format!("{kernel}, flat{}", bios.unwrap_or_default()),
    }
}

fn write_link(plan: &Plan, index: usize, link: &LinkPlan, out: &mut String) -> fmt::Result {
    let mut ends = Vec::new();
    for vm in &plan.vms {
        for (port, wiring) in vm.serial.iter().enumerate() {
            if wiring.link() == Some(index) {
                ends.push(format!("{}.com{}", vm.name, port + 1));
            }
        }
    }
    let rate =
        link.baud.map_or_else(|| String::from("the guests' rate"), |baud| format!("{baud} baud"));
    let loss = if link.is_lossy { "lossy" } else { "lossless" };
    let tap = link.tap.as_ref().map(|tap| format!(", tapped to {}", tap.escape_debug()));
    let ends = ends.join(" <-> ");
    writeln!(out, "\nlink {}: {ends}, {rate}, {loss}{}", link.name, tap.unwrap_or_default())
}

/// Parts of a million as percent and tenths, rounded.
const fn tenths_of_percent(ppm: u64) -> (u64, u64) {
    let tenths = (ppm + 500) / 1000;
    (tenths / 10, tenths % 10)
}

/// Nanoseconds in the unit that fits, to a tenth.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit_ns, unit) = match self.0 {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let tenths = (u128::from(self.0) * 10 + unit_ns / 2) / unit_ns;
        match (tenths / 10, tenths % 10) {
            (0, 0) => write!(f, "none"),
            (whole, 0) => write!(f, "{whole}{unit}"),
            (whole, tenth) => write!(f, "{whole}.{tenth}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests;
