//! `soak`: thousands of short runs beside each other, which is a load. A run may take long only
//! where its receipt says what took the time, and no VM may wait longer than was promised but for
//! the host's part.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use xtask::hypervisor;
use xtask::scratch::Scratch;

/// A run that takes more than so many times the median has to be explained.
const LONG: u64 = 10;
/// A wait of more than so many times what was promised, without the host's part, is a lost
/// preemption.
const LATE: u64 = 4;
/// Only a hang gets here.
const TIMEOUT: &str = "600s";

/// The workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What to run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Soak {
    /// Runs of configs/link.yml and configs/two.yml, in turn
    #[arg(long, default_value_t = 2000)]
    runs: usize,
    /// Then configs/many.yml again and again, for this many seconds
    #[arg(long, default_value_t = 1200)]
    seconds: u64,
    /// Runs at a time [default: two for each core]
    #[arg(long)]
    jobs: Option<usize>,
}

/// A run that is over.
#[derive(Debug)]
struct Run {
    config: &'static str,
    elapsed_ns: u64,
    exit: Option<i32>,
    /// Null where there is none.
    receipt: Value,
    complaint: String,
}

/// Soaks; false if a run was not as it has to be.
pub fn soak(arguments: &Soak) -> bool {
    let scratch = Scratch::new().expect("a folder for temporary files");
    // A copy, so that a build meanwhile changes nothing.
    let program = scratch.path().join("vmm-kvm");
    let built = hypervisor::built("vmm-kvm", &[]).and_then(|from| Ok(fs::copy(from, &program)?));
    if let Err(error) = built {
        eprintln!("xtask: {error:#}");
        return false;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cores = allowed_cores(&status);
    let jobs = arguments.jobs.unwrap_or(2 * cores.len()).max(1);
    println!("{jobs} runs at a time on cores {cores:?}");
    let next = AtomicUsize::new(0);
    let short = |number: &AtomicUsize| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        (number < arguments.runs).then_some(if number.is_multiple_of(2) { "link" } else { "two" })
    };
    let started = Started { program: &program, cores: &cores, jobs };
    let short = started.all(|| short(&next));
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let long = started.all(|| (Instant::now() < end).then_some("many"));
    let are_fine = ["link", "two", "many"].map(|config| {
        let runs = short.iter().chain(&long).filter(|run| run.config == config);
        judge(config, &runs.collect::<Vec<_>>())
    });
    are_fine == [true; 3]
}

/// The numbers in the line of cores that this process may use (proc(5)), as `0-1,4`.
fn allowed_cores(status: &str) -> Vec<u64> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.unwrap_or("0").trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// The program and the load of all runs.
struct Started<'a> {
    program: &'a Path,
    cores: &'a [u64],
    jobs: usize,
}

impl Started<'_> {
    /// Runs what `next` says, `jobs` at a time, divided among the cores.
    fn all(&self, next: impl Fn() -> Option<&'static str> + Sync) -> Vec<Run> {
        let runs = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for core in self.cores.iter().cycle().take(self.jobs) {
                let (next, runs) = (&next, &runs);
                scope.spawn(move || {
                    while let Some(config) = next() {
                        let run = run(self.program, config, *core);
                        let mut runs = runs.lock().expect("no run panics");
                        runs.push(run);
                        if runs.len().is_multiple_of(100) {
                            println!("{} runs", runs.len());
                        }
                    }
                });
            }
        });
        runs.into_inner().expect("no run panics")
    }
}

