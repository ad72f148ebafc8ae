//! One of three VMs is paused and restarted, at moments drawn by a seed, on every target: its
//! neighbours keep their shares and their bytes, and its last life passes its tests.

use crate::targets::{Outcome, Target};
use crate::transcript;
use serde_json::Value;
use std::fs;
use xtask::emulate::Typed;
use xtask::scratch::Scratch;

/// What the guest OS prints on its way: at one of these lines it is restarted.
const MOMENTS: [&str; 6] = [
    "victim | Tandem guest OS",
    "victim | Hello, world!",
    "victim | usertests: sleep_simple PASSED",
    "victim | sleep: woke after 40 ms",
    "victim | yield: second gave way",
    "victim | forktest: 5 children",
];
/// Restarts of a run: two runs on a target make fifty.
const RESTARTS: usize = 25;
const NS_PER_SLICE: u64 = 5_000_000;
const ONE_PERCENT_PPM: u64 = 10_000;

/// Keys that pause the victim, let it go on and restart it, and at the end `last`, once it has
/// passed its tests and is off.
fn keys(seed: u64, last: &str) -> Vec<Typed> {
    let mut random = seed;
    let mut below = |n: u64| {
        // Knuth's MMIX: its high bits are random enough.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let restart = |_| {
        let after = MOMENTS[below(MOMENTS.len() as u64) as usize].to_string();
        let keys: &[u8] = match below(4) {
            0 => b"\x01p\x01r",
            1 => b"\x01p\x01p\x01r",
            _ => b"\x01r",
        };
        Typed { after, keys: keys.to_vec() }
    };
    let mut typed: Vec<Typed> = (0..RESTARTS).map(restart).collect();
    let off = "[victim powered off, status 0]".to_string();
    typed.push(Typed { after: off, keys: last.as_bytes().to_vec() });
    typed
}

/// Runs the victim beside these VMs.
fn run(target: Target, neighbours: &str, seed: u64, last: &str) -> Outcome {
    println!("seed {seed}");
    let scratch = Scratch::new().expect("a folder for temporary files");
    let config = scratch.path().join("three.yml");
    let victim = "  - {name: victim, cmdline: 'usertests; poweroff', keyboard: true}";
    fs::write(&config, format!("vms:\n{victim}\n{neighbours}")).expect("it can be written");
    let outcome = target.run_file(&config, &keys(seed, last));
    let victim = vm(&outcome, "victim");
    assert_eq!(number(victim, "restarts"), RESTARTS as u64, "{}", outcome.console);
    assert_eq!(victim["is_success"], true, "{}", outcome.console);
    let lines = transcript::of(&outcome.console, "victim");
    assert!(lines.iter().any(|line| line == "usertests: all passed"), "{lines:?}");
    outcome
}

fn vm<'a>(outcome: &'a Outcome, name: &str) -> &'a Value {
    let vms = outcome.receipt["vms"].as_array().expect("a receipt has VMs");
    vms.iter().find(|vm| vm["name"] == name).expect("it has this one")
}

fn number(vm: &Value, key: &str) -> u64 {
    vm[key].as_u64().unwrap_or_else(|| panic!("{key} of {vm:#}"))
}

fn check(target: Target) {
    let spins = "  - {name: left, kernel: spin, cmdline: forever}\n  \
                 - {name: right, kernel: spin, cmdline: forever}\n";
    let outcome = run(target, spins, 14, "\x01x");
    // The victim leaves them what it does not use, so that they have more than they were due; but
    // not less, and as much as each other, and where all three have work, their shares.
    let ran = |vm: &Value| number(vm, "guest_ns") + number(vm, "vmm_ns");
    let [left, right] = ["left", "right"].map(|name| vm(&outcome, name));
    for vm in [left, right] {
        let (due, ran) = (number(vm, "due_ns"), ran(vm));
        assert!(ran + due / 100 + 2 * NS_PER_SLICE >= due, "{ran} of {due} ns: {vm:#}");
        assert_eq!((number(vm, "held_ns"), number(vm, "restarts")), (0, 0));
        if let Some(received) = vm["received_ppm"].as_u64() {
            let off = received.abs_diff(number(vm, "entitled_ppm"));
            assert!(off <= ONE_PERCENT_PPM, "{off} ppm off: {vm:#}");
        }
    }
    let most = ran(left) / 100 + 2 * NS_PER_SLICE;
    assert!(ran(left).abs_diff(ran(right)) <= most, "{left:#} {right:#}");
    let talks = "  - {name: left, kernel: bulk, cmdline: 64 1, com2: {link: wire}}\n  \
                 - {name: right, kernel: bulk, cmdline: 64 2, com2: {link: wire}}\n\
                 links: [{name: wire}]\n";
    let outcome = run(target, talks, 41, "");
    assert_eq!(outcome.receipt["lost_bytes"], 0, "{}", outcome.console);
    for name in ["left", "right"] {
        assert_eq!(vm(&outcome, name)["is_success"], true, "{}", outcome.console);
    }
    assert_eq!(outcome.exit, 0, "{}", outcome.console);
}

#[test]
fn a_vm_is_restarted_fifty_times_beside_neighbours_over_kvm() {
    check(Target::Kvm);
}

#[test]
fn a_vm_is_restarted_fifty_times_beside_neighbours_on_vmx() {
    check(Target::VmxBochs);
}

#[test]
fn a_vm_is_restarted_fifty_times_beside_neighbours_on_svm() {
    check(Target::SvmQemu);
}
