//! Debian on a disk: its own kernel and initramfs boot it to a login, and what is written there is
//! found by the next boot if the disk keeps, and not if it discards. On our own SVM switching in
//! QEMU, where a disk ends with the run; and, for two boots from one file, over Linux's KVM.

use crate::targets::{Outcome, Target};
use std::fs;
use xtask::emulate::Typed;
use xtask::linux::root_disk;
use xtask::scratch::Scratch;

/// The last line before the prompt for a name, and before the first prompt of the shell.
const LOGIN: &str = "Debian GNU/Linux 12 tandem ttyS0";
const SHELL: &str = "permitted by applicable law.";
/// Says what an earlier boot wrote, and writes.
const COMMANDS: &[u8] =
    b"cat /var/kept || echo there is $((6 * 7 - 42)) of it; echo kept $((6 * 7)) >/var/kept; \
      cat /var/kept; poweroff\n";
const KEPT: &str = "kept 42";
const NOTHING: &str = "there is 0 of it";

fn typed(boots: usize) -> Vec<Typed> {
    let press = |after: &str, keys: &[u8]| Typed { after: after.into(), keys: keys.into() };
    (0..boots).flat_map(|_| [press(LOGIN, b"root\n"), press(SHELL, COMMANDS)]).collect()
}

/// Boots it so often from one image.
fn boot(target: Target, writes: &str, boots: usize) -> Outcome {
    let disk = root_disk::ensure().expect("a disk with Debian");
    let scratch = Scratch::new().expect("a folder for temporary files");
    let [kernel, initrd] = [&disk.kernel, &disk.initrd].map(|path| path.display());
    let image = scratch.path().join("root.img");
    fs::copy(&disk.image, &image).expect("there is room for a copy");
    let text = format!(
        "vms:\n  - name: debian\n    kernel: {kernel}\n    initrd: {initrd}\n    \
         memory: 256MiB\n    cmdline: console=ttyS0 root=/dev/vda ro quiet\n    \
         disks: [{{file: {}, writes: {writes}}}]\n",
        image.display()
    );
    let config = scratch.write("debian.yml", text.as_bytes()).expect("a file in it");
    target.run_again(&config, &typed(boots), boots)
}

/// What the boots found and wrote.
fn said(outcome: &Outcome) -> Vec<&str> {
    assert_eq!(outcome.exit, 0, "{}", outcome.console);
    let lines = outcome.console.lines().filter_map(|line| line.split_once(" | "));
    let lines = lines.map(|(_, text)| text.trim_end());
    lines.filter(|line| [KEPT, NOTHING].contains(line)).collect()
}

#[test]
fn debian_on_a_disk_boots_to_a_login_and_powers_off_on_svm_in_qemu() {
    let outcome = boot(Target::SvmQemu, "keep", 1);
    assert_eq!(said(&outcome), [NOTHING, KEPT], "{}", outcome.console);
    let device = &outcome.receipt["vms"][0]["devices"][0];
    assert_eq!(device["counts"]["errors"], serde_json::Value::Null, "{device}");
    assert_eq!(device["stopped"], serde_json::Value::Null, "{device}");
}

/// Two boots beneath a Linux that QEMU emulates take some minutes.
#[test]
fn debian_finds_what_it_wrote_if_its_disk_keeps_over_linuxs_kvm() {
    let outcome = boot(Target::KvmOnDebian, "keep", 2);
    assert_eq!(said(&outcome), [NOTHING, KEPT, KEPT, KEPT], "{}", outcome.console);
}

#[cfg(feature = "nightly")]
#[test]
fn nightly_debian_finds_nothing_if_its_disk_discards_over_linuxs_kvm() {
    let outcome = boot(Target::KvmOnDebian, "discard", 2);
    assert_eq!(said(&outcome), [NOTHING, KEPT, NOTHING, KEPT], "{}", outcome.console);
}
