//! `check`, `test` and `bench`: cargo, with what this workspace needs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use xtask::emulate::Emulator;
use xtask::hypervisor;

/// Formatting, lints and links of the docs, of host and of bare-metal code.
pub fn check() -> bool {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    const BARE: &[&str] =
        &["clippy", "-p", "guests", "--features", "bare", "--profile", "bare", "--bins"];
    const HYPERVISOR: &[&str] = &["clippy", "-p", "vmm-baremetal"];
    cargo(&["fmt", "--all", "--check"])
        && cargo(&[&["clippy", "--workspace", "--all-targets"], &DENY[..]].concat())
        && cargo(&[BARE, &DENY[..]].concat())
        && cargo(&[HYPERVISOR, hypervisor::FLAGS, &DENY[..]].concat())
        && cargo(&["doc", "--workspace", "--no-deps", "--quiet"])
}

/// Runs all tests, and adds up what each test program reports.
pub fn test(arguments: &[String]) -> bool {
    for emulator in [Emulator::Qemu, Emulator::Bochs] {
        // The tests that need it will fail; the others need not wait for it.
        if let Err(error) = emulator.ensure() {
            eprintln!("xtask: {error:#}");
        }
    }
    if let Err(error) = xtask::packages::ensure(xtask::packages::TMUX) {
        eprintln!("xtask: {error:#}");
    }
    if let Err(error) = xtask::linux::ensure() {
        eprintln!("xtask: {error:#}");
    }
    if let Err(error) = xtask::guest_files::write() {
        eprintln!("xtask: {error:#}");
    }
    let mut command = hypervisor::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).args(arguments);
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot run cargo: {error}");
            return false;
        }
    };
    let mut sum = Sum::default();
    let stdout = child.stdout.take().expect("it was asked for");
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        println!("{line}");
        sum.add(&line);
    }
    let is_success = child.wait().is_ok_and(|status| status.success());
    let Sum { passed, failed, ignored } = sum;
    println!("\n{passed} passed, {failed} failed, {ignored} skipped");
    is_success && failed == 0 && passed > 0
}

/// Writes the built-in guests as files.
pub fn guests() -> bool {
    match xtask::guest_files::write() {
        Ok(folder) => {
            println!("{}", folder.display());
            true
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            false
        }
    }
}

/// Runs the tests that take too long for every day.
pub fn nightly() -> bool {
    const TEST: [&str; 6] = ["test", "-p", "conformance", "--features", "nightly", "--test"];
    // How often the VMM is killed while a guest writes, in each mode of its disk.
    const KILLS: (&str, &str) = ("TANDEM_KILLS", "200");
    const KILLED: &[&str] =
        &["test", "-p", "vmm-kvm", "--test", "end_to_end", "--", "--nocapture", "killed::"];
    eprintln!("{}={} cargo {}", KILLS.0, KILLS.1, KILLED.join(" "));
    let killed = hypervisor::cargo().args(KILLED).env(KILLS.0, KILLS.1).status();
    cargo(&[&TEST[..], &["conformance", "--", "--nocapture", "nightly_"]].concat())
        && killed.is_ok_and(|status| status.success())
}

/// The table of ratios, and the figures of the bare machine. Whole, either goes into BENCHMARKS.md.
pub fn bench(names: &[String]) -> bool {
    let is_whole = names.is_empty() || names == ["bare"];
    let whole: &[&str] = if is_whole { &["--write", "BENCHMARKS.md"] } else { &[] };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let run: &[&str] = &["run", "--release", "-p", "bench", "--bin", "bench", "--"];
    cargo(&["build", "--release", "-p", "vmm-kvm", "-p", "bench"])
        && cargo(&[run, &names, whole].concat())
}

/// What test programs report, added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sum {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|l| l.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

fn cargo(arguments: &[&str]) -> bool {
    eprintln!("cargo {}", arguments.join(" "));
    hypervisor::cargo().args(arguments).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::Sum;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut sum = Sum::default();
        sum.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        sum.add("running 3 tests");
        sum.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 9 filtered out");
        assert_eq!(sum, Sum { passed: 5, failed: 4, ignored: 1 });
    }
}
