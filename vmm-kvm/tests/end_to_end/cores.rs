//! Cores of VMs that failed: gdb prints of them what the console has printed.

use crate::harness::{Finished, Tandem};
use std::path::PathBuf;
use std::process::Command;
use xtask::{kernels, packages};

/// Runs this kernel with its core in the run's folder; the run and the core.
fn run(kernel: &str, vcpus: u8) -> (Finished, PathBuf) {
    let file = kernels::build().expect("there is a C compiler").join(format!("{kernel}.elf"));
    let vm = format!("name: left, kernel: {}, vcpus: {vcpus}, memory: 4MiB", file.display());
    let run = Tandem::run_text(&format!("vms: [{{{vm}}}]"));
    let folder = run.scratch().path("");
    let run = run.arg("--timeout").arg("2s").arg("--core-dir").arg(folder.to_str().expect("text"));
    (run.finish().ended_with(1).adds_up(), folder.join("left.core"))
}

/// What gdb says of a core.
fn gdb(kernel: &str, core: &PathBuf, command: &str) -> String {
    packages::ensure(packages::GDB).expect("gdb can be installed");
    let file = kernels::build().expect("it was built").join(format!("{kernel}.elf"));
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-ex", command]).arg(file).arg(core);
    let output = gdb.output().expect("it is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The functions of frames, the innermost first.
fn frames(backtrace: &str) -> Vec<&str> {
    let frame = |line: &'_ str| {
        let begin = line.strip_prefix('#').and_then(|_| line.find(" in "))? + " in ".len();
        Some(begin..begin + line[begin..].find(' ')?)
    };
    let mut names: Vec<&str> =
        backtrace.lines().filter_map(|line| frame(line).map(|name| &line[name])).collect();
    // It shows the innermost frame when it opens the core, and with the others again.
    names.remove(0);
    names
}

#[test]
fn gdb_prints_of_a_core_the_call_trace_that_the_console_printed() {
    for kernel in ["write64", "canonical64", "readonly64", "divide32", "segment32"] {
        let (run, core) = run(kernel, 1);
        let lead = "[left]   call trace: ";
        let trace = run.output.lines().find_map(|line| line.strip_prefix(lead));
        let trace = trace.unwrap_or_else(|| panic!("{kernel}: {}", run.shown()));
        let printed: Vec<&str> =
            trace.split(" <- ").filter_map(|frame| frame.split('+').next()).collect();
        let said = gdb(kernel, &core, "bt");
        assert_eq!(frames(&said), printed, "{kernel}: {said}\n{}", run.shown());
        assert!(said.contains(&format!(" at {kernel}.c:")), "{kernel}: {said}");
    }
}

#[test]
fn a_core_has_a_thread_for_each_processor_and_its_memory() {
    let (run, core) = run("locks32", 2);
    let said = gdb("locks32", &core, "thread apply all bt");
    for of in ["flush ()", "evict ()"] {
        assert!(said.contains(&format!(" in {of} at locks32.c:")), "{said}\n{}", run.shown());
    }
    let said = gdb("locks32", &core, "print disk + cache + both_begun");
    assert!(said.contains("$1 = 4"), "both locks are taken, and both have met: {said}");
}

#[test]
fn a_vm_that_ends_well_leaves_no_core_and_a_core_is_sparse() {
    use std::os::unix::fs::MetadataExt;
    let run = Tandem::run_text("vms: [{name: left, cmdline: poweroff}]");
    let folder = run.scratch().path("");
    let run = run.arg("--core-dir").arg(folder.to_str().expect("text")).finish().ended_with(0);
    assert!(!folder.join("left.core").exists(), "{}", run.shown());
    let (_run, core) = self::run("write64", 1);
    let data = std::fs::metadata(core).expect("it was written");
    // The RAM behind a page of headers; of it the kernel has touched little.
    assert_eq!(data.len(), (4 << 20) + 4096);
    assert!(data.blocks() * 512 < data.len() / 4, "{} blocks", data.blocks());
}
