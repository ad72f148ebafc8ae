//! The receipt at the end of every run: who was entitled to what, who received what, and what became
//! of every byte on the links. The same values print as text and serialize for machines.

use crate::plan::Plan;
use crate::seam::ExitReason;
use crate::system::System;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use devices::link::LossReason;
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
    /// Nobody could run.
    pub idle_ns: u64,
    /// Core time in long stretches in which every VM had work: what shares are measured on.
    pub contended_ns: u64,
    /// Handovers from one VM to another.
    pub switches: u64,
    /// Each VM.
    pub vms: Vec<VmReceipt>,
    /// Each link.
    pub links: Vec<LinkReceipt>,
    /// Bytes lost on links, for whatever reason.
    pub lost_bytes: u64,
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
    /// The share it received then; None if there was no such stretch.
    pub received_ppm: Option<u64>,
    /// Guest instructions ran.
    pub guest_ns: u64,
    /// The VMM worked for it.
    pub vmm_ns: u64,
    /// It could have run, but others had the core.
    pub waiting_ns: u64,
    /// It had nothing to do.
    pub halted_ns: u64,
    /// The longest time it could have run but others had the core.
    pub longest_blackout_ns: u64,
    /// Turns it had.
    pub turns: u64,
    /// Times the guest was left, by reason; reasons that did not occur are left out.
    pub exits: BTreeMap<&'static str, u64>,
    /// Accesses served without leaving the guest once more.
    pub batched: u64,
    /// Interrupts injected.
    pub interrupts: u64,
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
    /// COM port, from 1.
    pub com: usize,
    /// Bytes the guest handed over.
    pub sent: u64,
    /// Of these, bytes that a peer took.
    pub delivered: u64,
    /// Bytes lost, by reason; reasons that did not occur are left out.
    pub lost: BTreeMap<&'static str, u64>,
}

/// Shares mean something where every VM had work for this many of its turns without a pause: then the
/// turn that was cut short at either end is a small part.
pub const MIN_CONTENDED_TURNS: u64 = 10;

impl Receipt {
    /// The shortest stretch that shares are measured on, turns.
    #[must_use]
    pub fn min_stretch_turns(plan: &Plan) -> u64 {
        MIN_CONTENDED_TURNS * plan.vms.len() as u64
    }

    /// The receipt of a system whose accounts are closed, after `wall_ns` by the clock.
    #[must_use]
    pub fn new(plan: &Plan, system: &System, wall_ns: u64) -> Self {
        let ledger = &system.ledger;
        let links = plan.links.iter().zip(&system.wires);
        let links: Vec<_> =
            links.map(|(link, wire)| LinkReceipt::new(&link.name, wire, plan)).collect();
        Self {
            wall_ns,
            accounted_ns: ledger.core_sum_ns(),
            slice_ns: plan.slice_ns,
            switching_ns: ledger.switching_ns,
            idle_ns: ledger.idle_ns,
            contended_ns: ledger.contended_ns,
            switches: ledger.switches,
            vms: (0..plan.vms.len()).map(|vm| VmReceipt::new(plan, system, vm)).collect(),
            lost_bytes: links.iter().flat_map(|l| &l.ends).flat_map(|e| e.lost.values()).sum(),
            links,
        }
    }

    /// The largest difference between entitled and received share, parts of a million.
    #[must_use]
    pub fn share_error_ppm(&self) -> Option<u64> {
        let error = |vm: &VmReceipt| vm.received_ppm.map(|got| got.abs_diff(vm.entitled_ppm));
        self.vms.iter().filter_map(error).max()
    }
}

impl VmReceipt {
    fn new(plan: &Plan, system: &System, vm: usize) -> Self {
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
            entitled_ppm: plan.entitled_ppm(vm),
            received_ppm: (ledger.contended_ns > 0 && plan.vms.len() > 1).then(received_ppm),
            guest_ns: account.guest_ns,
            vmm_ns: account.vmm_ns,
            waiting_ns: account.waiting_ns,
            halted_ns: account.halted_ns,
            longest_blackout_ns: account.longest_blackout_ns,
            turns: account.turns,
            exits: exits.map(|(name, count)| (*name, count)).collect(),
            batched: account.batched,
            interrupts: account.interrupts,
        }
    }
}

