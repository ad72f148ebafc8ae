//! Captures of networks, read by tshark as an outside witness.

use crate::harness::{Finished, Scratch, Tandem};
use crate::uplinks::{beside_service, count, guest};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What tshark says of each frame: the interface's name, the direction, the length.
fn frames(capture: &Path) -> Vec<(String, String, u64)> {
    xtask::packages::ensure(xtask::packages::TSHARK).expect("tshark is needed");
    let fields = ["frame.interface_name", "frame.packet_flags_direction", "frame.len"];
    let mut tshark = Command::new("tshark");
    tshark.args(["-T", "fields"]).args(fields.iter().flat_map(|field| ["-e", field]));
    let output = tshark.arg("-r").arg(capture).output().expect("it is there");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), output.stderr);
    let errors = String::from_utf8_lossy(&errors);
    assert!(output.status.success() && !errors.contains("cut short"), "{errors}");
    let frame = |line: &str| {
        let [name, direction, len] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        (name.to_owned(), direction.to_owned(), len.parse().expect("a number"))
    };
    text.lines().map(frame).collect()
}

fn by_interface(frames: &[(String, String, u64)]) -> BTreeMap<&str, (u64, u64)> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, direction, len) in frames {
        assert_eq!(direction, "0x00000001", "each frame comes in where it enters");
        let (count, bytes) = sums.entry(name).or_default();
        (*count, *bytes) = (*count + 1, *bytes + len);
    }
    sums
}

fn sent(run: &Finished) -> (u64, u64) {
    (count(run, "counts", "frames sent"), count(run, "counts", "bytes sent"))
}

#[test]
fn a_witness_reads_each_frame_once_by_the_names_of_its_vm_and_of_the_tap() {
    let scratch = Scratch::new();
    let capture = scratch.path("seen.pcap");
    let network = format!(", pcap: {}", capture.display());
    let run = beside_service(guest("peer=10.77.0.1 echo=7777", &network, ""), "", "").finish();
    let run = run.ended_with(0).complains_of_nothing().adds_up();
    let frames = frames(&capture);
    let of_tap = ["frames from it", "bytes from it"].map(|what| count(&run, "tap/counts", what));
    let expected = BTreeMap::from([("left", sent(&run)), ("tandem0", of_tap.into())]);
    assert_eq!(by_interface(&frames), expected);
}

#[test]
fn frames_between_vms_are_captured_once_by_the_names_of_their_senders() {
    let scratch = Scratch::new();
    let capture = scratch.path("seen.pcap");
    let vm = |name: &str, words: &str| {
        let words = format!("cmdline: \"rounds=1 bytes=65536 {words}\"");
        format!("{{name: {name}, kernel: net, memory: 8MiB, {words}, networks: [{{name: lan}}]}}")
    };
    let config = format!(
        "vms: [{}, {}]\nnetworks: [{{name: lan, pcap: {}}}]",
        vm("server", "role=server ip=10.0.0.1"),
        vm("client", "role=client ip=10.0.0.2 peer=10.0.0.1"),
        capture.display()
    );
    let run = Tandem::run_text(&config).finish().ended_with(0).complains_of_nothing().adds_up();
    let frames = frames(&capture);
    let sums = by_interface(&frames);
    assert_eq!(sums.keys().copied().collect::<Vec<_>>(), ["client", "server"]);
    let all = sums.values().fold((0, 0), |all, (count, bytes)| (all.0 + count, all.1 + bytes));
    assert_eq!(all, sent(&run));
}

#[test]
fn a_capture_is_a_file_of_its_own_and_check_names_it() {
    let scratch = Scratch::new();
    let pcap = |name: &str| format!("networks: [{{name: lan, pcap: {name}}}]");
    let text = |networks: &str| format!("vms: [{{networks: [{{name: lan}}]}}]\n{networks}");
    let config = scratch.file("config.yml", text(&pcap("config.yml")));
    let check = || Tandem::with(["check".as_ref(), config.as_os_str()]).finish();
    let what = format!("the capture of network lan would be written to {}", config.display());
    check().ended_with(2).complains(&format!("{what}, which is the config; allowed: a file"));
    scratch.file("config.yml", text(&pcap("seen.pcap")));
    let path = scratch.path("seen.pcap");
    let line = format!("\n  {} (the capture of network lan)\n", path.display());
    check().ended_with(0).shows(&line).shows("\n  pcap     ");
    assert!(!path.exists());
    let two = "networks: [{name: lan, pcap: seen.pcap}, {name: way, pcap: ./seen.pcap}]";
    scratch.file("config.yml", text(two));
    check().ended_with(2).complains("which is the capture of network lan; allowed: a file");
    scratch.directory("seen.pcap");
    scratch.file("config.yml", text(&pcap("seen.pcap")));
    let run = Tandem::run(&config).finish().ended_with(3);
    run.complains("the capture of network lan, ").complains("seen.pcap: it is a directory");
}

/// A file system of two pages takes a part of what is captured.
#[test]
fn a_capture_on_a_full_file_system_ends_at_a_whole_block_and_the_run_goes_on() {
    let scratch = Scratch::new();
    let (folder, kept) = (scratch.directory("mount"), scratch.path("kept.pcap"));
    let capture = folder.join("seen.pcap");
    let network = format!(", pcap: {}", capture.display());
    let run = guest("peer=10.77.0.1 echo=7777", &network, "");
    let then = format!("cp '{}' '{}';", capture.display(), kept.display());
    let mounted = format!("mount -t tmpfs -o size=8k none '{}';", folder.display());
    let run = beside_service(run, &mounted, &then).finish().ended_with(1);
    let why = "the capture of network out is not complete: No space left on device (os error 28)";
    let run = run.complains(why).adds_up();
    assert_eq!(run.errors.matches("No space left").count(), 1, "{}", run.shown());
    assert!(run.lines_of("left").contains(&String::from("net: all passed")), "{}", run.shown());
    let len = fs::metadata(&kept).expect("it was copied").len();
    let frames = frames(&kept);
    assert!(len <= 8192 && !frames.is_empty(), "{len} bytes");
    assert!((frames.len() as u64) < sent(&run).0 + count(&run, "tap/counts", "frames from it"));
}
