//! Two unmodified Debian kernels on one core: on our own SVM switching in QEMU, on our own VMX switching in
//! Bochs, and over Linux's KVM on an emulated AMD processor. Not over the host's KVM, which may run a
//! kernel's code one by one instruction.

use crate::targets::{self, Outcome, Target};
use crate::transcript;
use serde_json::{Value, json};
use xtask::emulate::Typed;
use xtask::scratch::Scratch;

const VMS: [&str; 2] = ["left", "right"];
const BYTES: u64 = 1 << 20;
/// How far a guest's own account of what was stolen may be from the half that the other one had.
const STEAL_PERMILLE: u64 = 20;

/// The whole config on our own SVM switching.
pub fn check_in_qemu(config: &str) {
    check(config, Target::SvmQemu);
}

/// A quarter of an hour.
#[cfg(feature = "nightly")]
#[test]
fn nightly_two_unmodified_linux_kernels_share_the_core_and_exchange_a_megabyte_in_bochs() {
    check("linux", Target::VmxBochs);
}

#[test]
fn two_unmodified_linux_kernels_share_the_core_and_exchange_a_megabyte_over_kvm() {
    check("linux", Target::KvmOnDebian);
}

/// A shell of busybox's at each console, and what is typed there reaches the right one.
#[test]
fn linux_gives_a_shell_that_takes_what_is_typed() {
    let press = |after: &str, keys: &[u8]| Typed { after: after.into(), keys: keys.into() };
    let typed = [
        press("left  | tandem-linux: jobs", b"echo left has $((6 * 7)); poweroff\n"),
        press("right | tandem-linux: jobs", b"\x012echo right has $((7 * 7)); poweroff\n"),
    ];
    let config = without_jobs();
    let outcome = Target::SvmQemu.run_long(&config.path().join("linux.yml"), &typed);
    let shown = &outcome.console;
    assert_eq!(outcome.exit, 0, "{shown}");
    for (vm, answer) in VMS.into_iter().zip(["left has 42", "right has 49"]) {
        let lines = transcript::of(shown, vm);
        assert!(lines.iter().any(|line| line == answer), "{vm}: {answer}\n{shown}");
    }
}

/// The config in a folder of its own, less its kernels' jobs.
fn without_jobs() -> Scratch {
    let linux = xtask::linux::ensure().expect("Debian's kernel");
    let text = std::fs::read_to_string(targets::configs().join("linux.yml")).expect("it is there");
    let text = text.replace("../target/linux/vmlinuz", &linux.kernel.to_string_lossy());
    let text = text.replace("../target/linux/initramfs.cpio", &linux.initramfs.to_string_lossy());
    let line = |line: &str| match line.split_once(" job=") {
        Some((before, _)) => format!("{before}\n"),
        None => format!("{line}\n"),
    };
    let scratch = Scratch::new().expect("a folder for temporary files");
    let text: String = text.lines().map(line).collect();
    std::fs::write(scratch.path().join("linux.yml"), text).expect("a file in it");
    scratch
}

fn check(config: &str, target: Target) {
    xtask::linux::ensure().expect("Debian's kernel");
    let file = targets::configs().join(format!("{config}.yml"));
    let outcome = target.run_long(&file, &[]);
    println!("{config}: {} by {}", outcome.exit_mix(), target.name());
    let shown = &outcome.console;
    assert_eq!(outcome.exit, 0, "{shown}");
    let lines = VMS.map(|vm| transcript::of(shown, vm));
    for (own, other) in [(0, 1), (1, 0)] {
        let vm = VMS[own];
        let find = |lines: &[String], start: &str| {
            let found = lines.iter().find_map(|line| line.strip_prefix(start));
            found.unwrap_or_else(|| panic!("{vm}: {start}\n{shown}")).to_owned()
        };
        find(&lines[own], "tandem-linux: up, Linux ");
        let sent = find(&lines[other], &format!("link: sent {BYTES} bytes, sha256 "));
        let received = find(&lines[own], &format!("link: received {BYTES} bytes, sha256 "));
        assert_eq!(received, format!("{sent}, equal"), "{vm}");
        println!("{vm} took {}", find(&lines[own], "link: took "));
        check_steal(vm, &find(&lines[own], "time: steal "));
        find(&lines[own], "tandem-linux: done, status 0");
    }
    check_receipt(&outcome);
}

/// `49.8 %`
fn check_steal(vm: &str, steal: &str) {
    println!("{vm} found {steal} stolen");
    let permille = steal.strip_suffix(" %").map(|number| number.replace('.', ""));
    let permille: u64 = permille.and_then(|n| n.parse().ok()).expect("a number in percent");
    assert!(permille.abs_diff(500) <= STEAL_PERMILLE, "{vm}: {steal}");
}

/// Both powered off, the time adds up, and what was sent was delivered.
fn check_receipt(outcome: &Outcome) {
    let Outcome { receipt, .. } = outcome;
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number: {value}"));
    let (wall, accounted) = (number(&receipt["wall_ns"]), number(&receipt["accounted_ns"]));
    assert!(wall.abs_diff(accounted) <= wall / 100, "{accounted} ns of {wall} ns");
    for vm in receipt["vms"].as_array().expect("it has VMs") {
        assert_eq!(vm["ending"], "powered off, status 0", "{vm}");
    }
    for end in receipt["links"][0]["ends"].as_array().expect("the link has ends") {
        assert!(number(&end["sent"]) > BYTES, "{end}");
        assert_eq!((&end["delivered"], &end["lost"]), (&end["sent"], &json!({})), "{end}");
    }
    assert_eq!(receipt["lost_bytes"], 0);
}
