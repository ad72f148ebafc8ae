//! The receipt at the end of every run: what each VM was entitled to and received, and what
//! became of every byte on the links. The same values print as text (`text.rs`) and serialize as
//! JSON.

mod devices;
mod text;

pub use devices::{DeviceReceipt, NetworkReceipt, TapReceipt};

use crate::Instant;
use crate::index::{LinkedPort, VmIndex};
use crate::ledger::{BudgetAccount, VcpuAccount};
use crate::plan::Plan;
use crate::seam::ExitReason;
use crate::system::System;
use ::devices::link::{LinkEnd, LossReason};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::Serialize;

/// A run, accounted for. Times in nanoseconds, shares in parts of a million.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// From the first turn to the end, by the clock.
    pub wall_ns: u64,
    /// All of the core's accounts together; `wall_ns` to 1 %.
    pub accounted_ns: u64,
    /// The slice.
    pub slice_ns: u64,
    /// Choosing and handing over.
    pub switching_ns: u64,
    /// Reading keys and signals and writing output between turns.
    pub console_ns: u64,
    /// No VM could run.
    pub idle_ns: u64,
    /// The host ran something else though a VM could run; in no VM's account.
    pub taken_ns: u64,
    /// Core time in long stretches in which every VM had work: what shares are measured on.
    pub contended_ns: u64,
    /// Handovers from one VM to another.
    pub switches: u64,
    /// Handovers from one vCPU to another of the same VM.
    pub sibling_switches: u64,
    /// Turns that a VM which woke had before its place among the VMs.
    pub jumps: u64,
    /// Each VM.
    pub vms: Vec<VmReceipt>,
    /// Each link.
    pub links: Vec<LinkReceipt>,
    /// Each network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkReceipt>,
    /// Bytes lost on links, for any reason.
    pub lost_bytes: u64,
    /// The part of these on lossless links whose receivers had ended.
    pub undelivered_bytes: u64,
}

/// One VM's part of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmReceipt {
    /// The config's number.
    pub id: u64,
    /// The config's name.
    pub name: String,
    /// How it ended.
    pub ending: String,
    /// It ended with status 0, or as its plan takes for success.
    pub is_success: bool,
    /// The share it was entitled to while every VM had work.
    pub entitled_ppm: u64,
    /// The share it received then; if there was no such stretch, the part of its periods that a VM
    /// with a budget received where it wanted any, and None for one with a weight.
    pub received_ppm: Option<u64>,
    /// It ran or waited.
    pub wanted_ns: u64,
    /// What a VM with a weight was due: of the core time of all such VMs, by weight among those
    /// that ran or waited.
    pub due_ns: u64,
    /// Guest instructions ran.
    pub guest_ns: u64,
    /// The VMM worked for it.
    pub vmm_ns: u64,
    /// It could have run, but others had the core.
    pub waiting_ns: u64,
    /// It had nothing to do.
    pub halted_ns: u64,
    /// The operator or a debugger kept it from running, or it had ended and was restarted later.
    pub held_ns: u64,
    /// How often it was restarted. Its devices are those of its last beginning.
    pub restarts: u64,
    /// The host took the core while this VM had it.
    pub taken_ns: u64,
    /// The longest time it could have run but did not have the core.
    pub longest_blackout_ns: u64,
    /// The host's part of that.
    pub longest_blackout_taken_ns: u64,
    /// The longest such time less the host's part of it.
    pub longest_own_blackout_ns: u64,
    /// What the plan promises that to be at most.
    pub promised_blackout_ns: u64,
    /// How its budget fared, if it has one.
    pub budget: Option<BudgetReceipt>,
    /// Ticks of its periodic timers that were dropped, as they were too late.
    pub dropped_ticks: u64,
    /// Turns it had.
    pub turns: u64,
    /// Exits by reason; reasons that did not occur are left out.
    pub exits: BTreeMap<&'static str, u64>,
    /// Accesses served without another VM exit.
    pub batched: u64,
    /// Interrupts injected.
    pub interrupts: u64,
    /// Each virtio device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceReceipt>,
    /// Each vCPU, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vcpus: Vec<VcpuReceipt>,
}

