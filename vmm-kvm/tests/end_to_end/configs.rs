//! Every config of the repository runs and shows what it is for.

use crate::harness::{Finished, Scratch, Tandem, config};
use serde_json::Value;

/// How a config is driven and checked.
struct Entry {
    file: &'static str,
    check: fn(Tandem),
}

/// The most ticks of 1 kHz that a timer's backlog holds.
const BACKLOG: u64 = 1000;

/// One line for each file in `configs/`.
const CONFIGS: [Entry; 22] = [
    Entry { file: "budget.yml", check: budget },
    Entry { file: "disk.yml", check: disk },
    Entry { file: "escapes.yml", check: escapes },
    Entry { file: "hvc.yml", check: hvc },
    Entry { file: "latency.yml", check: latency },
    Entry { file: "link.yml", check: link },
    Entry { file: "linux.yml", check: linux },
    Entry { file: "linux_net.yml", check: linux },
    Entry { file: "many.yml", check: many },
    Entry { file: "multiboot.yml", check: multiboot },
    Entry { file: "net.yml", check: network },
    Entry { file: "nimble.yml", check: nimble },
    Entry { file: "screen.yml", check: screen },
    Entry { file: "seed.yml", check: main_job },
    Entry { file: "shell.yml", check: shell },
    Entry { file: "smp.yml", check: smp },
    Entry { file: "smp_guest.yml", check: smp_guest },
    Entry { file: "ticks.yml", check: ticks },
    Entry { file: "two.yml", check: main_job },
    Entry { file: "typed.yml", check: typed },
    Entry { file: "weighted.yml", check: weighted },
    Entry { file: "world.yml", check: world },
];

#[test]
fn every_config_has_an_entry_here() {
    let files = Scratch::names_in(&config(""));
    let files: Vec<_> = files.iter().filter(|name| name.ends_with(".yml")).collect();
    assert_eq!(files, CONFIGS.map(|entry| entry.file), "add what the new one must show");
}

#[test]
fn the_main_job_runs() {
    run("two.yml");
    run("seed.yml");
}

#[test]
fn the_link_carries_both_directions_at_once() {
    run("link.yml");
}

#[test]
fn thirty_two_vms_all_end() {
    run("many.yml");
}

#[test]
fn a_guest_forges_no_line_of_its_neighbours() {
    run("escapes.yml");
}

#[test]
fn shells_do_what_is_typed() {
    run("shell.yml");
}

#[test]
fn a_config_types_to_its_vms() {
    run("typed.yml");
}

#[test]
fn weights_decide_about_the_shares() {
    run("weighted.yml");
}

#[test]
fn no_register_of_one_vm_shows_in_the_other() {
    run("world.yml");
}

#[test]
fn what_the_seeds_kernel_does_works_or_what_is_missing_is_said() {
    run("nimble.yml");
}

#[test]
fn linux_begins_to_boot() {
    xtask::linux::ensure().expect("Debian's kernel");
    run("linux.yml");
    run("linux_net.yml");
    run("smp.yml");
}

#[test]
fn processors_are_started_and_checked() {
    run("smp_guest.yml");
}

#[test]
fn a_virtio_console_carries_what_a_serial_port_does() {
    run("hvc.yml");
}

#[test]
fn a_text_screen_is_shown_and_a_keyboard_typed_on() {
    run("screen.yml");
}

#[test]
fn disks_do_what_they_should_in_every_mode() {
    xtask::disk_images::write().expect("the images that the config names");
    run("disk.yml");
}

#[test]
fn a_network_carries_frames_of_every_kind() {
    run("net.yml");
}

#[test]
fn bytes_come_back_beside_a_vm_that_never_halts() {
    run("latency.yml");
}

#[test]
fn kernels_given_by_path_get_their_modules() {
    xtask::guest_files::write().expect("the guests that the config names by path");
    run("multiboot.yml");
}

#[test]
fn no_tick_is_lost() {
    run("ticks.yml");
}

#[test]
fn a_budget_is_had_beside_two_spinning_vms() {
    run("budget.yml");
}

fn run(file: &str) {
    let entry = CONFIGS.iter().find(|entry| entry.file == file).expect("it has an entry");
    (entry.check)(Tandem::run(config(file)));
}

fn escapes(run: Tandem) {
    let run = ended_well(run, 2);
    let lines = run.lines_of("other");
    assert_eq!(lines[1..], ["$ hello_world", "Hello, world!", "$ poweroff"], "{lines:?}");
}

