//! "One core" holds while a run lasts, whatever an operator does to its threads.

use crate::harness::{Signal, Tandem};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::path::Path;

const SPINNERS: &str = "
vms:
  - &spinner {name: left, kernel: spin, cmdline: forever, memory: 8MiB, com2: {link: wire}}
  - {<<: *spinner, name: right}
links: [{name: wire, tap: wire.tap}]
";

/// The thread of a process that has this name.
fn thread_of(process: u32, name: &str) -> Pid {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let is_named =
        |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let found = threads.flatten().find(|thread| is_named(&thread.path()));
    let found = found.unwrap_or_else(|| panic!("{process} has no thread {name}"));
    let id = found.file_name().to_string_lossy().parse().expect("threads have numbers");
    Pid::from_raw(id).expect("it is no group")
}

fn cores_of(thread: Pid) -> Vec<usize> {
    let set = sched_getaffinity(Some(thread)).expect("it runs");
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Needs two cores: on one alone no thread can be moved.
#[test]
fn threads_that_are_moved_to_another_core_are_put_back_and_it_is_reported() {
    let cores = vmm_kvm::sys::allowed_cores().expect("the allowed cores");
    if cores.len() < 2 {
        return;
    }
    let running = Tandem::run_text(SPINNERS).start();
    running.shows("left  | spin: for ever").shows("right | spin: for ever");
    let home = cores_of(thread_of(running.pid(), "left.0"));
    let other = cores.iter().find(|core| home != [**core as usize]).expect("there are two");
    let mut set = CpuSet::new();
    set.set(*other as usize);
    for name in ["right.0", "files"] {
        let thread = thread_of(running.pid(), name);
        sched_setaffinity(Some(thread), &set).expect("it is ours");
        let (from, to) = (home[0], other);
        running.shows(&format!(
            " thread {name} was moved from core {from} to core {to}; put back on core {from}]"
        ));
        assert_eq!(cores_of(thread), home);
    }
    running.receives(Signal::TERM);
    let run = running.finish().ended_with(143).adds_up();
    run.complains(&format!("moves of threads to other cores: 2; all are on core {}", home[0]));
}
