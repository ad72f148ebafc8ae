//! What the control socket says of the VMs.

use crate::kvm::GuestRam;
use serde_json::{Value, json};
use vmm_common::Instant;
use vmm_common::index::VmIndex;
use vmm_common::ledger::Standing;
use vmm_common::system::{Holder, System};

/// The VMs, in the config's order.
pub(super) fn list(system: &System<GuestRam>) -> Value {
    let vms = VmIndex::first(system.vms.len()).map(|index| {
        let vm = &system.vms[index];
        json!({
            "name": vm.name(),
            "id": vm.id(),
            "vcpus": vm.vcpus().len(),
            "state": state(system, index),
            "ending": vm.ending.as_ref().map(ToString::to_string),
            "restarts": system.ledger.vms[index].restarts,
        })
    });
    json!({ "vms": vms.collect::<Vec<_>>() })
}

fn state(system: &System<GuestRam>, vm: VmIndex) -> &'static str {
    let holders = system.holders(vm);
    match system.ledger.vms[vm].standing() {
        Standing::Ended => "ended",
        _ if holders.contains(Holder::Operator) => "paused",
        _ if holders.contains(Holder::Debugger) => "in its debugger",
        Standing::Held => "paused",
        Standing::Running | Standing::Waiting => "running",
        Standing::Halted => "halted",
    }
}

/// Where the time of each VM went, as of its last turn.
pub(super) fn stats(system: &System<GuestRam>, now: Instant) -> Value {
    let ledger = &system.ledger;
    let vms = VmIndex::first(system.vms.len()).map(|index| {
        let account = &ledger.vms[index];
        json!({
            "name": system.vms[index].name(),
            "guest_ns": account.guest_ns,
            "vmm_ns": account.vmm_ns,
            "waiting_ns": account.waiting_ns,
            "halted_ns": account.halted_ns,
            "held_ns": account.held_ns,
            "taken_ns": account.taken_ns,
            "longest_blackout_ns": account.longest_blackout_ns,
            "turns": account.turns,
            "exits": account.exit_count(),
            "interrupts": account.interrupts,
        })
    });
    json!({
        "wall_ns": now.ns_since(ledger.started()),
        "switching_ns": ledger.switching_ns,
        "console_ns": ledger.console_ns,
        "idle_ns": ledger.idle_ns,
        "taken_ns": ledger.taken_ns,
        "switches": ledger.switches,
        "vms": vms.collect::<Vec<_>>(),
    })
}
