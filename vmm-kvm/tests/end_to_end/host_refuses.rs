//! What the host does not give: exit code 3, and on standard errors what to do about it.

use crate::harness::{Finished, Scratch, Tandem, with_mounts};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

/// A VM that would end at once.
const SMALL: &str = "vms: [{name: small, cmdline: poweroff}]";

/// Nothing ran, the host is to blame, and the message says `what`.
fn check_refused(run: Tandem, what: &str) -> Finished {
    let run = run.finish().ended_with(3).complains("vmm-kvm: ").complains(what);
    assert!(run.output.is_empty(), "{}", run.shown());
    run
}

#[test]
fn without_a_kvm_device_the_message_says_what_to_do() {
    let run = with_mounts(Tandem::run_text(SMALL), "mount -t tmpfs none /dev; exec \"$@\"");
    check_refused(run, "there is no /dev/kvm: load the kvm_intel or kvm_amd module");
}

#[test]
fn without_a_kvm_device_the_command_that_needs_none_is_named() {
    let run = Tandem::run_text(SMALL);
    let command =
        format!("`cargo xtask run {} --on qemu`", run.scratch().path("config.yml").display());
    check_refused(with_mounts(run, "mount -t tmpfs none /dev; exec \"$@\""), &command);
}

#[test]
fn without_permission_the_group_to_join_is_told() {
    let run = Tandem::run_text(SMALL);
    let forbidden = run.scratch().file("forbidden", "");
    std::fs::set_permissions(&forbidden, Permissions::from_mode(0o000)).expect("it is ours");
    // Root without its capabilities is like anybody else.
    let script = format!(
        "mount --bind '{}' /dev/kvm; exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"",
        forbidden.display()
    );
    check_refused(with_mounts(run, &script), "no permission to open /dev/kvm: join its group");
}

#[test]
fn a_kvm_that_is_none_is_refused() {
    let script = "mount --bind /dev/null /dev/kvm; exec \"$@\"";
    check_refused(with_mounts(Tandem::run_text(SMALL), script), "/dev/kvm");
}

#[test]
fn a_core_that_is_not_there_is_refused() {
    let scratch = Scratch::new();
    let config = scratch.file("small.yml", SMALL);
    let run = Tandem::with([config.as_os_str(), "--core".as_ref(), "999".as_ref()]);
    check_refused(run, "core 999 is offline or not allowed; allowed: [");
    let config = scratch.file("core.yml", format!("core: 999\n{SMALL}"));
    let run = Tandem::with([&config]).finish().ended_with(2);
    run.complains(&format!("{}:1:7: core is 999; allowed on this host: ", config.display()));
}

#[test]
fn a_core_that_was_taken_from_this_process_is_refused() {
    let first = vmm_kvm::sys::allowed_cores().expect("the allowed cores")[0];
    let other = first + 1;
    let scratch = Scratch::new();
    let config = scratch.file("small.yml", SMALL);
    let run = Tandem::with([config.as_os_str(), "--core".as_ref(), other.to_string().as_ref()]);
    let run = run.started_by(["taskset", "--cpu-list", &first.to_string()]);
    check_refused(run, &format!("core {other} is offline or not allowed; allowed: [{first}]"));
}

#[test]
fn memory_that_cannot_be_had_is_refused() {
    const LIMIT: &str = "--as=400000000";
    let text = "
vms:
  - {name: small, memory: 8MiB, cmdline: poweroff}
  - {name: large, memory: 512MiB, cmdline: poweroff}
";
    let run = Tandem::run_text(text).started_by(["prlimit", LIMIT]);
    check_refused(run, "VM large: the host cannot give 512 MiB of memory");
}

#[test]
fn file_descriptors_that_the_host_does_not_give_are_told() {
    let run = Tandem::run_text(SMALL).started_by(["prlimit", "--nofile=8"]);
    check_refused(run, "Too many open files");
}

#[test]
fn a_log_directory_that_cannot_be_made_is_told_before_anything_runs() {
    let run = Tandem::run_text(SMALL);
    let file = run.scratch().file("occupied", "");
    let named = format!("the log directory {}", file.display());
    check_refused(run.arg("--log-dir").arg(file), &named);
}

/// By its own clock a guest spins for so long, and needs that much of the core for it; or KVM
/// cannot hold its clock back, and then it says so.
#[test]
fn a_clock_that_stands_does_so_or_is_refused() {
    const SPIN_NS: u64 = 200_000_000;
    const VMS: &str = "vms:\n  - &spin {name: one, kernel: spin, cmdline: 200, clock: own}\n  \
                       - {<<: *spin, name: two}\n";
    let run = Tandem::run_text(VMS).finish();
    if run.code() == Some(3) {
        run.complains("clock: own needs a KVM that moves a vCPU's TSC")
            .complains("allowed here: clock: wall");
        return;
    }
    let run = run.ended_with(0).complains_of_nothing().adds_up();
    for vm in 0..2 {
        // Its clock goes on while the host takes the core from it.
        let parts = ["guest_ns", "vmm_ns", "taken_ns"];
        let core_ns = parts.map(|part| run.number(&format!("/vms/{vm}/{part}")));
        assert!(core_ns.iter().sum::<u64>() > SPIN_NS * 9 / 10, "{core_ns:?}: {}", run.shown());
    }
}

/// With few threads allowed, KVM or this process lacks one; with enough, the guest runs. Root is
/// allowed all it wants, so that it runs this as another user.
#[test]
fn threads_that_the_host_does_not_give_end_in_a_refusal() {
    const USER: &str = "64321";
    const KEPT: &str = "+dac_override,+dac_read_search";
    let is_root = rustix::process::getuid().is_root();
    for threads in 1..8 {
        let run = Tandem::run_text("vms: [{name: small, cmdline: poweroff, memory: 8MiB}]");
        let limit = ["prlimit".to_string(), format!("--nproc={threads}"), "--".to_string()];
        let user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"].into_iter();
        let user = user.chain(["--inh-caps", KEPT, "--ambient-caps", KEPT]).map(String::from);
        let user: Vec<_> = user.filter(|_| is_root).collect();
        let run = run.started_by(user.into_iter().chain(limit)).finish();
        if run.code() == Some(0) {
            run.shows("[small powered off, status 0]");
            return;
        }
        let run = run.ended_with(3);
        let is_reported = run.errors.contains("the host cannot start a thread")
            || run.errors.contains("VM small: the host does not run its vCPU: Resource temp");
        assert!(is_reported, "{threads} threads: {}", run.shown());
        if !is_root {
            // Its other processes count, too, however many they are.
            return;
        }
    }
    panic!("7 threads are more than enough");
}