fn run(program: &Path, config: &'static str, core: u64) -> Run {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let receipt = scratch.path().join("receipt.json");
    let begin = Instant::now();
    let mut command = Command::new(program);
    command.arg(format!("configs/{config}.yml")).arg("--receipt").arg(&receipt);
    command.arg("--core").arg(core.to_string());
    command.args(["--timeout", TIMEOUT]).current_dir(ROOT).stdin(Stdio::null());
    let output = command.output();
    let elapsed_ns = begin.elapsed().as_nanos() as u64;
    let json = fs::read(receipt).unwrap_or_default();
    let (exit, complaint) = match output {
        Ok(output) => {
            (output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
        Err(error) => (None, error.to_string()),
    };
    let receipt = serde_json::from_slice(&json).unwrap_or(Value::Null);
    Run { config, elapsed_ns, exit, receipt, complaint }
}

impl Run {
    fn ns(&self, key: &str) -> u64 {
        self.receipt[key].as_u64().unwrap_or(0)
    }

    /// What is wrong with it, if anything, where the median run took `median_ns`.
    fn fault(&self, median_ns: u64) -> Option<String> {
        if self.exit != Some(0) {
            return Some(format!("exit code {:?}: {}", self.exit, self.complaint));
        }
        if self.ns("lost_bytes") > 0 {
            return Some(format!("{} bytes lost", self.ns("lost_bytes")));
        }
        if self.ns("accounted_ns").abs_diff(self.ns("wall_ns")) > self.ns("wall_ns") / 100 + 1 {
            return Some("the accounts do not add up".to_owned());
        }
        let explained_ns = self.ns("taken_ns");
        if self.elapsed_ns.saturating_sub(explained_ns) > LONG * median_ns {
            let (all, wall) = (seconds(self.elapsed_ns), seconds(self.ns("wall_ns")));
            let taken = seconds(explained_ns);
            return Some(format!(
                "took {all} s, {wall} s by its receipt, {taken} s of it the host's"
            ));
        }
        self.waits().find_map(|(vm, own, promised)| {
            (own > LATE * promised).then(|| {
                let (own, promised) = (seconds(own), seconds(promised));
                format!("{vm} waited {own} s without the host, where {promised} s is")
            })
        })
    }

    /// The name of each VM with a promise, its longest wait less the host's part, and what was
    /// promised, ns.
    fn waits(&self) -> impl Iterator<Item = (&Value, u64, u64)> {
        let vms = self.receipt["vms"].as_array().map(Vec::as_slice).unwrap_or_default();
        vms.iter().filter_map(|vm| {
            let ns = |key: &str| vm[key].as_u64().unwrap_or(0);
            let (own, promised) = (ns("longest_own_blackout_ns"), ns("promised_blackout_ns"));
            (promised > 0).then_some((&vm["name"], own, promised))
        })
    }
}

fn judge(config: &str, runs: &[&Run]) -> bool {
    let mut elapsed: Vec<u64> = runs.iter().map(|run| run.elapsed_ns).collect();
    elapsed.sort_unstable();
    let Some(&median_ns) = elapsed.get(elapsed.len() / 2) else { return true };
    let faults: Vec<String> = runs.iter().filter_map(|run| run.fault(median_ns)).collect();
    let long = elapsed.iter().filter(|ns| **ns > LONG * median_ns).count();
    let taken = runs.iter().map(|run| run.ns("taken_ns")).max().unwrap_or(0);
    let waits = runs.iter().flat_map(|run| run.waits());
    let waited = waits.map(|(_, own, promised)| own * 100 / promised).max().unwrap_or(0);
    println!(
        "{config}: {} runs, median {} s, longest {} s, {long} over {LONG} medians; the most that \
         the host took of one: {} s; the longest wait without it: {waited} % of what was \
         promised; {} at fault",
        runs.len(),
        seconds(median_ns),
        seconds(*elapsed.last().unwrap_or(&0)),
        seconds(taken),
        faults.len()
    );
    for fault in &faults {
        println!("  {fault}");
    }
    faults.is_empty()
}

fn seconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(elapsed_ns: u64, receipt: Value) -> Run {
        Run { config: "two", elapsed_ns, exit: Some(0), receipt, complaint: String::new() }
    }

    #[test]
    fn a_long_run_is_a_fault_unless_the_host_took_the_time() {
        let receipt =
            |taken_ns: u64| json!({"wall_ns": 900, "accounted_ns": 900, "taken_ns": taken_ns});
        assert_eq!(run(1000, receipt(0)).fault(100), None);
        assert!(run(1101, receipt(0)).fault(100).is_some_and(|fault| fault.starts_with("took")));
        assert_eq!(run(1101, receipt(101)).fault(100), None);
    }

    #[test]
    fn a_vm_that_waits_far_longer_than_promised_is_one() {
        let receipt = |own_ns: u64| {
            let own = ("longest_own_blackout_ns", json!(own_ns));
            let promised = ("promised_blackout_ns", json!(10));
            let vm = [own, promised].map(|(key, value)| (key.into(), value));
            json!({"vms": [serde_json::Map::from_iter(vm)]})
        };
        assert_eq!(run(1, receipt(40)).fault(100), None);
        assert!(run(1, receipt(41)).fault(100).is_some_and(|fault| fault.contains("waited")));
    }

    #[test]
    fn cores_are_read_from_their_list() {
        let cores = |list: &str| allowed_cores(&format!("Name:\tx\nCpus_allowed_list:\t{list}\n"));
        assert_eq!(cores("0-1,4"), [0, 1, 4]);
        assert_eq!(cores("3"), [3]);
        assert_eq!(allowed_cores(""), [0]);
    }

    #[test]
    fn loss_and_a_failure_are_ones() {
        assert!(run(1, json!({"lost_bytes": 1})).fault(100).is_some());
        let failed = Run { exit: Some(1), ..run(1, json!({})) };
        assert!(failed.fault(100).is_some());
        assert!(run(1, json!({"wall_ns": 1000, "accounted_ns": 900})).fault(100).is_some());
    }
}
