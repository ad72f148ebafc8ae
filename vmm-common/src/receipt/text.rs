//! The receipt as text, in lines of 80 columns as far as names allow.

use super::{BudgetReceipt, EndReceipt, Receipt, VcpuReceipt, VmReceipt};
use crate::units::{MeasuredTime, Percent};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

const COLUMNS: usize = 80;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ns: u64| Percent(ppm_of(ns, self.wall_ns));
        let core_ns = |vm: &VmReceipt| vm.guest_ns.saturating_add(vm.vmm_ns);
        let vms_ns = self.vms.iter().map(core_ns).fold(0, u64::saturating_add);
        let (wall, slice) = (MeasuredTime(self.wall_ns), MeasuredTime(self.slice_ns));
        writeln!(f, "receipt: {wall} on one core, slices of {slice}")?;
        let accounts = [
            format!("VMs {}", percent(vms_ns)),
            format!("switching {}", percent(self.switching_ns)),
            format!("console {}", percent(self.console_ns)),
            format!("idle {}", percent(self.idle_ns)),
            format!(
                "taken by the host {}: sum {}",
                percent(self.taken_ns),
                percent(self.accounted_ns)
            ),
        ];
        fmt_list("", &accounts, ", ", f)?;
        self.fmt_shares(f)?;
        self.fmt_vms(f)?;
        self.fmt_times(f)?;
        for vm in &self.vms {
            fmt_vm(vm, f)?;
        }
        match self.sibling_switches {
            0 => writeln!(f, "switches from VM to VM: {}", self.switches)?,
            siblings => writeln!(
                f,
                "switches from VM to VM: {}, between vCPUs of a VM: {siblings}",
                self.switches
            )?,
        }
        self.fmt_links(f)
    }
}

impl Receipt {
    /// The last lines of a run on core `core`.
    #[must_use]
    pub fn closing_lines(&self, core: u64) -> String {
        format!("core {core}; {self}")
    }

    fn fmt_shares(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weighted = self.vms.iter().filter(|vm| vm.budget.is_none()).count();
        match self.share_error_ppm() {
            Some(error) => writeln!(
                f,
                "shares: measured on {} in which every VM had work; largest error {}",
                MeasuredTime(self.contended_ns),
                Percent(error)
            ),
            None if self.vms.iter().all(|vm| vm.wanted_ns == 0) => {
                writeln!(f, "shares: not measured, no VM had anything to run")
            }
            None if weighted > 1 => {
                writeln!(f, "shares: VMs had work at different times; see what each was due")
            }
            None => Ok(()),
        }
    }

    fn fmt_vms(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.name_width();
        writeln!(
            f,
            "  {:width$} entitled received   wanted      due      ran blackout promised  turns",
            "vm"
        )?;
        for vm in &self.vms {
            let received =
                vm.received_ppm.map_or_else(|| "-".to_string(), |p| Percent(p).to_string());
            // A budget is not divided by weight, so nothing is due.
            let due = vm
                .budget
                .as_ref()
                .map_or_else(|| MeasuredTime(vm.due_ns).to_string(), |_| "-".into());
            writeln!(
                f,
                "  {:width$} {:>8} {received:>8} {:>8} {due:>8} {:>8} {:>8} {:>8} {:>6}",
                vm.name,
                Percent(vm.entitled_ppm).to_string(),
                MeasuredTime(vm.wanted_ns).to_string(),
                MeasuredTime(vm.guest_ns.saturating_add(vm.vmm_ns)).to_string(),
                MeasuredTime(vm.longest_blackout_ns).to_string(),
                MeasuredTime(vm.promised_blackout_ns).to_string(),
                vm.turns,
            )?;
        }
        Ok(())
    }

    /// Where each VM's time went, and how often its guest was left.
    fn fmt_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.name_width();
        writeln!(
            f,
            "  {:width$}  of core    guest      vmm   halted   waited interrupts batched  exits",
            "vm"
        )?;
        for vm in &self.vms {
            let core_ns = vm.guest_ns.saturating_add(vm.vmm_ns);
            writeln!(
                f,
                "  {:width$} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10} {:>7} {:>6}",
                vm.name,
                Percent(ppm_of(core_ns, self.wall_ns)).to_string(),
                MeasuredTime(vm.guest_ns).to_string(),
                MeasuredTime(vm.vmm_ns).to_string(),
                MeasuredTime(vm.halted_ns).to_string(),
                MeasuredTime(vm.waiting_ns).to_string(),
                vm.interrupts,
                vm.batched,
                vm.exits.values().copied().fold(0, u64::saturating_add),
            )?;
        }
        Ok(())
    }

    fn name_width(&self) -> usize {
        self.vms.iter().map(|vm| vm.name.chars().count()).max().unwrap_or(0).max(4)
    }

    fn fmt_links(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for link in &self.links {
            let mut parts = Vec::new();
            for end in &link.ends {
                let EndReceipt { vm, sent, delivered, .. } = end;
                let (kind, number) = end.com.map_or(("hvc", end.hvc), |com| ("com", Some(com)));
                let number = number.unwrap_or_default();
                let mut part = format!("{vm}.{kind}{number} sent {sent}, delivered {delivered}");
                for (reason, count) in &end.lost {
                    part += &format!(", {count} lost ({reason})");
                }
                parts.push(part);
            }
            fmt_list(&format!("link {}: ", link.name), &parts, ", ", f)?;
        }
        for network in &self.networks {
            writeln!(f, "{network}")?;
        }
        writeln!(f, "bytes lost on links: {}", self.lost_bytes)?;
        match self.undelivered_bytes {
            0 => Ok(()),
            bytes => writeln!(f, "  {bytes} of them on lossless links: their receivers had ended"),
        }
    }
}

