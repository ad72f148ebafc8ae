//! Control runs: each built-in guest in plain QEMU, without Tandem. What it prints there, it prints
//! on Tandem; where that cannot be, a line says why.

use crate::targets::Target;
use crate::transcript;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xtask::emulate::Accelerator;
use xtask::emulate::alone::{self, Kernel};
use xtask::scratch::Scratch;

/// Far beyond what any run takes: only a hang gets here.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What is expected of a guest in plain QEMU.
#[derive(Clone, Copy, Debug)]
enum Control {
    /// With this command line, the same lines and status as on Tandem.
    Same(&'static str),
    /// The same, beside another guest at the other end of COM2; both command lines.
    Pair(&'static str, &'static str, &'static str),
    /// It is held against Tandem as the other guest of this one's pair.
    PairedWith(&'static str),
    /// With each of these numbers of processors the same lines and status as on Tandem.
    Processors(&'static [u8]),
    /// With this command line and two disks, of which one is read-only, the same lines.
    Disks(&'static str),
    /// With this command line, the same lines on a virtio console.
    Hvc(&'static str),
    /// Beside another of itself at a network; both command lines.
    Network(&'static str, &'static str),
    /// Not the same, for this reason.
    Differs(&'static str),
}
use Control::{Differs, Disks, Hvc, Network, Pair, PairedWith, Processors, Same};

/// A line for each built-in guest.
#[rustfmt::skip]
const GUESTS: &[(&str, Control)] = &[
    ("os", Same("usertests; poweroff")),
    ("exit_storm", Same("1000")),
    ("storm_forever", Differs("it never ends")),
    ("hlt_loop", Same("100")),
    ("modules", Differs("QEMU puts the file's path before the command line, and has another name \
        for itself")),
    ("ticks", Same("100")),
    ("kvm_clock", Differs("a machine without a hypervisor has no paravirtual clock")),
    ("faults", Differs("QEMU's processor raises no #GP for an MSR that is not there")),
    ("spin", Same("100")),
    ("console_burst", Same("20000")),
    ("hvc_burst", Hvc("20000 reset")),
    ("escapes", Differs("Tandem's console shows as text what it prints")),
    ("link_ping", Pair("100", "link_pong", "100")),
    ("link_pong", PairedWith("link_ping")),
    ("round_trip", Pair("100", "round_trip", "100 answer")),
    ("bulk_send", Pair("16", "bulk_receive", "16")),
    ("bulk_receive", PairedWith("bulk_send")),
    ("bulk", Pair("16", "bulk", "16")),
    ("triple_fault", Same("")),
    ("spin_cli", Differs("it never ends")),
    ("halt_cli", Differs("QEMU waits for ever for a processor that nothing can wake")),
    ("endings", Differs("what it asks for ends QEMU in one way, whatever it was")),
    ("bad_ports", Differs("a q35 has devices at ports that are absent here")),
    ("bad_msrs", Differs("QEMU's processor raises no #GP for an MSR that is not there")),
    ("bad_memory", Differs("a q35 has devices at addresses that are absent here")),
    ("large_memory", Differs("firmware takes another part of the memory for itself")),
    ("bad_instructions", Differs("QEMU's processor takes bits of CR4 and EFER that its CPUID \
        hides")),
    ("page_faults", Differs("QEMU reports an AND's fault as a load's, and crashes by tables in a \
        hole while it counts")),
    ("tasks", Same("")),
    ("device_stream", Differs("QEMU's HPET takes no bytes, and memory that is absent reads 0; \
        Linux's KVM is the witness")),
    ("state_stream", Same("1 1000 common ports strings")),
    ("processor", Same("msrs step cr8 nmi")),
    ("smp", Processors(&[1, 2, 4, 8])),
    ("siblings", Processors(&[2])),
    ("smp_storm", Differs("it never ends, and QEMU delivers NMIs to processors that wait for a \
        start-up IPI")),
    // QEMU takes features that it has not offered, and drivers without version 1; it follows an
    // indirect table without the feature, buffers outside RAM, and ignores sizes that are none.
    ("disk", Disks("lenient reset")),
    // QEMU's network of sockets carries frames whatever their headers ask for, and does not take
    // the link down when the other end has gone.
    ("net", Network(
        "role=server ip=10.0.0.1 lenient reset",
        "role=client ip=10.0.0.2 peer=10.0.0.1 lenient reset",
    )),
    ("text_screen", Differs("its screen is held against QEMU's by `screen`")),
    ("keyboard", Differs("QEMU's monitor types its keys in `screen`")),
    ("world", Same("")),
    ("nimble", Same("")),
    ("flat_hello", Differs("QEMU's loader has no raw images")),
];

#[test]
fn every_guest_has_a_line_here() {
    let images: Vec<&str> = guests::IMAGES.iter().map(|image| image.name).collect();
    let lines: Vec<&str> = GUESTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(images, lines);
}

/// One after another: each is a whole emulated machine.
#[test]
fn guests_print_in_plain_qemu_what_they_print_on_tandem() {
    let folder = xtask::guest_files::write().expect("the guests as files");
    let file = |guest: &str| folder.join(format!("{guest}.bin"));
    let mut differences = Vec::new();
    for (guest, control) in GUESTS {
        let result = match control {
            Same(cmdline) => compare_one(guest, &file(guest), cmdline, 1),
            Pair(cmdline, other, others) => {
                compare_pair([(guest, &file(guest), cmdline), (other, &file(other), others)])
            }
            Processors(counts) => {
                counts.iter().try_for_each(|count| compare_one(guest, &file(guest), "", *count))
            }
            Network(one, other) => {
                compare_network([(guest, &file(guest), one), (guest, &file(guest), other)])
            }
            Disks(cmdline) => compare_disks(guest, &file(guest), cmdline),
            Hvc(cmdline) => compare_hvc(guest, &file(guest), cmdline),
            PairedWith(other) => {
                let pair = GUESTS.iter().find(|(name, _)| name == other);
                assert!(matches!(pair, Some((_, Pair(_, with, _))) if with == guest));
                Ok(())
            }
            Differs(why) => {
                println!("{guest}: not held against plain QEMU: {why}");
                Ok(())
            }
        };
        differences.extend(result.err());
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Lines that are about the machine: how much memory firmware left, and x2APIC mode, which QEMU
/// does not emulate.
const OF_THE_MACHINE: [&str; 2] = ["Tandem guest OS, ", "nimble: x2APIC "];
const NOT_OFFERED: &str = " not offered";

/// What both printed, less lines about the machine and about features that one of the processors
/// has not.
fn of_the_guest(lines: [Vec<String>; 2]) -> [Vec<String>; 2] {
    let missing: Vec<String> = lines
        .iter()
        .flatten()
        .filter_map(|line| line.strip_suffix(NOT_OFFERED).map(|feature| format!("{feature} ")))
        .collect();
    let is_left_out = |line: &String| {
        OF_THE_MACHINE.iter().any(|lead| line.starts_with(lead))
            || missing.iter().any(|lead| line.starts_with(lead))
    };
    lines.map(|lines| lines.into_iter().filter(|line| !is_left_out(line)).collect())
}

type Guest<'a> = (&'a str, &'a PathBuf, &'a str);

fn compare_one(guest: &str, file: &Path, cmdline: &str, vcpus: u8) -> Result<(), String> {
    let alone = alone::run(Kernel { file, cmdline }, vcpus, TIMEOUT);
    let alone = alone.map_err(|error| format!("{guest} in plain QEMU: {error:#}"))?;
    let vm = format!("name: guest, kernel: {guest}, cmdline: \"{cmdline}\", vcpus: {vcpus}");
    compare(&format!("vms:\n  - {{{vm}}}\n"), &[("guest", &alone)])
}

fn compare_hvc(guest: &str, file: &Path, cmdline: &str) -> Result<(), String> {
    let alone = alone::with_console(Kernel { file, cmdline }, TIMEOUT);
    let alone = alone.map_err(|error| format!("{guest} in plain QEMU: {error:#}"))?;
    let vm = format!("name: guest, kernel: {guest}, cmdline: \"{cmdline}\", console: hvc0");
    compare(&format!("vms:\n  - {{{vm}}}\n"), &[("guest", &alone)])
}

fn compare_disks(guest: &str, file: &Path, cmdline: &str) -> Result<(), String> {
    let [image, _] = xtask::disk_images::write().map_err(|error| format!("{error:#}"))?;
    let alone = alone::with_disks(Kernel { file, cmdline }, &image, TIMEOUT);
    let alone = alone.map_err(|error| format!("{guest} in plain QEMU: {error:#}"))?;
    let disk = |writes: &str| format!("{{file: {}, writes: {writes}}}", image.display());
    let disks = format!("disks: [{}, {}]", disk("discard"), disk("refuse"));
    let vm = format!("name: guest, kernel: {guest}, cmdline: \"{cmdline}\", {disks}");
    compare(&format!("vms:\n  - {{{vm}}}\n"), &[("guest", &alone)])
}

fn compare_pair(guests: [Guest<'_>; 2]) -> Result<(), String> {
    let kernels = guests.map(|(_, file, cmdline)| Kernel { file, cmdline });
    let [one, two] = alone::pair(kernels, TIMEOUT)
        .map_err(|error| format!("{} in plain QEMU: {error:#}", guests[0].0))?;
    let vm = |(name, (guest, _, cmdline)): (&str, Guest<'_>)| {
        let end = "com2: {link: wire}";
        format!("  - {{name: {name}, kernel: {guest}, cmdline: \"{cmdline}\", {end}}}\n")
    };
    let [first, second] = [vm(("one", guests[0])), vm(("two", guests[1]))];
    let text = format!("vms:\n{first}{second}links:\n  - {{name: wire}}\n");
    compare(&text, &[("one", &one), ("two", &two)])
}

fn compare_network(guests: [Guest<'_>; 2]) -> Result<(), String> {
    let kernels = guests.map(|(_, file, cmdline)| Kernel { file, cmdline });
    let [one, two] = alone::network(kernels, Accelerator::Tcg, TIMEOUT)
        .map_err(|error| format!("{} in plain QEMU: {error:#}", guests[0].0))?;
    let vm = |(name, (guest, _, cmdline)): (&str, Guest<'_>)| {
        let networks = "networks: [{name: lan}]";
        format!("  - {{name: {name}, kernel: {guest}, cmdline: \"{cmdline}\", {networks}}}\n")
    };
    let [first, second] = [vm(("one", guests[0])), vm(("two", guests[1]))];
    let text = format!("vms:\n{first}{second}networks:\n  - {{name: lan}}\n");
    compare(&text, &[("one", &one), ("two", &two)])
}

/// Runs the config on our own VMX in Bochs: QEMU's SVM delivers some interrupts twice
/// (ARCHITECTURE.md, "Not yet").
fn compare(config: &str, vms: &[(&str, &alone::Alone)]) -> Result<(), String> {
    let scratch = Scratch::new().expect("a folder for temporary files");
    let file = scratch.write("control.yml", config.as_bytes()).expect("a file in it");
    let outcome = Target::VmxBochs.run_file(&file, &[]);
    for (vm, alone) in vms {
        let mut lines = transcript::of(&outcome.console, vm);
        let ending = lines.pop().unwrap_or_default();
        let control = transcript::of_one(&alone.console);
        let [lines, control] = of_the_guest([lines, control]);
        let status = ending.strip_prefix(&format!("[{vm} powered off, status "));
        let is_status_equal =
            status.is_none_or(|status| status.trim_end_matches(']') == alone.status.to_string());
        if control.is_empty() || lines != control || !is_status_equal {
            return Err(format!(
                "{config}on Tandem: {lines:#?} {ending}\nin plain QEMU: {control:#?}, status {}",
                alone.status
            ));
        }
    }
    Ok(())
}