/// One vCPU's part of its VM's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VcpuReceipt {
    /// Its guest instructions ran.
    pub guest_ns: u64,
    /// It could have run, but a sibling or another VM had the core.
    pub waiting_ns: u64,
    /// It had nothing to do, or had not been started.
    pub halted_ns: u64,
    /// The longest time it could have run but did not have the core.
    pub longest_blackout_ns: u64,
    /// The longest such time less the host's part of it.
    pub longest_own_blackout_ns: u64,
    /// Turns it had.
    pub turns: u64,
}

/// How a budget fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetReceipt {
    /// The run in each period.
    pub run_ns: u64,
    /// The period.
    pub period_ns: u64,
    /// Periods in which the VM wanted its run and got it.
    pub met_periods: u64,
    /// Periods in which it wanted its run and did not get it all.
    pub missed_periods: u64,
    /// The most that was missing at the end of one.
    pub worst_shortfall_ns: u64,
    /// The longest time from when it could have run on its budget to when it did.
    pub worst_response_ns: u64,
}

/// What became of a link's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkReceipt {
    /// The config's name.
    pub name: String,
    /// Each end.
    pub ends: Vec<EndReceipt>,
}

/// What became of the bytes sent at one end of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndReceipt {
    /// The VM's name.
    pub vm: String,
    /// COM port, from 1, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub com: Option<usize>,
    /// Port of the virtio console, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hvc: Option<usize>,
    /// Bytes the guest handed over.
    pub sent: u64,
    /// Of these, bytes that a peer took.
    pub delivered: u64,
    /// Bytes lost, by reason; reasons that did not occur are left out.
    pub lost: BTreeMap<&'static str, u64>,
}

/// Shares mean something where every VM had work for this many of its turns without a pause: then
/// the turn that was cut short at either end is a small part.
pub const MIN_CONTENDED_TURNS: u64 = 10;

impl Receipt {
    /// The shortest stretch that shares are measured on, turns.
    #[must_use]
    pub fn min_stretch_turns(plan: &Plan) -> u64 {
        MIN_CONTENDED_TURNS * plan.vms.len() as u64
    }

    /// Closes the accounts of a system that ran until `end`; its receipt.
    #[must_use]
    pub fn close<M>(plan: &Plan, system: &mut System<M>, end: Instant) -> Self {
        system.ledger.close(end);
        Self::new(plan, system, end.ns_since(system.ledger.started()))
    }

    /// Every VM ended with status 0, or as its plan takes for success, and lossless links kept
    /// their promise. What a guest does to its own transmitter, or by a wrong rate, does not
    /// break it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.vms.iter().all(|vm| vm.is_success) && self.undelivered_bytes == 0
    }

    /// The receipt of a system whose accounts are closed, after `wall_ns` by the clock.
    #[must_use]
    pub fn new<M>(plan: &Plan, system: &System<M>, wall_ns: u64) -> Self {
        let ledger = &system.ledger;
        let links = plan.links.iter().zip(&system.wires);
        let links: Vec<_> =
            links.map(|(link, wire)| LinkReceipt::new(&link.name, wire, plan)).collect();
        let lossless = plan.links.iter().zip(&links).filter(|(link, _)| !link.is_lossy);
        let lossless_ends = lossless.flat_map(|(_, link)| &link.ends);
        let undelivered = lossless_ends.map(|end| end.lost.get(LossReason::PeerStopped.as_str()));
        Self {
            wall_ns,
            accounted_ns: ledger.core_sum_ns(),
            slice_ns: plan.slice_ns,
            switching_ns: ledger.switching_ns,
            console_ns: ledger.console_ns,
            idle_ns: ledger.idle_ns,
            taken_ns: ledger.taken_ns,
            contended_ns: ledger.contended_ns,
            switches: ledger.switches,
            sibling_switches: ledger.sibling_switches,
            jumps: system.scheduler.jumps(),
            vms: VmIndex::first(plan.vms.len())
                .map(|vm| VmReceipt::new(plan, system, vm))
                .collect(),
            undelivered_bytes: undelivered.flatten().sum(),
            lost_bytes: links.iter().flat_map(|l| &l.ends).flat_map(|e| e.lost.values()).sum(),
            links,
            networks: NetworkReceipt::all(plan, system),
        }
    }

    /// The largest difference between entitled and received share, parts of a million; None where
    /// no stretch was long enough to measure shares on.
    #[must_use]
    pub fn share_error_ppm(&self) -> Option<u64> {
        if self.contended_ns == 0 {
            return None;
        }
        let error = |vm: &VmReceipt| vm.received_ppm.map(|got| got.abs_diff(vm.entitled_ppm));
        self.vms.iter().filter_map(error).max()
    }
}