fn main_job(run: Tandem) {
    ended_well(run, 2).shows("| the result: COM1 writes OK!!!!");
}

/// What one end says it sent is what the other says it received: 64 KiB with one checksum.
fn link(run: Tandem) {
    const DATA: &str = "65536 bytes checksum ";
    let run = ended_well(run, 2);
    for (sender, receiver) in [("left", "right"), ("right", "left")] {
        let said = |vm: &str, what: &str| {
            let lines = run.lines_of(vm);
            let line = lines.iter().find_map(|line| line.strip_prefix(what).map(str::to_owned));
            line.unwrap_or_else(|| panic!("{vm} does not say {what}\n{}", run.shown()))
        };
        let sent = said(sender, &format!("bulk: sent {DATA}"));
        assert_eq!(sent, said(receiver, &format!("bulk: received {DATA}")), "{}", run.shown());
        assert!(!sent.contains("MISMATCH"));
    }
    for end in run.receipt["links"][0]["ends"].as_array().expect("the link's ends") {
        assert!(end["sent"].as_u64() > Some(65536), "{end}");
        assert_eq!(end["delivered"], end["sent"]);
        assert_eq!(end["lost"], serde_json::json!({}));
    }
}

fn many(run: Tandem) {
    const VMS: usize = 32;
    const LAST_LINE: &str = "primes: 41538 below 500000";
    let run = ended_well(run, VMS);
    let first = run.lines_of("vm0");
    assert!(first.iter().any(|line| line == LAST_LINE), "{}", run.shown());
    for vm in 1..VMS {
        assert_eq!(run.lines_of(&format!("vm{vm}")), first);
    }
}

fn shell(run: Tandem) {
    // A pipe's bytes go to the VM with the keyboard; the other one ends with the run.
    let running = run.with_keyboard().start();
    running.shows_times("Tandem guest OS", 2);
    running.types("echo one; two\nhello_world\n").shows("left  | Hello, world!");
    running.types("poweroff 0\n").shows("[left powered off, status 0]");
    running.receives(crate::harness::Signal::TERM);
    let run = running.finish().ended_with(143).adds_up();
    assert!(run.lines_of("left").iter().any(|line| line == "one"), "{}", run.shown());
    assert_eq!(run.vm("right")["ending"], "stopped: the run was ended by a signal");
}

fn screen(run: Tandem) {
    // Typed before the guest is there to read it: it waits.
    let run = run.typing("aB1\n").finish().ended_with(0).complains_of_nothing().adds_up();
    assert_eq!(run.lines_of("screen")[0], "hello on 0xb8000");
    assert_eq!(run.lines_of("screen").len(), 44, "{}", run.shown());
    assert_eq!(run.lines_of("keys").last().expect("lines"), "text aB1", "{}", run.shown());
}

fn typed(run: Tandem) {
    let run = run.finish().ended_with(0).complains_of_nothing().adds_up();
    assert!(run.lines_of("left").iter().any(|line| line == "hello from left"), "{}", run.shown());
    let right = run.lines_of("right");
    assert!(right.iter().any(|line| line == "the result: COM1 writes OK!!!!"), "{}", run.shown());
}

/// Deficit round robin is exact but for the cycle that the end cuts, 15 ms of core time. What the
/// host takes is no VM's.
fn weighted(run: Tandem) {
    const CYCLE_NS: u64 = 15_000_000;
    let run = measured(run, "weighted.yml", "one");
    let contended_ns = run.number("/contended_ns");
    let vms = ["one", "two", "four"].map(|name| run.vm(name));
    let of = |vm: &Value, key: &str| vm[key].as_u64().unwrap_or_else(|| panic!("no {key}: {vm}"));
    let allowed_ppm = 10_000.max(CYCLE_NS * 1_000_000 / contended_ns);
    for (vm, weight) in vms.into_iter().zip([1, 2, 4]) {
        assert_eq!(of(vm, "entitled_ppm"), weight * 1_000_000 / 7);
        let error_ppm = of(vm, "received_ppm").abs_diff(of(vm, "entitled_ppm"));
        assert!(error_ppm <= allowed_ppm, "{error_ppm} of {allowed_ppm}\n{}", run.shown());
    }
}

