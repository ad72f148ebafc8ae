//! What a run gives up before its first guest runs, as the kernel reports it of each thread.

use crate::harness::{Running, Signal, Tandem, config, with_mounts};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A user other than root, who has no account.
const USER: &str = "64321";

const TAPPED: &str = "
vms:
  - &vm {name: one, kernel: spin, cmdline: forever, memory: 32MiB, com2: {link: wire}}
  - {<<: *vm, name: two}
links: [{name: wire, tap: wire.tap}]
";

/// Each thread of a process: its name, and what /proc says of it.
fn threads_of(process: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    let name = |status: &str| status.lines().next().unwrap_or("").replace("Name:\t", "");
    tasks.flatten().filter_map(status).map(|status| (name(&status), status)).collect()
}

fn check_confined(running: &Running) {
    let threads = threads_of(running.pid());
    assert!(threads.len() >= 3, "{threads:?}");
    for (name, status) in threads {
        let lines: Vec<&str> = status.lines().collect();
        let is_there = |line: &str| lines.contains(&line);
        assert!(is_there("NoNewPrivs:\t1"), "{name}: {status}");
        assert!(is_there("Seccomp:\t2"), "{name}: {status}");
        // The main thread, whose name is the program's, may have to write where only root may.
        let is_main = name == "vmm-kvm";
        assert!(is_main || is_there("CapEff:\t0000000000000000"), "{name}: {status}");
        assert!(is_main || is_there("CapPrm:\t0000000000000000"), "{name}: {status}");
    }
}

#[test]
fn every_thread_runs_with_the_rights_it_needs_and_no_more() {
    let logs = |run: Tandem| {
        let logs = run.scratch().directory("logs");
        run.arg("--log-dir").arg(logs)
    };
    let running = logs(Tandem::run_text(TAPPED)).start();
    running.shows("one | spin: for ever").shows("two | spin: for ever");
    check_confined(&running);
    running.receives(Signal::TERM);
    running.finish().ended_with(143).complains_of_nothing().adds_up();
}

#[test]
fn what_guests_keep_in_ram_is_in_no_core_dump() {
    let running = Tandem::run_text(TAPPED).start();
    running.shows("one | spin: for ever").shows("two | spin: for ever");
    let maps = fs::read_to_string(format!("/proc/{}/smaps", running.pid())).expect("it runs");
    let mut size_kib = 0;
    let mut guests = 0;
    for line in maps.lines() {
        if let Some(size) = line.strip_prefix("Size:") {
            size_kib = size.trim().trim_end_matches(" kB").parse().expect("a number");
        }
        if let Some(flags) = line.strip_prefix("VmFlags:")
            && size_kib >= 32 << 10
            && flags.contains(" wr ")
        {
            guests += 1;
            assert!(flags.contains(" dd "), "{size_kib} KiB are dumped: {flags}");
        }
    }
    assert!(guests >= 1, "adjacent mappings may be shown as one: {maps}");
    running.receives(Signal::TERM);
    running.finish().ended_with(143);
}

#[test]
fn descriptors_of_the_parent_are_closed_and_read_from_before() {
    let run = Tandem::with(["/dev/fd/7", "--timeout", "60s"]).with_keyboard();
    let vm = "vms: [{name: idle, cmdline: \"\"}]";
    let config = run.scratch().file("piped.yml", vm);
    let script = format!("exec 7<'{}' 8</dev/null 9>/dev/null; exec \"$@\"", config.display());
    let running = run.started_by_shell(&script).start();
    running.shows("idle | Tandem guest OS");
    let open = fs::read_dir(format!("/proc/{}/fd", running.pid())).expect("it runs");
    let targets = open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let targets: Vec<_> = targets.map(|to| to.to_string_lossy().into_owned()).collect();
    let is_inherited = |to: &&String| to.contains("piped.yml") || to.as_str() == "/dev/null";
    assert_eq!(targets.iter().find(is_inherited), None, "{targets:?}");
    running.receives(Signal::TERM);
    running.finish().ended_with(143);
}

/// Root starts Tandem as another user, with a device of its own that this user may open. Without
/// root all tests of this file are run by such a user.
#[test]
fn a_user_who_may_open_kvm_needs_nothing_else() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    // That user may not be allowed to read where this repository is.
    let script = format!(
        "mount -t tmpfs -o mode=755 none /mnt; cp \"$1\" /mnt/vmm-kvm; cp \"$2\" /mnt/two.yml
         mknod -m 666 /mnt/kvm c 10 232; mount --bind /mnt/kvm /dev/kvm; cd /mnt
         exec setpriv --reuid {USER} --regid {USER} --clear-groups --bounding-set=-all \
             --inh-caps=-all ./vmm-kvm two.yml"
    );
    let run = with_mounts(Tandem::with([config("two.yml")]), &script).finish().ended_with(0);
    run.complains_of_nothing().shows("right | the result: COM1 writes OK!!!!");
}

/// Files of a process that may be dumped and traced belong to its user, others to root.
#[test]
fn another_process_of_the_same_user_may_not_trace_it() {
    let is_root = rustix::process::getuid().is_root();
    let run = Tandem::run_text(TAPPED);
    const KEPT: &str = "+dac_override,+dac_read_search";
    let other = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
    let other = other.into_iter().chain(["--inh-caps", KEPT, "--ambient-caps", KEPT]);
    let running = run.started_by(other.filter(|_| is_root)).start();
    running.shows("one | spin: for ever");
    let owner = fs::metadata(format!("/proc/{}/fd", running.pid())).expect("it runs").uid();
    assert_eq!(owner, 0);
    running.receives(Signal::TERM);
    running.finish().ended_with(143);
}

#[test]
fn unconfined_keeps_all_rights() {
    let running = Tandem::run_text(TAPPED).arg("--unconfined").start();
    running.shows("one | spin: for ever");
    for (name, status) in threads_of(running.pid()) {
        assert!(status.contains("\nSeccomp:\t0\n"), "{name}: {status}");
    }
    running.receives(Signal::TERM);
    running.finish().ended_with(143);
}
