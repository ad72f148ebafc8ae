//! What developers run, as `cargo xtask COMMAND`.
//!
//! | command | what it does |
//! |---|---|
//! | `check` | formatting, lints of host and bare-metal code |
//! | `test`  | all tests, with one summary at the end |
//! | `bench [NAME...]` | the table of ratios; without names also into BENCHMARKS.md |

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str = "usage: cargo xtask check | test [ARGUMENTS OF cargo test] | bench [NAME...]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let is_done = match arguments.split_first() {
        Some((&"check", [])) => check(),
        Some((&"test", rest)) => test(rest),
        Some((&"bench", names)) => bench(names),
        Some(_) | None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check() -> bool {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    const BARE: &[&str] =
        &["clippy", "-p", "guests", "--features", "bare", "--profile", "bare", "--bins"];
    cargo(&["fmt", "--all", "--check"])
        && cargo(&[&["clippy", "--workspace", "--all-targets"], &DENY[..]].concat())
        && cargo(&[BARE, &DENY[..]].concat())
}

/// Runs all tests, and adds up what each test program reports.
fn test(arguments: &[&str]) -> bool {
    let command = [&["test", "--workspace", "--no-fail-fast"], arguments].concat();
    let child = cargo_command(&command).stdout(Stdio::piped()).spawn();
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

fn bench(names: &[&str]) -> bool {
    let whole: &[&str] = if names.is_empty() { &["--write", "BENCHMARKS.md"] } else { &[] };
    let run: &[&str] = &["run", "--release", "-p", "bench", "--bin", "bench", "--"];
    cargo(&["build", "--release", "-p", "vmm-kvm", "-p", "bench"])
        && cargo(&[run, names, whole].concat())
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
    cargo_command(arguments).status().is_ok_and(|status| status.success())
}

fn cargo_command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command
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