/// How much of the core a VM got for its budget is for the simulations: what the host takes away
/// from a period cannot be given back in it. The receipt says which periods were met.
fn budget(run: Tandem) {
    let run = measured(run, "budget.yml", "first");
    let entitled = ["steady", "first", "second"].map(|vm| run.vm(vm)["entitled_ppm"].clone());
    assert_eq!(entitled, [200_000, 400_000, 400_000]);
    let periods = ["met_periods", "missed_periods"].map(|n| run.vm("steady")["budget"][n].as_u64());
    assert!(periods.into_iter().flatten().sum::<u64>() > 0, "{}", run.shown());
    assert!(run.vm("first")["budget"].is_null());
    let received = ["steady", "first", "second"].map(|vm| run.vm(vm)["received_ppm"].as_u64());
    let sum: u64 = received.iter().flatten().sum();
    assert!(
        received.iter().all(Option::is_some) && sum.abs_diff(1_000_000) < 10,
        "{}",
        run.shown()
    );
}

/// A KVM that interprets a kernel's code takes very long to get to its first line, so this only
/// sees that both kernels run on; the conformance tests take the file to its end over Linux's KVM.
fn linux(run: Tandem) {
    boots(run, ["left", "right"]);
}

fn smp(run: Tandem) {
    boots(run, ["two", "four"]);
}

/// Both get on with it: a half each, or a third and two thirds.
fn boots(run: Tandem, vms: [&str; 2]) {
    let run = run.arg("--timeout").arg("3s").finish().ended_with(1).adds_up();
    let guest_ns = |vm: &str| run.vm(vm)["guest_ns"].as_u64().expect("nanoseconds");
    let both_ns: u64 = vms.into_iter().map(guest_ns).sum();
    for vm in vms {
        assert_eq!(run.vm(vm)["ending"], "stopped: the time limit was reached");
        assert!(guest_ns(vm) > both_ns / 4, "{}", run.shown());
    }
}

fn smp_guest(run: Tandem) {
    let run = ended_well(run, 2);
    for (vm, count) in [("two", 2), ("four", 4)] {
        let lines = run.lines_of(vm);
        assert_eq!(lines[0], format!("smp: processors in the MADT: {count}"));
        assert_eq!(lines.last().map(String::as_str), Some("smp: all passed"), "{}", run.shown());
        assert_eq!(run.vm(vm)["vcpus"].as_array().map(Vec::len), Some(count), "{}", run.shown());
    }
}

fn hvc(run: Tandem) {
    let run = ended_well(run, 2);
    for vm in ["hvc", "com"] {
        assert_eq!(run.lines_of(vm).len(), 100, "{}", run.shown());
    }
}

fn disk(run: Tandem) {
    let run = ended_well(run, 2);
    for vm in ["writes", "reads"] {
        let lines = run.lines_of(vm);
        let last = lines.last().map(String::as_str);
        assert_eq!(last, Some("disk: 2 disks, all passed"), "{}", run.shown());
        let is_fine = |line: &&String| line.ends_with(" PASSED");
        assert_eq!(lines.iter().filter(is_fine).count(), lines.len() - 1, "{}", run.shown());
    }
    // The original of an overlay, and of a disk that is not written.
    let image = std::fs::read(xtask::guest_files::folder().join("disk.img"));
    assert!(image.expect("it is there") == xtask::disk_images::counting(), "it was written");
}

fn network(run: Tandem) {
    let run = ended_well(run, 2);
    for vm in ["server", "client"] {
        let lines = run.lines_of(vm);
        let is_fine = |line: &&String| line.ends_with(" PASSED");
        assert_eq!(lines.iter().filter(is_fine).count(), 19, "{}", run.shown());
        let received = lines.iter().filter(|line| line.starts_with("net: received 1048576 bytes"));
        assert_eq!(received.count(), 2, "{}", run.shown());
        assert_eq!(lines.last().map(String::as_str), Some("net: all passed"), "{}", run.shown());
        let counts = &run.vm(vm)["devices"][0]["counts"];
        assert_eq!(counts["frames dropped: malformed"], 4, "{counts}");
    }
}

fn latency(run: Tandem) {
    let run = ended_well(run, 3);
    let lines = run.lines_of("asks");
    let is_answered = |line: &String| line.starts_with("round_trip: 500 ");
    assert!(lines.iter().any(is_answered), "{}", run.shown());
}

fn multiboot(run: Tandem) {
    let run = ended_well(run, 2).shows("flat      | flat: hello");
    let lines = run.lines_of("multiboot");
    let modules = ["cmdline: what the kernel gets to read", "modules: 2", "module: the first one"];
    for line in modules {
        assert!(lines.iter().any(|said| said == line), "{line}\n{}", run.shown());
    }
    let two = std::fs::read(config("two.yml")).expect("the first module");
    let sum: u64 = two.iter().map(|byte| u64::from(*byte)).sum();
    let first = format!("  {} bytes, sum {sum}", two.len());
    assert!(lines.contains(&first), "{first}\n{}", run.shown());
}

