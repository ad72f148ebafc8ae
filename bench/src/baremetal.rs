//! What the bare-metal hypervisor costs, counted in instructions.
//!
//! ```text
//! a config --bochs--> Run { receipt, memory } --arithmetic--> Line --section--> BENCHMARKS.md
//!                                      the tree --sources--'
//! ```
//!
//! Bochs's clock is its instruction counter, so that the times of a receipt are numbers of
//! instructions and a second run gives the same ones. The hypervisor cannot see where its own entry
//! begins, so what an exit or a switch takes does not rest on its accounts of itself: it is the
//! difference of the whole time of two runs whose guests execute the same instructions, but for
//! what is to be measured. What caches and TLBs cost is not among it.

use self::arithmetic::{
    blackout, memory_kib, more_exits, more_instructions, more_sibling_switches, per_exit,
    per_switch, share_error,
};
use self::counting::{Counting, Run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use xtask::emulate::Emulator;

pub mod arithmetic;
pub mod counting;
pub mod operations;

pub mod section;
pub mod sources;

/// One line of the section.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// The figures.
    pub figures: Figures,
    /// The most they may be; None: they are there to be known.
    pub most: Option<f64>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Figures {
    /// On VMX and on SVM; None: the hypervisor does not tell.
    Each([Option<f64>; 2]),
    /// Of the program, whichever processor it runs on.
    Common(f64),
}

/// Processors as Bochs names them, None for its default: one with VMX and one with SVM.
const CPUS: [Option<&str>; 2] = [None, Some("ryzen")];

type Measure = fn(&Counting) -> Result<Option<f64>>;

/// What is measured, the most it may be, and how.
const MEASURED: [(&str, Option<f64>, Measure); 16] = [
    ("CPUID exit, exit to entry", Some(300.0), |bochs| exit(bochs, "cpuid", 4)),
    ("UART register written, exit to entry", Some(500.0), |bochs| exit(bochs, "", 3)),
    ("switch between 2 VMs", Some(900.0), |bochs| switch(bochs, 2)),
    ("switch between 8 VMs", Some(900.0), |bochs| switch(bochs, 8)),
    ("switch between 32 VMs", Some(900.0), |bochs| switch(bochs, 32)),
    ("switch between 64 VMs", Some(900.0), |bochs| switch(bochs, 64)),
    ("IPI between two vCPUs and back", None, |bochs| siblings(bochs, "", more_instructions)),
    ("switches for it", Some(2.0), |bochs| siblings(bochs, "", more_sibling_switches)),
    ("exits for it", Some(4.0), |bochs| siblings(bochs, "", more_exits)),
    ("lock of two vCPUs taken by each, switches for a hand-over", Some(1.5), |bochs| {
        Ok(siblings(bochs, "lock", more_sibling_switches)?.map(|switches| switches / 2.0))
    }),
    ("share error of two VMs, per cent", Some(1.0), |bochs| {
        share_error(&bochs.run(&spinning(&[1, 1]))?).map(Some)
    }),
    ("share error of weights 1:2:4, per cent", Some(1.0), |bochs| {
        share_error(&bochs.run(&spinning(&[1, 2, 4]))?).map(Some)
    }),
    ("longest blackout of two VMs / the other's slice", Some(1.05), |bochs| {
        Ok(Some(blackout(&bochs.run(&spinning(&[1, 1]))?)))
    }),
    ("longest blackout of weights 1:2:4 / sum of the others' slices", Some(1.05), |bochs| {
        Ok(Some(blackout(&bochs.run(&spinning(&[1, 2, 4]))?)))
    }),
    ("memory for each VM beyond its RAM, KiB", Some(256.0), |bochs| {
        Ok(memory(bochs)?.map(|(each, _)| each))
    }),
    ("memory besides, KiB", None, |bochs| Ok(memory(bochs)?.map(|(_, fixed)| fixed))),
];

/// The crates whose code runs at the processor's highest privilege.
const PRIVILEGED: [&str; 4] = ["metal/src", "vmm-baremetal/src", "vmm-common/src", "devices/src"];
const MOST_PRIVILEGED_LINES: f64 = 6000.0;
const MOST_IMAGE_KIB: f64 = 1024.0;

/// Measures everything; `report` gets each line as soon as it is measured.
///
/// # Errors
/// The hypervisor cannot be built or Bochs cannot be run, or a run failed.
pub fn measure(mut report: impl FnMut(&Line)) -> Result<Vec<Line>> {
    let kernel = xtask::hypervisor::build()?;
    let machines = CPUS.map(|cpu| Counting::new(&kernel, Emulator::Bochs, cpu));
    let mut lines = Vec::new();
    let mut add = |line: Line| {
        report(&line);
        lines.push(line);
    };
    for (what, most, measure) in MEASURED {
        let mut figures = [None; 2];
        for (figure, bochs) in figures.iter_mut().zip(&machines) {
            *figure = measure(bochs).with_context(|| format!("{what}, on {}", bochs.name()))?;
        }
        add(Line { what: what.to_string(), figures: Figures::Each(figures), most });
    }
    for line in program(&kernel)? {
        add(line);
    }
    Ok(lines)
}

/// Counts single operations beside what Linux's KVM takes; `report` gets each as soon as it is
/// counted.
///
/// # Errors
/// As [`measure`].
pub fn operations(report: impl FnMut(&operations::Counted)) -> Result<Vec<operations::Counted>> {
    operations::count(&xtask::hypervisor::build()?, report)
}

/// One exit to the hypervisor and back, of a kind that `exit_storm` has and makes with `own`
/// instructions a round.
fn exit(bochs: &Counting, kind: &str, own: u64) -> Result<Option<f64>> {
    /// Rounds of both runs: in one slice, with as many digits.
    const ROUNDS: [u64; 2] = [1000, 5000];
    let config = |rounds: u64| config("1s", &[1], &format!("exit_storm, cmdline: {rounds} {kind}"));
    let runs = (bochs.run(&config(ROUNDS[0]))?, bochs.run(&config(ROUNDS[1]))?);
    per_exit(&runs.0, &runs.1, ROUNDS[1] - ROUNDS[0], own).map(Some)
}

/// One switch among `vms` VMs, none of which stops by itself.
fn switch(bochs: &Counting, vms: usize) -> Result<Option<f64>> {
    let (seldom, often) = (bochs.run(&counting("1s", vms))?, bochs.run(&counting("1ms", vms))?);
    per_switch(&seldom, &often).map(Some)
}

/// What a round of two vCPUs takes, alone within one slice.
fn siblings(bochs: &Counting, word: &str, more: impl Fn(&Run, &Run) -> f64) -> Result<Option<f64>> {
    /// Rounds of both runs.
    const ROUNDS: [u64; 2] = [100, 300];
    let run = |rounds: u64| {
        let vm = format!("{{kernel: siblings, cmdline: {rounds} {word}, memory: 4MiB, vcpus: 2}}");
        bochs.run(&format!("slice: 1s\nvms:\n  - {vm}\n"))
    };
    let more = more(&run(ROUNDS[0])?, &run(ROUNDS[1])?);
    Ok(Some(more / (ROUNDS[1] - ROUNDS[0]) as f64))
}

/// KiB for each VM, and besides.
fn memory(bochs: &Counting) -> Result<Option<(f64, f64)>> {
    const MANY: usize = 64;
    let (one, many) = (bochs.run(&counting("1s", 1))?, bochs.run(&counting("1s", MANY))?);
    Ok(one.memory.zip(many.memory).map(|(one, many)| memory_kib(one, many, MANY)))
}

/// VMs that do the same work whatever the clock says.
fn counting(slice: &str, vms: usize) -> String {
    config(slice, &vec![1; vms], "spin, cmdline: 200000 loops")
}

/// VMs that spin for two seconds of the clock.
fn spinning(weights: &[u32]) -> String {
    config("5ms", weights, "spin, cmdline: 2000")
}

/// A VM of 4 MiB for each weight.
fn config(slice: &str, weights: &[u32], kernel: &str) -> String {
    let vm = |weight: &u32| format!("  - {{kernel: {kernel}, memory: 4MiB, weight: {weight}}}\n");
    format!("slice: {slice}\nvms:\n{}", weights.iter().map(vm).collect::<String>())
}

/// The lines of what has privileges, and the size of the kernel.
fn program(kernel: &Path) -> Result<Vec<Line>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let line =
        |what: String, figure: f64, most| Line { what, figures: Figures::Common(figure), most };
    let mut lines = Vec::new();
    let mut sum = 0;
    for folder in PRIVILEGED {
        let count = sources::count(&root.join(folder))?;
        sum += count;
        lines.push(line(format!("code lines of `{folder}`"), count as f64, None));
    }
    lines.push(line("privileged code lines".into(), sum as f64, Some(MOST_PRIVILEGED_LINES)));
    let whole = fs::metadata(kernel).context("the kernel's size")?.len();
    let guests: usize = guests::IMAGES.iter().map(|image| image.bytes.len()).sum();
    ensure!(whole > guests as u64, "the kernel does not hold the built-in guests");
    let kib = (whole - guests as u64) as f64 / 1024.0;
    lines.push(line(
        "the kernel's ELF less its built-in guests, KiB".into(),
        kib,
        Some(MOST_IMAGE_KIB),
    ));
    Ok(lines)
}