impl VmReceipt {
    fn new<M>(plan: &Plan, system: &System<M>, vm: VmIndex) -> Self {
        let ledger = &system.ledger;
        let account = &ledger.vms[vm];
        let received_ppm = || {
            let ppm = u128::from(account.contended_ns) * 1_000_000;
            u64::try_from(ppm / u128::from(ledger.contended_ns.max(1))).unwrap_or(u64::MAX)
        };
        let exits = ExitReason::KINDS.iter().zip(account.exits).filter(|(_, count)| *count > 0);
        let ending = system.vms[vm].ending.as_ref();
        Self {
            id: plan.vms[vm].id,
            name: plan.vms[vm].name.clone(),
            ending: ending.map_or_else(|| "running".to_string(), ToString::to_string),
            is_success: ending.is_some_and(|ending| ending.is_success(plan.vms[vm].outcomes)),
            entitled_ppm: plan.entitled_ppm(vm.0),
            received_ppm: match ledger.contended_ns > 0 && plan.vms.len() > 1 {
                true => Some(received_ppm()),
                false => account.budget.as_ref().and_then(BudgetAccount::received_ppm),
            },
            wanted_ns: account.wanted_ns(),
            due_ns: account.due_ns,
            guest_ns: account.guest_ns,
            vmm_ns: account.vmm_ns,
            waiting_ns: account.waiting_ns,
            halted_ns: account.halted_ns,
            held_ns: account.held_ns,
            restarts: account.restarts,
            taken_ns: account.taken_ns,
            longest_blackout_ns: account.longest_blackout_ns,
            longest_blackout_taken_ns: account.longest_blackout_taken_ns,
            longest_own_blackout_ns: account.longest_own_blackout_ns,
            promised_blackout_ns: plan.worst_blackout_ns(vm.0),
            budget: account.budget.as_ref().map(BudgetReceipt::new),
            dropped_ticks: system.vms[vm].machine.dropped_ticks(),
            turns: account.turns,
            exits: exits.map(|(name, count)| (*name, count)).collect(),
            batched: account.batched,
            interrupts: account.interrupts,
            devices: DeviceReceipt::all(&system.vms[vm].machine),
            vcpus: account.vcpus.iter().map(VcpuReceipt::new).collect(),
        }
    }
}

impl VcpuReceipt {
    const fn new(account: &VcpuAccount) -> Self {
        Self {
            guest_ns: account.guest_ns,
            waiting_ns: account.waiting_ns,
            halted_ns: account.halted_ns,
            longest_blackout_ns: account.longest_blackout_ns,
            longest_own_blackout_ns: account.longest_own_blackout_ns,
            turns: account.turns,
        }
    }
}

impl BudgetReceipt {
    const fn new(account: &BudgetAccount) -> Self {
        Self {
            run_ns: account.run_ns,
            period_ns: account.period_ns,
            met_periods: account.met,
            missed_periods: account.missed,
            worst_shortfall_ns: account.worst_shortfall_ns,
            worst_response_ns: account.worst_response_ns,
        }
    }
}

impl LinkReceipt {
    fn new(name: &str, wire: &crate::system::Wire, plan: &Plan) -> Self {
        let end = |(end, (vm, port)): (usize, (VmIndex, LinkedPort))| {
            let statistics = wire.link.statistics(LinkEnd(end));
            let lost = LossReason::ALL.iter().map(|why| (why.as_str(), statistics.lost(*why)));
            let (com, hvc) = match port {
                LinkedPort::Com(com) => (Some(com.number()), None),
                LinkedPort::Hvc(port) => (None, Some(port)),
            };
            EndReceipt {
                vm: plan.vms[vm].name.clone(),
                com,
                hvc,
                sent: statistics.sent,
                delivered: statistics.delivered,
                lost: lost.filter(|(_, count)| *count > 0).collect(),
            }
        };
        Self { name: name.to_string(), ends: wire.ends.iter().enumerate().map(end).collect() }
    }
}