impl LinkReceipt {
    fn new(name: &str, wire: &crate::system::Wire, plan: &Plan) -> Self {
        let end = |(end, (vm, port)): (usize, &(usize, usize))| {
            let statistics = wire.link.statistics(end);
            let lost = LossReason::ALL.iter().map(|why| (why.as_str(), statistics.lost(*why)));
            EndReceipt {
                vm: plan.vms[*vm].name.clone(),
                com: port + 1,
                sent: statistics.sent,
                delivered: statistics.delivered,
                lost: lost.filter(|(_, count)| *count > 0).collect(),
            }
        };
        Self { name: name.to_string(), ends: wire.ends.iter().enumerate().map(end).collect() }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ns: u64| Ppm(ppm_of(ns, self.wall_ns));
        let core_ns = |vm: &VmReceipt| vm.guest_ns.saturating_add(vm.vmm_ns);
        let vms_ns = self.vms.iter().map(core_ns).fold(0, u64::saturating_add);
        writeln!(
            f,
            "receipt: {} on one core, slices of {}: VMs {}, switching {}, idle {}; accounted for {}",
            Time(self.wall_ns),
            Time(self.slice_ns),
            percent(vms_ns),
            percent(self.switching_ns),
            percent(self.idle_ns),
            percent(self.accounted_ns),
        )?;
        match self.share_error_ppm() {
            Some(error) => writeln!(
                f,
                "shares: measured on {} in which every VM had work all the time; largest error {}",
                Time(self.contended_ns),
                Ppm(error)
            )?,
            None => {
                writeln!(f, "shares: not measured, some VM always had nothing to do before long")?;
            }
        }
        self.fmt_vms(f)?;
        self.fmt_exits(f)?;
        self.fmt_links(f)
    }
}

impl Receipt {
    fn fmt_vms(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.vms.iter().map(|vm| vm.name.len()).max().unwrap_or(0).max(4);
        writeln!(
            f,
            "  {:width$} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}  ended",
            "vm", "entitled", "received", "guest", "vmm", "waiting", "halted", "blackout", "turns"
        )?;
        for vm in &self.vms {
            let received = vm.received_ppm.map_or_else(|| "-".to_string(), |p| Ppm(p).to_string());
            writeln!(
                f,
                "  {:width$} {:>8} {received:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}  {}",
                vm.name,
                Ppm(vm.entitled_ppm).to_string(),
                Time(vm.guest_ns).to_string(),
                Time(vm.vmm_ns).to_string(),
                Time(vm.waiting_ns).to_string(),
                Time(vm.halted_ns).to_string(),
                Time(vm.longest_blackout_ns).to_string(),
                vm.turns,
                vm.ending
            )?;
        }
        Ok(())
    }

    fn fmt_exits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "switches from VM to VM: {}; exits:", self.switches)?;
        for vm in &self.vms {
            let exits = vm.exits.values().copied().fold(0, u64::saturating_add);
            write!(f, "  {}: {exits}", vm.name)?;
            let mut separator = " = ";
            for (name, count) in &vm.exits {
                write!(f, "{separator}{count} {name}")?;
                separator = " + ";
            }
            writeln!(f, "; {} batched accesses, {} interrupts", vm.batched, vm.interrupts)?;
        }
        Ok(())
    }

    fn fmt_links(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for link in &self.links {
            write!(f, "link {}:", link.name)?;
            for (index, end) in link.ends.iter().enumerate() {
                let separator = if index == 0 { " " } else { ", " };
                let EndReceipt { vm, com, sent, delivered, lost } = end;
                write!(f, "{separator}{vm}.com{com} sent {sent}, delivered {delivered}")?;
                for (reason, count) in lost {
                    write!(f, ", {count} lost ({reason})")?;
                }
            }
            writeln!(f)?;
        }
        writeln!(f, "bytes lost on links: {}", self.lost_bytes)
    }
}

fn ppm_of(part: u64, whole: u64) -> u64 {
    let ppm = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    u64::try_from(ppm).unwrap_or(u64::MAX)
}

/// Parts of a million, printed as per cent.
struct Ppm(u64);

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0.saturating_add(50) / 100;
        write!(f, "{}.{:02}%", hundredths / 100, hundredths % 100)
    }
}

/// Nanoseconds, printed with three or four digits and the unit that fits.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns @ 0..1_000 => write!(f, "{ns}ns"),
            ns @ 1_000..1_000_000 => write!(f, "{}.{}us", ns / 1_000, ns / 100 % 10),
            ns @ 1_000_000..1_000_000_000 => {
                write!(f, "{}.{:02}ms", ns / 1_000_000, ns / 10_000 % 100)
            }
            ns => write!(f, "{}.{:03}s", ns / 1_000_000_000, ns / 1_000_000 % 1_000),
        }
    }
}