/// The lines below the table for one VM.
fn fmt_vm(vm: &VmReceipt, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "{}: {}", vm.name, vm.ending)?;
    if let Some(budget) = &vm.budget {
        fmt_list("  budget: ", &fmt_budget(budget), ", ", f)?;
    }
    match (vm.restarts, vm.held_ns) {
        (0, 0) => {}
        (0, held_ns) => writeln!(f, "  held for {}", MeasuredTime(held_ns))?,
        (times, 0) => writeln!(f, "  restarts: {times}")?,
        (times, held_ns) => {
            writeln!(f, "  restarts: {times}; held for {}", MeasuredTime(held_ns))?;
        }
    }
    fmt_blackout(vm, f)?;
    for (id, vcpu) in vm.vcpus.iter().enumerate() {
        fmt_list(&format!("  vCPU {id}: "), &fmt_vcpu(vcpu), ", ", f)?;
    }
    for device in &vm.devices {
        writeln!(f, "  {device}")?;
    }
    if vm.dropped_ticks > 0 {
        writeln!(f, "  ticks dropped: {}, more than a second late", vm.dropped_ticks)?;
    }
    let kinds: Vec<String> = vm.exits.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    match kinds.is_empty() {
        true => Ok(()),
        false => fmt_list("  exits: ", &kinds, " + ", f),
    }
}

fn fmt_budget(budget: &BudgetReceipt) -> Vec<String> {
    let BudgetReceipt { run_ns, period_ns, met_periods, missed_periods, .. } = *budget;
    let wanted = met_periods.saturating_add(missed_periods);
    let mut parts = alloc::vec![
        format!("{} in every {}", MeasuredTime(run_ns), MeasuredTime(period_ns)),
        format!("wanted in {wanted} periods"),
        format!("got in {met_periods}"),
        format!("missed in {missed_periods}"),
    ];
    if missed_periods > 0 {
        parts.push(format!("short by {} at worst", MeasuredTime(budget.worst_shortfall_ns)));
    }
    parts.push(format!("worst response {}", MeasuredTime(budget.worst_response_ns)));
    parts
}

fn fmt_vcpu(vcpu: &VcpuReceipt) -> Vec<String> {
    if vcpu.turns == 0 {
        return alloc::vec![String::from("never ran")];
    }
    let turns = if vcpu.turns == 1 { "turn" } else { "turns" };
    alloc::vec![
        format!("guest {}", MeasuredTime(vcpu.guest_ns)),
        format!("halted {}", MeasuredTime(vcpu.halted_ns)),
        format!("waited {}", MeasuredTime(vcpu.waiting_ns)),
        format!("longest wait {}", MeasuredTime(vcpu.longest_blackout_ns)),
        format!("{} {turns}", vcpu.turns),
    ]
}

/// A blackout that was longer than promised, with the host's part in it.
fn fmt_blackout(vm: &VmReceipt, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let promised = MeasuredTime(vm.promised_blackout_ns);
    if vm.longest_own_blackout_ns > vm.promised_blackout_ns {
        let own = MeasuredTime(vm.longest_own_blackout_ns);
        writeln!(f, "  blackout: {own} without the host's part, where {promised} was promised")
    } else if vm.longest_blackout_ns > vm.promised_blackout_ns {
        let (longest, taken) =
            (MeasuredTime(vm.longest_blackout_ns), MeasuredTime(vm.longest_blackout_taken_ns));
        writeln!(f, "  blackout: {taken} of the {longest} taken by the host; promise kept")
    } else {
        Ok(())
    }
}

/// `parts` behind `lead`, on as many lines as it takes.
fn fmt_list(
    lead: &str,
    parts: &[String],
    separator: &str,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    const INDENT: &str = "    ";
    let mut line = String::from(lead);
    let mut is_first = true;
    for (index, part) in parts.iter().enumerate() {
        let separator = if index + 1 < parts.len() { separator } else { "" };
        let piece = format!("{part}{separator}");
        let length = line.chars().count() + piece.trim_end().chars().count();
        if length > COLUMNS && !is_first {
            writeln!(f, "{}", line.trim_end())?;
            line = String::from(INDENT);
        }
        line += &piece;
        is_first = false;
    }
    writeln!(f, "{}", line.trim_end())
}

fn ppm_of(part: u64, whole: u64) -> u64 {
    let ppm = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    u64::try_from(ppm).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