/// A host that takes the core so long that the guest cannot keep up makes ticks be dropped: no tick
/// may be missing that the receipt does not count.
fn ticks(run: Tandem) {
    let run = run.finish().complains_of_nothing().adds_up();
    let lines = run.lines_of("ticks");
    assert_eq!(lines.len(), 4, "{}", run.shown());
    // ticks: SOURCE FAILED: SEEN ticks in PERIODS periods
    let failures: Vec<_> = lines.iter().filter_map(|line| line.split_once(" FAILED: ")).collect();
    let missing = failures.iter().map(|(_, counts)| {
        let words: Vec<_> = counts.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word: &&str| word.parse::<u64>().ok());
        let (seen, periods) = (number(0).expect("ticks"), number(3).expect("periods"));
        periods.checked_sub(seen).unwrap_or_else(|| panic!("ticks made up\n{}", run.shown()))
    });
    let dropped = run.vm("ticks")["dropped_ticks"].as_u64().expect("a number");
    // When the guest gives up, as many are owed as a backlog holds.
    let owed = failures.len() as u64 * BACKLOG;
    let missing: u64 = missing.sum();
    assert!(failures.is_empty() || dropped > 0 && missing <= dropped + owed, "{}", run.shown());
    let passed = lines.iter().filter(|line| line.ends_with(" PASSED")).count();
    assert_eq!(passed + failures.len(), lines.len(), "{}", run.shown());
    assert_eq!(run.vm("ticks")["ending"], format!("powered off, status {}", failures.len()));
    run.ended_with(i32::from(!failures.is_empty()));
}

/// Which registers there are depends on the processor; the conformance tests have the table.
fn world(run: Tandem) {
    let run = ended_well(run, 2).shows("world: general registers PASSED");
    for vm in ["odd", "even"] {
        let lines = run.lines_of(vm);
        let is_fine = |line: &&String| line.ends_with(" PASSED") || line.ends_with(" not offered");
        assert!(lines.iter().filter(is_fine).count() == lines.len(), "{}", run.shown());
        assert!(run.vm(vm)["turns"].as_u64() > Some(300), "{}", run.shown());
    }
}

/// Where the KVM's guests have no pages of 1 GiB, each says so and fails.
fn nimble(run: Tandem) {
    const MISSING: &str = "nimble: missing: 1 GiB pages (CPUID 80000001, EDX bit 26)";
    const VMS: [&str; 3] = ["left", "right", "raw"];
    let run = run.finish().complains_of_nothing().adds_up();
    let lines = VMS.map(|vm| run.lines_of(vm));
    if lines.iter().any(|lines| lines.iter().any(|line| line.starts_with(MISSING))) {
        assert!(lines.iter().all(|lines| lines.len() == 1), "{}", run.shown());
        assert!(VMS.iter().all(|vm| run.vm(vm)["ending"] == "powered off, status 2"));
        run.ended_with(1);
        return;
    }
    let has_passed = |lines: &Vec<String>| lines.iter().any(|line| line == "nimble: all passed");
    assert!(lines.iter().all(has_passed), "{}", run.shown());
    run.ended_with(0).shows("nimble: the result: COM1 writes OK!!!!");
}

/// A run of three in which there was a stretch to measure shares on. A host that takes the core
/// most of the time leaves none, as guests that spin by the clock are soon done: then it runs
/// again.
fn measured(run: Tandem, file: &str, vm: &str) -> Finished {
    const MOST_RUNS: u32 = 20;
    let mut run = ended_well(run, 3);
    for _ in 1..MOST_RUNS {
        if run.vm(vm)["received_ppm"].is_u64() {
            break;
        }
        let (taken_ns, wall_ns) = (run.number("/taken_ns"), run.number("/wall_ns"));
        assert!(taken_ns > wall_ns / 4, "{}", run.shown());
        run = ended_well(Tandem::run(config(file)), 3);
    }
    run
}

fn ended_well(run: Tandem, vms: usize) -> Finished {
    let run = run.finish().ended_with(0).complains_of_nothing().adds_up();
    let receipts = run.receipt["vms"].as_array().expect("the VMs");
    assert_eq!(receipts.len(), vms);
    assert!(receipts.iter().all(|vm| vm["is_success"] == true), "{}", run.shown());
    run
}
