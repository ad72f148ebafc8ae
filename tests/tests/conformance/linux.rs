//! Two unmodified Debian kernels on one core: on our own SVM switching in QEMU, on our own VMX
//! switching in Bochs, and over Linux's KVM on an emulated AMD processor. Not over the host's KVM,
//! which may run a kernel's code one by one instruction.

use crate::targets::{self, Outcome, Target};
use crate::transcript;
use serde_json::{Value, json};
use std::path::Path;
use xtask::emulate::Typed;
use xtask::scratch::Scratch;

const VMS: [&str; 2] = ["left", "right"];
/// What the config lets them exchange, and what they exchange where that is to take its time.
const BYTES: u64 = 1 << 16;
const MEGABYTE: u64 = 1 << 20;
/// How far a guest's own account of what was stolen may be from the half that the other one had.
const STEAL_PERMILLE: u64 = 20;

/// The config as it stands, on our own SVM switching.
pub fn check_in_qemu(config: &str) {
    assert_eq!(config, "linux");
    check_as_it_stands(Target::SvmQemu);
}

#[test]
fn two_unmodified_linux_kernels_share_the_core_on_vmx_in_bochs() {
    check_as_it_stands(Target::VmxBochs);
}

#[test]
fn two_unmodified_linux_kernels_share_the_core_over_linuxs_kvm() {
    check_as_it_stands(Target::KvmOnDebian);
}

#[test]
fn two_unmodified_linux_kernels_exchange_a_megabyte_on_svm_in_qemu() {
    check_megabyte(Target::SvmQemu);
}

/// A quarter of an hour.
#[cfg(feature = "nightly")]
#[test]
fn nightly_two_unmodified_linux_kernels_exchange_a_megabyte_on_vmx_in_bochs() {
    check_megabyte(Target::VmxBochs);
}

/// Twenty minutes.
#[cfg(feature = "nightly")]
#[test]
fn nightly_two_unmodified_linux_kernels_exchange_a_megabyte_over_linuxs_kvm() {
    check_megabyte(Target::KvmOnDebian);
}

fn check_as_it_stands(target: Target) {
    xtask::linux::ensure().expect("Debian's kernel");
    check(&targets::configs().join("linux.yml"), target, BYTES);
}

fn check_megabyte(target: Target) {
    let config = doing("5ms", &format!(" job=\"exchange {MEGABYTE}\""));
    check(&config.path().join("linux.yml"), target, MEGABYTE);
}

/// A shell of busybox's at each console, and what is typed there reaches the right one.
#[test]
fn linux_gives_a_shell_that_takes_what_is_typed() {
    let press = |after: &str, keys: &[u8]| Typed { after: after.into(), keys: keys.into() };
    let typed = [
        press("left  | tandem-linux: jobs", b"echo left has $((6 * 7)); poweroff\n"),
        press("right | tandem-linux: jobs", b"\x011echo right has $((7 * 7)); poweroff\n"),
    ];
    let config = doing("5ms", "");
    let outcome = Target::SvmQemu.run_long(&config.path().join("linux.yml"), &typed);
    let shown = &outcome.console;
    assert_eq!(outcome.exit, 0, "{shown}");
    for (vm, answer) in VMS.into_iter().zip(["left has 42", "right has 49"]) {
        let lines = transcript::of(shown, vm);
        assert!(lines.iter().any(|line| line == answer), "{vm}: {answer}\n{shown}");
    }
}

/// Linux's driver at one end, polling code of a few lines at the other.
#[test]
fn linux_and_our_small_os_send_each_other_a_line() {
    const JOB: &str = "stty -F /dev/ttyS1 raw -echo 115200; exec 3<>/dev/ttyS1; \
        echo a line from Linux >&3; head -n 1 <&3";
    let linux = xtask::linux::ensure().expect("Debian's kernel");
    let (kernel, initrd) = (linux.kernel.display(), linux.initramfs.display());
    let text = format!(
        "vms:\n  - {{name: linux, kernel: {kernel}, initrd: {initrd}, memory: 128MiB, \
        cmdline: 'console=ttyS0 job=\"{JOB}\"', com2: {{link: wire}}}}\n  - {{name: os, \
        cmdline: get_char; put_char; poweroff, com1: {{switched: wire}}}}\n\
        links: [{{name: wire, baud: 115200}}]\n"
    );
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.path().join("mixed.yml");
    std::fs::write(&config, text).expect("a file in it");
    let outcome = Target::SvmQemu.run_long(&config, &[]);
    let shown = &outcome.console;
    assert_eq!(outcome.exit, 0, "{shown}");
    for (vm, line) in [("os", "the result: a line from Linux"), ("linux", "COM1 writes OK!!!!")] {
        let lines = transcript::of(shown, vm);
        assert!(lines.iter().any(|said| said == line), "{vm}: {line}\n{shown}");
    }
    assert_eq!(outcome.receipt["lost_bytes"], 0);
}

