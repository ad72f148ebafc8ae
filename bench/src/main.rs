//! Runs all lines, or those whose names begin with the arguments, and prints the table; with
//! `--write FILE` also as Markdown. `bare` is the section of the bare machine: without other lines
//! it alone is written anew.

use anyhow::{Context, Result};
use bench::baremetal::section::{operation_text, said, section, with_section, with_table};
use bench::baremetal::{self, section};
use bench::disks;
use bench::lines::{self, Line, Target};
use bench::networks;
use bench::process::Workplace;
use bench::readers;
use std::fmt::Write;
use std::process::ExitCode;

type Measure = fn(u64, &Workplace) -> Result<Vec<Line>>;

/// Every line by name.
const LINES: [(&str, Measure); 20] = [
    ("exit", |core, _| lines::port_exit(core).map(one)),
    ("console", |core, _| lines::console(core).map(one)),
    ("hvc", |core, _| lines::hvc(core).map(one)),
    ("reader", |core, _| readers::slow_reader(core).map(one)),
    ("disk", |core, _| disks::reads(core).map(one)),
    ("network", |core, _| networks::transfers(core)),
    ("tcp", |_, _| networks::linux()),
    ("poll", |core, _| lines::round_trip(core, "", 1.2).map(one)),
    ("irq", |core, _| lines::round_trip(core, "irq", 1.1).map(one)),
    ("bulk", |core, _| lines::bulk(core).map(one)),
    ("duplex", |core, _| [1, 5, 10, 30].into_iter().map(|ms| lines::duplex(core, ms)).collect()),
    ("handover", |core, _| lines::hand_over(core).map(one)),
    ("preemption", |core, _| lines::preemption(core).map(one)),
    ("two", |core, _| lines::shares(core, &[1, 1], 4)),
    ("weights", |core, _| lines::shares(core, &[1, 2, 4], 4)),
    ("quarter", |core, _| lines::work_shares(core)),
    ("many", |core, _| lines::shares(core, &[1; 32], 8)),
    ("start", |_, workplace| lines::starts(workplace)),
    ("further", |_, workplace| lines::further_vm(workplace).map(one)),
    ("memory", |_, workplace| lines::memory(workplace).map(one)),
];

fn one(line: Line) -> Vec<Line> {
    vec![line]
}

fn main() -> Result<ExitCode> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let write_to = names.iter().position(|name| name == "--write").map(|at| {
        names.remove(at);
        if at < names.len() { names.remove(at) } else { "BENCHMARKS.md".to_string() }
    });
    let is_wanted = |name: &str| {
        names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted.as_str()))
    };
    let wanted = LINES.into_iter().filter(|(name, _)| is_wanted(name)).collect::<Vec<_>>();
    let table = if wanted.is_empty() { Vec::new() } else { measure(&wanted)? };
    let section = if is_wanted("bare") {
        let operations = baremetal::operations(|counted| print!("{}", operation_text(counted)));
        let operations = operations.context("bare")?;
        let lines = baremetal::measure(|line| print!("{}", section::text(line)));
        Some(section(&lines.context("bare")?, &operations))
    } else {
        None
    };
    if let Some(path) = write_to {
        let mut page = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        if !table.is_empty() {
            page = with_table(&page, &markdown(&table)?);
        }
        if let Some(section) = section {
            page = with_section(&page, &section);
        }
        std::fs::write(&path, page).with_context(|| path)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(wanted: &[(&str, Measure)]) -> Result<Vec<Line>> {
    let cores = vmm_kvm::sys::allowed_cores().context("the allowed cores")?;
    let core = *cores.last().context("a core")?;
    vmm_kvm::sys::pin_to(core)?;
    let workplace = Workplace::new()?;
    let mut table = Vec::new();
    for (name, measure) in wanted {
        for line in measure(core, &workplace).with_context(|| name.to_string())? {
            print!("{}", text(&line));
            table.push(line);
        }
    }
    Ok(table)
}

fn text(line: &Line) -> String {
    let Line { what, ours, floor, figure, .. } = line;
    let (target, verdict) = (target(line), verdict(line));
    format!("{what:72} {ours:>16} {floor:>16} {figure:>7.3} {target:>8} {verdict}\n")
}

fn target(line: &Line) -> String {
    match line.target {
        Target::AtMost(most) => format!("<= {most}"),
        Target::AtLeast(least) => format!(">= {least}"),
    }
}

fn verdict(line: &Line) -> &'static str {
    if line.target.is_met(line.figure) { "met" } else { "missed" }
}

fn markdown(table: &[Line]) -> Result<String> {
    let mut page = String::from("# Benchmarks\n\n");
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name"));
    let processor = processor.map_or("?", |name| name.trim_matches([' ', '\t', ':']));
    writeln!(
        page,
        "Made by `cargo xtask bench` on {}, commit {}, on {processor}, Linux {}. Ours and the \
        floor are measured in turn in one run on one core; compare ratios, not absolutes.\n",
        said("date", &["-u", "+%Y-%m-%d"]),
        said("git", &["rev-parse", "--short=10", "HEAD"]),
        said("uname", &["-r"]),
    )?;
    writeln!(page, "| what / floor | Tandem | floor | figure | target | |")?;
    writeln!(page, "|---|---:|---:|---:|---:|---|")?;
    for line in table {
        let Line { what, ours, floor, figure, .. } = line;
        let (target, verdict) = (target(line), verdict(line));
        writeln!(page, "| {what} | {ours} | {floor} | {figure:.3} | {target} | {verdict} |")?;
    }
    Ok(page)
}
