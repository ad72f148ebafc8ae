//! Two unmodified Debian kernels at one network: pings, and data over TCP, with no frame lost.

use crate::targets::{self, Target};
use crate::transcript;
use std::path::Path;
use xtask::scratch::Scratch;

/// What the config lets the one fetch from the other.
const BYTES: u64 = 1 << 20;
const MANY_BYTES: u64 = 64 << 20;

/// The config as it stands, on our own SVM switching.
pub fn check_in_qemu(config: &str) {
    assert_eq!(config, "linux_net");
    xtask::linux::ensure().expect("Debian's kernel");
    check(&targets::configs().join("linux_net.yml"), Target::SvmQemu, BYTES);
}

#[test]
fn two_unmodified_linux_kernels_move_64_mib_over_tcp_on_svm_in_qemu() {
    let linux = xtask::linux::ensure().expect("Debian's kernel");
    let text =
        std::fs::read_to_string(targets::configs().join("linux_net.yml")).expect("the config");
    let text = text
        .replace("../target/linux/vmlinuz", &linux.kernel.display().to_string())
        .replace("../target/linux/initramfs.cpio", &linux.initramfs.display().to_string())
        .replace(&BYTES.to_string(), &MANY_BYTES.to_string());
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.path().join("linux_net.yml");
    std::fs::write(&config, text).expect("a file in it");
    check(&config, Target::SvmQemu, MANY_BYTES);
}

fn check(config: &Path, target: Target, bytes: u64) {
    let outcome = target.run_long(config, &[]);
    let shown = &outcome.console;
    assert_eq!(outcome.exit, 0, "{shown}");
    let (left, right) = (transcript::of(shown, "left"), transcript::of(shown, "right"));
    let pings = "network: 3 packets received, 0% packet loss";
    assert!(left.iter().any(|line| line == pings), "{shown}");
    let sent = format!("network: sent {bytes} bytes, sha256 ");
    let verdict = right.iter().find(|line| line.starts_with(&sent));
    assert!(verdict.is_some_and(|line| line.ends_with(", equal")), "{shown}");
    let counts = |vm: usize| &outcome.receipt["vms"][vm]["devices"][0]["counts"];
    let count = |vm: usize, what: &str| counts(vm)[what].as_u64().unwrap_or(0);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(count(from, "frames sent"), count(to, "frames received"), "{shown}");
        // Nor before the other kernel's driver was at work: the link was down until then.
        let mut counted = counts(from).as_object().into_iter().flatten();
        assert!(counted.all(|(what, _)| !what.starts_with("frames dropped")), "{shown}");
    }
    assert!(count(1, "bytes sent") > bytes, "{shown}");
    let network = &outcome.receipt["networks"][0];
    assert_eq!(network["name"], "lan");
    let frames = count(0, "frames sent") + count(1, "frames sent");
    assert_eq!(network["counts"]["frames sent"].as_u64(), Some(frames), "{network}");
}