/// With nothing but the 8254 on the 8259 pair, whose line Linux masks in every handler, the
/// kernel's clock is the sum of its ticks. Beside a VM that takes all the time it gets it keeps up
/// with the clock chip.
#[test]
fn linux_keeps_its_clock_by_the_8254_beside_a_busy_vm() {
    const SECONDS: u64 = 30;
    const OPTIONS: &str = "nolapic noapic acpi=off no-kvmclock hpet=disable";
    let linux = xtask::linux::ensure().expect("Debian's kernel");
    let (kernel, initrd) = (linux.kernel.display(), linux.initramfs.display());
    let text = format!(
        "slice: 5ms\nvms:\n  - {{name: linux, kernel: {kernel}, initrd: {initrd}, memory: 128MiB, \
        on_halt: success, cmdline: 'console=ttyS0 {OPTIONS} job=\"chip {SECONDS}\"'}}\n  \
        - {{name: busy, kernel: spin, cmdline: forever, memory: 8MiB}}\n"
    );
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.write("chip.yml", text.as_bytes()).expect("a file in it");
    let end = [Typed { after: "[linux ".into(), keys: b"\x01x".into() }];
    let outcome = Target::SvmQemu.run_file(&config, &end);
    let shown = &outcome.console;
    let lines = transcript::of(shown, "linux");
    // `chip: 31 seconds, by the kernel 31000 ms`
    let line = lines.iter().find_map(|line| line.strip_prefix("chip: "));
    let line = line.unwrap_or_else(|| panic!("no line of the job's\n{shown}"));
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [seconds, kernel_ms] = numbers[..] else { panic!("{line}") };
    println!("{seconds} s by the chip, {kernel_ms} ms by the kernel");
    assert!(seconds >= SECONDS, "{line}");
    // 0.1 %, and the hundredth of a second to which the kernel reports both readings.
    let allowed_ms = seconds + 20;
    assert!(kernel_ms.abs_diff(seconds * 1000) <= allowed_ms, "{line}");
}

/// The config in a folder of its own, with slices so long and with these words for each kernel's
/// jobs.
fn doing(slice: &str, job: &str) -> Scratch {
    let linux = xtask::linux::ensure().expect("Debian's kernel");
    let text = std::fs::read_to_string(targets::configs().join("linux.yml")).expect("it is there");
    let text = text.replace("../target/linux/vmlinuz", &linux.kernel.to_string_lossy());
    let text = text.replace("../target/linux/initramfs.cpio", &linux.initramfs.to_string_lossy());
    let text = text.replace("slice: 5ms", &format!("slice: {slice}"));
    // Each sends data of its own.
    let mut seed = 0;
    let line = |line: &str| match line.split_once(" job=") {
        Some((before, _)) => {
            seed += 1;
            format!("{before}{job} seed={seed}\n")
        }
        None => format!("{line}\n"),
    };
    let scratch = Scratch::new().expect("a folder for temporary files");
    let text: String = text.lines().map(line).collect();
    std::fs::write(scratch.path().join("linux.yml"), text).expect("a file in it");
    scratch
}

fn check(config: &Path, target: Target, bytes: u64) {
    let outcome = target.run_long(config, &[]);
    println!("{} by {}", outcome.exit_mix(), target.name());
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
        let sent = find(&lines[other], &format!("link: sent {bytes} bytes, sha256 "));
        let received = find(&lines[own], &format!("link: received {bytes} bytes, sha256 "));
        assert_eq!(received, format!("{sent}, equal"), "{vm}");
        println!("{vm} took {}", find(&lines[own], "link: took "));
        find(&lines[own], "tandem-linux: done, status 0");
    }
    check_receipt(&outcome, bytes);
}

/// Of two that would have the whole core each finds half of it stolen, by its kernel's own account.
#[test]
fn two_busy_linux_kernels_find_half_of_the_core_stolen() {
    // What switching takes is stolen from both: in longer slices it is little.
    let config = doing("20ms", " job=\"steal 10\"");
    let outcome = Target::SvmQemu.run_long(&config.path().join("linux.yml"), &[]);
    let shown = &outcome.console;
    assert_eq!(outcome.exit, 0, "{shown}");
    for vm in VMS {
        let lines = transcript::of(shown, vm);
        // `time: steal 49.8 %`
        let percent = lines.iter().find_map(|line| line.strip_prefix("time: steal "));
        let permille =
            percent.and_then(|text| text.strip_suffix(" %")?.replace('.', "").parse().ok());
        let permille: u64 = permille.unwrap_or_else(|| panic!("{vm} says no share\n{shown}"));
        println!("{vm} found {permille} of 1000 stolen");
        assert!(permille.abs_diff(500) <= STEAL_PERMILLE, "{vm}\n{shown}");
    }
}

/// Both powered off, the time adds up, and what was sent was delivered.
fn check_receipt(outcome: &Outcome, bytes: u64) {
    let Outcome { receipt, .. } = outcome;
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number: {value}"));
    let (wall, accounted) = (number(&receipt["wall_ns"]), number(&receipt["accounted_ns"]));
    assert!(wall.abs_diff(accounted) <= wall / 100, "{accounted} ns of {wall} ns");
    for vm in receipt["vms"].as_array().expect("it has VMs") {
        assert_eq!(vm["ending"], "powered off, status 0", "{vm}");
    }
    for end in receipt["links"][0]["ends"].as_array().expect("the link has ends") {
        assert!(number(&end["sent"]) > bytes, "{end}");
        assert_eq!((&end["delivered"], &end["lost"]), (&end["sent"], &json!({})), "{end}");
    }
    assert_eq!(receipt["lost_bytes"], 0);
}
