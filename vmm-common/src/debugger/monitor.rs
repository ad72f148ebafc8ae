//! What `monitor` commands answer.

use super::subject::Subject;
use crate::index::VmIndex;
use crate::memory::GuestMemory;
use crate::seam::ExitReason;
use crate::system::System;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;

const HELP: &str = "commands: vms, devices, exits, link, receipt\n";

/// The answer for the VM that gdb has.
pub fn text<M: GuestMemory>(
    command: &str,
    system: &System<M>,
    vm: VmIndex,
    subject: &Subject<M>,
) -> String {
    match command.trim() {
        "vms" => vms(system, vm),
        "exits" => exits(system, vm),
        "devices" => devices(system, vm, subject),
        "link" => links(system, vm),
        "receipt" => receipt(system, vm),
        "" | "help" => HELP.into(),
        other => format!("no command {other:?}; {HELP}"),
    }
}

/// Each VM, and what it does.
fn vms<M: GuestMemory>(system: &System<M>, this: VmIndex) -> String {
    let mut text = String::new();
    for vm in VmIndex::first(system.vms.len()) {
        let it = &system.vms[vm];
        let mark = if vm == this { '*' } else { ' ' };
        let count = it.vcpus().len();
        // Writing to a string does not fail.
        let _ = match &it.ending {
            Some(ending) => writeln!(text, "{mark} {}: {ending}", it.name()),
            None if system.is_held(vm) => {
                writeln!(text, "{mark} {}: held, {count} vCPU", it.name())
            }
            None => writeln!(text, "{mark} {}: runs, {count} vCPU", it.name()),
        };
    }
    text
}

/// Why the guest has left so far, the kinds that it has.
fn exits<M: GuestMemory>(system: &System<M>, vm: VmIndex) -> String {
    let account = &system.ledger.vms[vm];
    let counts = ExitReason::KINDS.iter().zip(&account.exits).filter(|(_, count)| **count > 0);
    let mut text: String = counts.map(|(kind, count)| format!("{count:>10} {kind}\n")).collect();
    let _ = writeln!(text, "{:>10} interrupts injected", account.interrupts);
    text
}

/// What each vCPU waits for.
fn devices<M: GuestMemory>(system: &System<M>, vm: VmIndex, subject: &Subject<M>) -> String {
    let it = &system.vms[vm];
    let mut text = String::new();
    for vcpu in it.vcpus() {
        let events = it.machine.events_for(vcpu.id());
        let pending = match (events.has_interrupt, events.is_unmaskable || vcpu.has_nmi) {
            (_, true) => "a non-maskable interrupt is pending",
            (true, false) => "an interrupt is pending",
            (false, false) => "no interrupt is pending",
        };
        let _ =
            writeln!(text, "vCPU {}: {}, {pending}", vcpu.id(), standing(system, vm, vcpu.id()));
    }
    let points = &subject.breakpoints;
    let hardware = points.hardware.iter().flatten().count();
    let software = points.software_count();
    let _ = writeln!(text, "breakpoints: {software} in memory, {hardware} of 4 debug registers");
    text
}

/// What a vCPU does, in words.
pub fn standing<M: GuestMemory>(system: &System<M>, vm: VmIndex, id: u32) -> &'static str {
    let it = &system.vms[vm];
    match it.vcpu(id) {
        _ if it.machine.is_waiting_for_startup(id) => "waits for a start-up IPI",
        Some(vcpu) if vcpu.is_halted && vcpu.is_deaf => "halted, interrupts disabled",
        Some(vcpu) if vcpu.is_halted => "halted",
        Some(_) | None => "runs",
    }
}

/// The links with an end at this VM, and what waits in them.
fn links<M: GuestMemory>(system: &System<M>, vm: VmIndex) -> String {
    let mut text = String::new();
    for wire in &system.wires {
        let ends: alloc::vec::Vec<_> = wire.ends.iter().collect();
        if ends.iter().any(|(end, _)| *end == vm) {
            for (at, (end, port)) in ends.iter().enumerate() {
                let name = system.vms[*end].name();
                let _ = write!(text, "{}{name}.{port}", if at == 0 { "" } else { " - " });
            }
            text.push('\n');
        }
    }
    if text.is_empty() { "no link\n".into() } else { text }
}

/// Where its time has gone.
fn receipt<M: GuestMemory>(system: &System<M>, vm: VmIndex) -> String {
    let account = &system.ledger.vms[vm];
    let rows = [
        ("guest", account.guest_ns),
        ("hypervisor", account.vmm_ns),
        ("waiting", account.waiting_ns),
        ("halted", account.halted_ns),
    ];
    let mut text = String::new();
    for (what, ns) in rows {
        let _ = writeln!(text, "{:>10}.{:03} ms {what}", ns / 1_000_000, ns / 1000 % 1000);
    }
    let _ = writeln!(text, "{:>14} turns", account.turns);
    text
}
