//! Two unmodified Debian kernels with two and four processors each keep all of them at work, and
//! have the core in parts of 1 : 2. Not over the host's KVM, for the reason in linux.rs.

use crate::targets::{self, Outcome, Target};
use crate::transcript;
use serde_json::Value;

/// Name, processors, and the part of the core in millionths.
const VMS: [(&str, usize, u64); 2] = [("two", 2, 333_333), ("four", 4, 666_666)];
/// How far the received part may be from that.
const SHARE_ERROR_PPM: u64 = 10_000;
/// The same where the emulator's own host stopped it for long: the emulated Linux cannot see that,
/// and whoever had its core is charged for it.
const STALLED_ERROR_PPM: u64 = 100_000;
/// A wait that shows it: many times what any of the two promises.
const STALL_NS: u64 = 60_000_000;
/// What Linux says of a processor that got no time, or of an interprocessor interrupt that is not
/// answered (`lockup_detector`, RCU's stall warnings, `smp_call_function`, the timer's watchdog).
const COMPLAINTS: [&str; 6] =
    ["soft lockup", "hard LOCKUP", "detected stalls", "self-detected stall", "CSD lock", "BUG:"];

/// The config as it stands, on our own SVM switching.
pub fn check_in_qemu(config: &str) {
    assert_eq!(config, "smp");
    xtask::linux::ensure().expect("Debian's kernel");
    check_promises(&check(Target::SvmQemu, Target::SvmQemu.run(config, &[])));
}

#[test]
fn linux_kernels_with_several_processors_share_the_core_on_vmx_in_bochs() {
    xtask::linux::ensure().expect("Debian's kernel");
    check_promises(&check(Target::VmxBochs, Target::VmxBochs.run("smp", &[])));
}

/// The emulated host has no core to itself: only the shares are held against what is promised.
#[test]
fn linux_kernels_with_several_processors_share_the_core_over_linuxs_kvm() {
    xtask::linux::ensure().expect("Debian's kernel");
    let config = targets::configs().join("smp.yml");
    check(Target::KvmOnDebian, Target::KvmOnDebian.run_long(&config, &[]));
}

/// All processors came up and worked, both VMs powered off, and the receipt adds up.
fn check(target: Target, outcome: Outcome) -> Outcome {
    let Outcome { console: shown, receipt, .. } = &outcome;
    println!("{} by {}", outcome.exit_mix(), target.name());
    assert_eq!(outcome.exit, 0, "{shown}");
    for complaint in COMPLAINTS {
        assert!(!shown.contains(complaint), "{complaint}:\n{shown}");
    }
    let (wall_ns, accounted_ns) = (number(receipt, "wall_ns"), number(receipt, "accounted_ns"));
    assert!(wall_ns.abs_diff(accounted_ns) <= wall_ns / 100, "{accounted_ns} ns of {wall_ns} ns");
    assert_eq!(receipt["lost_bytes"], 0);
    let longest_ns =
        vms(receipt).iter().map(|vm| number(vm, "longest_blackout_ns")).max().unwrap_or(0);
    let is_stalled = target == Target::KvmOnDebian && longest_ns > STALL_NS;
    let allowed_ppm = if is_stalled { STALLED_ERROR_PPM } else { SHARE_ERROR_PPM };
    for (vm, (name, processors, entitled_ppm)) in vms(receipt).iter().zip(VMS) {
        let lines = transcript::of(shown, name);
        let says = |lead: &str| lines.iter().any(|line| line.starts_with(lead));
        // What `nproc` says.
        assert!(lines.iter().any(|line| *line == processors.to_string()), "{name}\n{shown}");
        assert!(says(&format!("busy: done, {processors} workers, ")), "{name}\n{shown}");
        assert!(says("tandem-linux: done, status 0"), "{name}\n{shown}");
        assert_eq!(vm["name"], name);
        assert_eq!(vm["ending"], "powered off, status 0", "{shown}");
        assert_eq!(vm["vcpus"].as_array().map(Vec::len), Some(processors), "{vm}");
        assert_eq!(number(vm, "entitled_ppm"), entitled_ppm);
        let error_ppm = number(vm, "received_ppm").abs_diff(entitled_ppm);
        println!("{name}: share off by {error_ppm} ppm, allowed: {allowed_ppm}");
        assert!(error_ppm <= allowed_ppm, "{name}\n{shown}");
    }
    outcome
}

/// With the core to itself, no VM waits longer than promised.
fn check_promises(outcome: &Outcome) {
    for vm in vms(&outcome.receipt) {
        let (longest_ns, promised_ns) =
            (number(vm, "longest_blackout_ns"), number(vm, "promised_blackout_ns"));
        println!("{}: {longest_ns} ns of blackout, {promised_ns} ns promised", vm["name"]);
        assert!(longest_ns <= promised_ns, "{}", outcome.console);
    }
}

fn vms(receipt: &Value) -> &[Value] {
    receipt["vms"].as_array().expect("a receipt has VMs")
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}
