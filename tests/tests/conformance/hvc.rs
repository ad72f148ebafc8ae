//! Virtio consoles of unmodified Debian kernels on one core, by our own SVM switching in QEMU: a
//! shell's job at `/dev/hvc0`, and links between their further ports, and to a serial port.

use crate::targets::Target;
use crate::transcript;
use serde_json::{Value, json};
use xtask::scratch::Scratch;

const BYTES: u64 = 1 << 18;

/// Two kernels whose link has these keys at its ends, and these devices in them.
fn exchange(ends: [(&str, &str); 2], bytes: u64) {
    let linux = xtask::linux::ensure().expect("Debian's kernel");
    let (kernel, initrd) = (linux.kernel.display(), linux.initramfs.display());
    let vm = |(seed, (key, device)): (usize, (&str, &str))| {
        let nodes = format!("/dev/hvc0 {device}");
        let exchange = format!("sh -c 'exchange {bytes}; echo status $?' >/dev/hvc0 2>&1");
        let job = format!("virtio {nodes} && {exchange}");
        format!(
            "  - {{name: vm{seed}, kernel: {kernel}, initrd: {initrd}, memory: 128MiB, \
            cmdline: \"console=ttyS0 seed={seed} link={device} job=\\\"{job}\\\"\", \
            console: hvc0, com1: none, {key}: {{link: wire}}}}\n"
        )
    };
    let vms: String = (1..).zip(ends).map(vm).collect();
    let text = format!("slice: 5ms\nvms:\n{vms}links: [{{name: wire}}]\n");
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.write("hvc.yml", text.as_bytes()).expect("a file in it");
    let outcome = Target::SvmQemu.run_long(&config, &[]);
    let shown = &outcome.console;
    assert_eq!(outcome.exit, 0, "{shown}");
    let lines = ["vm1", "vm2"].map(|vm| transcript::of(shown, vm));
    for (own, other) in [(0, 1), (1, 0)] {
        let find = |lines: &[String], start: &str| {
            let found = lines.iter().find_map(|line| line.strip_prefix(start));
            found.unwrap_or_else(|| panic!("{start}\n{shown}")).to_owned()
        };
        let sent = find(&lines[other], &format!("link: sent {bytes} bytes, sha256 "));
        let received = find(&lines[own], &format!("link: received {bytes} bytes, sha256 "));
        assert_eq!(received, format!("{sent}, equal"));
        println!("took {}", find(&lines[own], "link: took "));
        assert!(lines[own].iter().any(|line| line == "status 0"), "{shown}");
        // Nothing but what was printed to /dev/hvc0: COM1 has no far side.
        assert!(!lines[own].iter().any(|line| line.contains("tandem-linux")), "{shown}");
    }
    let receipt = &outcome.receipt;
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number: {value}"));
    for (end, (key, _)) in receipt["links"][0]["ends"].as_array().expect("ends").iter().zip(ends) {
        assert_eq!(end[&key[..3]], json!(key[3..].parse::<u64>().expect("a port")));
        assert!(number(&end["sent"]) > bytes, "{end}");
        assert_eq!((&end["delivered"], &end["lost"]), (&end["sent"], &json!({})), "{end}");
    }
    assert_eq!(receipt["lost_bytes"], 0);
}

#[test]
fn two_linux_kernels_exchange_data_over_ports_of_virtio_consoles() {
    exchange([("hvc1", "/dev/vport0p1"), ("hvc3", "/dev/vport0p3")], BYTES);
}

#[test]
fn a_port_of_a_virtio_console_and_a_serial_port_are_the_ends_of_a_link() {
    exchange([("hvc1", "/dev/vport0p1"), ("com2", "/dev/ttyS1")], 1 << 12);
}
