//! The same config on every target: KVM, VMX in Bochs, SVM in QEMU and in Bochs's AMD model; the
//! main job on a second KVM, too, which is Linux's for AMD's processors.
//!
//! The rule: each VM's lines are the same on every target, byte for byte and in the same order.
//! Orderings across VMs are not compared. Two things are left out of lines: how far a guest that
//! counts until its time is up has got, the number in `spin: N loops`; and what `round_trip` took.
//!
//! A target that cannot be had fails its tests and is named; none is skipped.

mod bad_guests;
mod clocks;
mod control;
mod crashes;
mod gdb;
mod hvc;
mod instructions;
mod linux;
mod linux_disks;
mod linux_network;
mod linux_processors;
mod memory;
mod nimble;
mod page_faults;
mod processor;
mod promises;
mod screen;
mod several_processors;
mod start;
mod streams;
mod targets;
mod tasks;
mod transcript;
mod world;

use targets::{Outcome, Target};
use xtask::emulate::Typed;

/// How a config is checked, by its name.
type Check = fn(&str);

/// A line for each file in `configs/`.
const CONFIGS: [(&str, Check); 22] = [
    ("budget", everywhere),
    ("disk", everywhere),
    ("escapes", everywhere),
    ("hvc", everywhere),
    ("latency", everywhere),
    ("link", everywhere),
    ("linux", linux::check_in_qemu),
    ("linux_net", linux_network::check_in_qemu),
    ("many", over_kvm_and_in_qemu),
    ("multiboot", everywhere),
    ("net", everywhere),
    ("nimble", nimble::check),
    ("screen", screen::check),
    ("seed", everywhere_and_on_debian),
    ("shell", everywhere_typing),
    ("smp", linux_processors::check_in_qemu),
    ("smp_guest", everywhere),
    ("ticks", where_time_is_counted),
    ("two", everywhere_and_on_debian),
    ("typed", everywhere),
    ("weighted", everywhere),
    ("world", world::check),
];

fn check(config: &str) {
    let (name, check) = CONFIGS.iter().find(|(name, _)| *name == config).expect("it has a line");
    check(name);
}

fn everywhere(config: &str) {
    check_on(config, &Target::BARE, &[]);
}

/// On Debian in both spellings; an exit there takes 100 times as long as others do.
fn everywhere_and_on_debian(config: &str) {
    check_on(config, &[&Target::BARE[..], &[Target::KvmOnDebian]].concat(), &[]);
}

/// A host that takes the core has KVM drop ticks, which the guest counts: the emulators' time alone
/// is the same in every run, and there none may be missing.
fn where_time_is_counted(config: &str) {
    let reference = Target::SvmQemu.run(config, &[]);
    assert_eq!(reference.exit, 0, "{config}:\n{}", reference.console);
    for target in [Target::VmxBochs, Target::SvmBochs] {
        compare(config, target, &reference, &target.run(config, &[]));
    }
}

/// 32 times the user tests: Bochs, at 20 million instructions a second, takes more than ten
/// minutes.
fn over_kvm_and_in_qemu(config: &str) {
    check_on(config, &[Target::SvmQemu], &[]);
}

/// A line from one shell to the other; each gets its keys once it is there to read them.
fn everywhere_typing(config: &str) {
    let press = |after: &str, keys: &[u8]| Typed { after: after.into(), keys: keys.into() };
    let typed = [
        press("left  | Tandem guest OS", b"hello_world\nput_char\npoweroff\n"),
        press("right | Tandem guest OS", b"\x011get_char\npoweroff\n"),
    ];
    check_on(config, &Target::BARE, &typed);
}

fn check_on(config: &str, targets: &[Target], typed: &[Typed]) {
    xtask::guest_files::write().expect("the guests that configs name by path");
    let reference = Target::Kvm.run(config, typed);
    println!("{config}: {} by {}", reference.exit_mix(), Target::Kvm.name());
    for target in targets.iter().copied() {
        let outcome = target.run(config, typed);
        println!("{config}: {} by {}", outcome.exit_mix(), target.name());
        compare(config, target, &reference, &outcome);
    }
}

fn compare(config: &str, target: Target, reference: &Outcome, outcome: &Outcome) {
    let name = target.name();
    assert_eq!(outcome.exit, reference.exit, "{config} on {name}:\n{}", outcome.console);
    for vm in reference.vms() {
        let expected = transcript::of(&reference.console, &vm);
        assert!(!expected.is_empty(), "{config}: {vm} printed nothing");
        assert_eq!(transcript::of(&outcome.console, &vm), expected, "{config}, {vm} on {name}");
    }
    assert_eq!(outcome.schema(), reference.schema(), "{config}: the receipt on {name}");
    assert_eq!(outcome.receipt["lost_bytes"], 0, "{config} on {name}");
}

#[test]
fn every_config_has_a_line_here() {
    let files = std::fs::read_dir(targets::configs()).expect("the folder is there");
    let names = files.map(|file| file.expect("it can be read").file_name());
    let names = names.filter_map(|name| Some(name.to_str()?.strip_suffix(".yml")?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_eq!(names, CONFIGS.map(|(name, _)| name));
}

#[test]
fn the_main_job_is_the_same_everywhere() {
    check("two");
}

#[test]
fn the_seeds_file_is_the_same_everywhere() {
    check("seed");
}

#[test]
fn bulk_over_a_link_is_the_same_everywhere() {
    check("link");
}

#[test]
fn bytes_come_back_beside_a_vm_that_never_halts_everywhere() {
    check("latency");
}

#[test]
fn what_a_terminal_would_obey_shows_the_same_everywhere() {
    check("escapes");
}

#[test]
fn weights_are_the_same_everywhere() {
    check("weighted");
}

#[test]
fn a_budget_is_the_same_everywhere() {
    check("budget");
}

#[test]
fn many_vms_are_the_same_over_kvm_and_in_qemu() {
    check("many");
}

#[test]
fn shells_do_the_same_with_what_is_typed_everywhere() {
    check("shell");
}

#[test]
fn kernels_given_by_path_boot_by_multiboot_and_by_a_real_mode_stub_everywhere() {
    check("multiboot");
}

#[test]
fn no_tick_is_lost_however_long_its_guest_waits() {
    check("ticks");
}

#[test]
fn two_unmodified_linux_kernels_share_the_core_on_svm_in_qemu() {
    check("linux");
}

#[test]
fn two_unmodified_linux_kernels_talk_over_a_network_on_svm_in_qemu() {
    check("linux_net");
}

#[test]
fn a_network_carries_frames_of_every_kind_everywhere() {
    check("net");
}

#[test]
fn linux_kernels_with_several_processors_share_the_core_on_svm_in_qemu() {
    check("smp");
}

#[test]
fn vms_with_several_processors_do_the_same_everywhere() {
    check("smp_guest");
}

#[test]
fn disks_do_the_same_everywhere() {
    check("disk");
}

#[test]
fn what_the_seeds_kernel_does_is_the_same_with_nothing_beneath() {
    check("nimble");
}

#[test]
fn every_register_keeps_its_vms_value_across_switches() {
    check("world");
}
