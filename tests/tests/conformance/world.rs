//! The world switch: two VMs with different values in every register, on every target, and once
//! more without VPID and ASID.
//!
//! What is offered depends on the processor, so the lines are not compared across targets. On the
//! bare-metal ones each control block is read back when the guests have run: what it lets its guest
//! reach is what the grant says.

use crate::targets::{Outcome, Target};
use crate::transcript;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vmm_common::cpuid::{self, CpuidFeatures, CpuidResult};
use vmm_common::grant::{Grant, Vendor};

/// At the least, of each VM: switches at hundreds of different points.
const LEAST_TURNS: u64 = 300;
const TARGETS: [Target; 4] = [Target::Kvm, Target::VmxBochs, Target::SvmQemu, Target::SvmBochs];

/// Runs it on every target: no register of a VM ever shows anything but its own value.
pub fn check(config: &str) {
    let tagged = TARGETS.map(|target| (target.name().to_string(), target.run(config, &[])));
    let untagged = TARGETS.into_iter().filter_map(|target| {
        Some((format!("{}, no tags", target.name()), target.run_untagged(config)?))
    });
    let outcomes: Vec<(String, Outcome)> = tagged.into_iter().chain(untagged).collect();
    let columns: Vec<Column> = outcomes.iter().map(|(_, outcome)| Column::of(outcome)).collect();
    let names: Vec<String> = outcomes.iter().map(|(name, _)| name.clone()).collect();
    let table = table(names, &columns);
    println!("{table}");
    for ((name, outcome), column) in outcomes.iter().zip(&columns) {
        let shown = || format!("{name}\n{table}\n{}", outcome.console);
        assert_eq!(outcome.exit, 0, "{}", shown());
        assert_eq!(column.kinds, columns[0].kinds, "{}", shown());
        let is_fine = |verdict: &String| verdict == "PASSED" || verdict == "not offered";
        assert!(column.verdicts.values().all(is_fine), "{}", shown());
        assert!(column.least_turns >= LEAST_TURNS, "{} turns: {}", column.least_turns, shown());
        match Target::BARE.iter().find(|target| name.starts_with(target.name())) {
            Some(target) => check_reaches(*target, outcome),
            None => assert_eq!(name, Target::Kvm.name()),
        }
    }
}

/// Reaches of control blocks that were built and run, against the table that GRANT.md prints.
fn check_reaches(target: Target, outcome: &Outcome) {
    let vendor = if target == Target::VmxBochs { Vendor::Vmx } else { Vendor::Svm };
    let features = CpuidFeatures {
        has_local_apic: true,
        has_tsc_deadline: true,
        tsc_hz: 1_000_000_000,
        processors: 1,
    };
    let everything = |_, _| CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 };
    let grant = Grant::new(vendor, Vec::new(), &cpuid::table(features, everything));
    let granted = serde_json::to_value(grant.reach()).expect("it has no map");
    let number = |value: &Value| value.as_u64().expect("an address");
    let mut hosts: Vec<(u64, u64)> = Vec::new();
    assert_eq!(outcome.reaches.len(), outcome.vms().len(), "{}", outcome.console);
    for reach in &outcome.reaches {
        for part in ["ports", "msr_reads", "msr_writes"] {
            assert_eq!(reach[part], granted[part], "{part} on {}", target.name());
        }
        // A processor may lack a bit that the table has.
        for part in ["cr0", "cr4"] {
            assert_eq!(number(&reach[part]) & !number(&granted[part]), 0, "{part}");
        }
        let ram = reach["ram"].as_array().expect("it is a list");
        let [piece] = ram.as_slice() else { panic!("4 MiB lie below the hole: {ram:?}") };
        assert_eq!(piece["guest"], json!({"start": 0, "end": 4 << 20}));
        hosts.push((number(&piece["host"]), number(&piece["host"]) + (4 << 20)));
    }
    hosts.sort_unstable();
    assert!(hosts.windows(2).all(|pair| pair[0].1 <= pair[1].0), "shared RAM: {hosts:x?}");
}

/// What the VMs of one target say.
struct Column {
    /// In the order of the lines.
    kinds: Vec<String>,
    /// Of a kind: the VMs', if they agree, else the worst.
    verdicts: BTreeMap<String, String>,
    least_turns: u64,
}

impl Column {
    fn of(outcome: &Outcome) -> Self {
        let (mut kinds, mut verdicts) = (Vec::new(), BTreeMap::<String, String>::new());
        for line in outcome.vms().iter().flat_map(|vm| transcript::of(&outcome.console, vm)) {
            let Some((kind, verdict)) = line.strip_prefix("world: ").and_then(split) else {
                continue;
            };
            if !verdicts.contains_key(kind) {
                kinds.push(kind.to_string());
            }
            let known = verdicts.entry(kind.to_string()).or_insert_with(|| verdict.to_string());
            if verdict.starts_with("FAILED") {
                *known = verdict.to_string();
            }
        }
        assert!(!kinds.is_empty(), "no verdicts:\n{}", outcome.console);
        let vms = outcome.receipt["vms"].as_array().expect("a receipt has VMs");
        let turns = vms.iter().filter_map(|vm| vm["turns"].as_u64());
        Self { kinds, verdicts, least_turns: turns.min().unwrap_or(0) }
    }
}

/// The kind of register, which may have spaces, and the verdict.
fn split(line: &str) -> Option<(&str, &str)> {
    let at = ["PASSED", "FAILED", "not offered"].iter().find_map(|word| line.find(word))?;
    Some((line[..at].trim_end(), &line[at..]))
}

/// Kinds down, targets across.
fn table(names: Vec<String>, columns: &[Column]) -> String {
    let row = |kind: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:<22}")).collect();
        format!("{kind:<20}{}\n", cells.trim_end())
    };
    let mut table = row("", names);
    for kind in &columns[0].kinds {
        let verdict = |column: &Column| column.verdicts.get(kind).cloned().unwrap_or_default();
        let word = |verdict: String| verdict.split(" expected").next().unwrap_or("").to_string();
        table += &row(kind, columns.iter().map(verdict).map(word).collect());
    }
    table + &row("least turns", columns.iter().map(|c| c.least_turns.to_string()).collect())
}
