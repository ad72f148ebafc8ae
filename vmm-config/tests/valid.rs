//! What valid configs come to: the ones Tandem brings, and each key of the native spelling.

mod support;

use std::fs;
use std::path::Path;
use vmm_common::plan::{
    BootKind, ImageSource, OnSwitch, Outcome, Outcomes, Plan, SerialPlan, Share, VmPlan,
};
use vmm_common::seed;
use vmm_config::{Loaded, load, load_bytes, notes, summary};

fn loaded(text: &str) -> Loaded {
    let loaded = load_bytes("test.yml", text.as_bytes(), Path::new(""), &support::environment());
    loaded.unwrap_or_else(|faults| panic!("{faults}"))
}

fn plan(text: &str) -> Plan {
    loaded(text).plan
}

fn config(name: &str) -> Loaded {
    support::enter_repository();
    let loaded = load(Path::new(&format!("configs/{name}.yml")), &support::environment());
    loaded.unwrap_or_else(|faults| panic!("{faults}"))
}

/// The seed's prase.py: a truncated file of 4 KiB, then `struct.pack('<Q', ...)` in this order.
fn packed(words: &[u64]) -> Vec<u8> {
    let mut file = vec![0; 4 * 1024];
    for (index, word) in words.iter().enumerate() {
        for byte in 0..8 {
            file[index * 8 + byte] = (word >> (8 * byte)) as u8;
        }
    }
    file
}

#[test]
fn the_seeds_file_compiles_to_the_bytes_of_the_seeds_script() {
    let words = seed::from_plan(&config("seed").plan);
    let compiled = seed::encode(&words).expect("two VMs fit");
    let expected = [
        2, // vm_count
        0, 0x100_0000, 1, 1, 1, 1, // vm0: id, memory, vcpu_count, io_apic, HPET, local_apic
        1, 0x100_0000, 1, 1, 1, 1, // vm1
    ];
    assert_eq!(compiled, packed(&expected));
}

#[test]
fn the_seeds_file_stands_as_the_seed_has_it_but_for_a_comment() {
    support::enter_repository();
    let text = fs::read_to_string("configs/seed.yml").unwrap();
    let (comment, rest) = text.split_once('\n').unwrap();
    assert!(comment.starts_with('#'));
    let vm = |id| {
        format!(
            "vm{id}: \n  id: {id}\n  memory: 0x100_0000\n  vcpu_count: 1\n  io_apic: 1\n  \
            HPET: 1\n  local_apic: 1\n"
        )
    };
    assert_eq!(rest, format!("vm_count: 2\n{}{}", vm(0), vm(1)));
}

#[test]
fn the_seeds_zeros_leave_devices_out_and_order_is_by_number() {
    let plan = plan(
        "vm1: {id: 7, memory: 4096_000, vcpu_count: 1, io_apic: 0, HPET: 0, local_apic: 0}\n\
         vm0: {id: 5, memory: 16777216, vcpu_count: 1, io_apic: 1, HPET: 1, local_apic: 1}\n\
         vm_count: 2\n",
    );
    let words = seed::from_plan(&plan);
    assert_eq!((words[0].id, words[1].id, words[1].memory), (5, 7, 4_096_000));
    assert_eq!((words[1].io_apic, words[1].hpet, words[1].local_apic), (0, 0, 0));
}

#[test]
fn both_spellings_of_the_main_job_come_to_the_same_machines() {
    let (seed, mut two) = (config("seed").plan, config("two").plan);
    two.links[0].name = seed.links[0].name.clone();
    for (two, seed) in two.vms.iter_mut().zip(&seed.vms) {
        two.name = seed.name.clone();
    }
    assert_eq!(two, seed);
}

#[test]
fn every_config_that_tandem_brings_loads() {
    let counts = [("link", 2), ("weighted", 3), ("budget", 3), ("many", 32), ("shell", 2)];
    for (name, count) in counts {
        let Loaded { plan, images } = config(name);
        assert_eq!((plan.vms.len(), images.len()), (count, count), "{name}");
    }
    let shares: Vec<Share> = config("weighted").plan.vms.iter().map(|vm| vm.share).collect();
    assert_eq!(shares, [1, 2, 4].map(Share::Weight));
    let names: Vec<String> = config("many").plan.vms.into_iter().map(|vm| vm.name).collect();
    assert_eq!((names[0].as_str(), names[31].as_str()), ("vm0", "vm31"));
}

#[test]
fn a_vm_that_says_nothing_has_the_defaults() {
    let plan = plan("vms: [{}, {}]");
    assert_eq!((plan.slice_ns, plan.core, plan.links.len()), (5_000_000, None, 0));
    assert_eq!(plan.on_switch, OnSwitch::Barriers);
    let VmPlan { id, name, memory_bytes, vcpu_count, devices, boot, share, serial, .. } =
        &plan.vms[1];
    assert_eq!((*id, name.as_str(), *memory_bytes, *vcpu_count), (1, "vm1", 16 << 20, 1));
    assert!(devices.has_io_apic && devices.has_hpet && devices.has_local_apic);
    assert_eq!(boot.kernel, ImageSource::Builtin(String::from("os")));
    assert_eq!((boot.kind, &boot.bios), (BootKind::Auto, &None));
    assert_eq!(*share, Share::Weight(1));
    let absent = SerialPlan::Absent;
    assert_eq!(*serial, [SerialPlan::Console, absent, absent, absent]);
    assert_eq!(plan.vms.iter().map(|vm| vm.has_keyboard).collect::<Vec<_>>(), [true, false]);
    let outcomes = Outcomes { on_halt: Outcome::Failure, on_reset: Outcome::Failure };
    assert_eq!(plan.vms[1].outcomes, outcomes);
}

#[test]
fn every_key_arrives() {
    let plan = plan(
        "slice: 2500us\non_switch: nothing\ncore: 1\nvms:\n  - name: 1\n    id: 0x1_0\n    \
         kernel: flat_hello\n    boot: flat\n    cmdline: 5000\n    memory: 8 MiB\n    \
         vcpus: 1\n    weight: 3\n    \
         devices: {io_apic: false, hpet: false, local_apic: false}\n    keyboard: false\n    \
         on_halt: success\n    on_reset: success\n    com1: absent\n    com2: {switched: a}\n    \
         com3: none\n    com4: {link: b, baud: 9600}\n  \
         - budget: {run: 0.5ms, every: 10ms}\n    keyboard: true\n    com1: {link: a}\n    \
         com2: {link: b}\nlinks:\n  - {name: a, lossy: true, tap: a.log}\n  - name: b\n",
    );
    assert_eq!((plan.slice_ns, plan.core), (2_500_000, Some(1)));
    assert_eq!(plan.on_switch, OnSwitch::Nothing);
    let vm = &plan.vms[0];
    assert_eq!((vm.name.as_str(), vm.id, vm.cmdline.as_str()), ("1", 16, "5000"));
    assert_eq!(
        (vm.boot.kind, vm.memory_bytes, vm.share),
        (BootKind::Flat, 8 << 20, Share::Weight(3))
    );
    assert!(!vm.devices.has_io_apic && !vm.devices.has_hpet && !vm.devices.has_local_apic);
    let (absent, nothing) = (SerialPlan::Absent, SerialPlan::Unconnected);
    let ports = [absent, SerialPlan::Switched(0), nothing, SerialPlan::Link(1)];
    assert_eq!(vm.serial, ports);
    let success = Outcomes { on_halt: Outcome::Success, on_reset: Outcome::Success };
    assert_eq!((vm.outcomes, plan.vms[1].outcomes), (success, Outcomes::default()));
    assert_eq!(plan.vms[1].share, Share::Budget { run_ns: 500_000, period_ns: 10_000_000 });
    assert_eq!((vm.has_keyboard, plan.vms[1].has_keyboard), (false, true));
    let (a, b) = (&plan.links[0], &plan.links[1]);
    assert_eq!((a.baud, a.is_lossy, a.tap.as_deref()), (None, true, Some("a.log")));
    assert_eq!((b.baud, b.is_lossy, b.tap.as_deref()), (Some(9600), false, None));
}

#[test]
fn the_default_guest_sends_and_prints_only_where_com1_is_a_link() {
    let end = |link| format!("  - com1: {{switched: {link}}}\n");
    let ends: String = ["a", "a", "b", "b"].map(end).concat();
    let plan = plan(&format!(
        "vms:\n{ends}  - kernel: os\n  - kernel: spin\nlinks: [{{name: a}}, {{name: b}}]"
    ));
    let cmdlines: Vec<&str> = plan.vms.iter().map(|vm| vm.cmdline.as_str()).collect();
    let (sends, prints) = (Plan::default_cmdline(0), Plan::default_cmdline(1));
    assert_eq!(cmdlines, [sends, prints, sends, prints, "usertests; poweroff", ""]);
}

#[test]
fn check_names_the_protocol_and_a_run_says_what_it_guessed() {
    let loaded = loaded(
        "vms:\n  - {}\n  - kernel: flat_hello\n  - {kernel: flat_hello, boot: raw}\n  \
         - {kernel: flat_hello, boot: flat}\n",
    );
    let kernels = ["os (built in), multiboot 1\n", "raw, as it has no signature that is known\n"];
    let text = summary(&loaded);
    assert!(kernels.iter().all(|kernel| text.contains(kernel)), "{text}");
    assert_eq!(text.matches("flat_hello (built in), raw\n").count(), 2, "{text}");
    let note = "VM vm1: flat_hello (built in) has no signature that is known and runs as raw code \
                at 0x200000; boot: raw says that it is meant";
    assert_eq!(notes(&loaded), [note]);
}

#[test]
fn a_kernel_that_is_too_large_is_told_what_it_is() {
    let directory = std::env::temp_dir().join(format!("tandem-large-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let mut image = vec![0; 3 << 20];
    image[0x8001..0x8006].copy_from_slice(b"CD001");
    fs::write(directory.join("cd.iso"), image).unwrap();
    let load = |more: &str| {
        let text = format!("vms: [{{kernel: ./cd.iso, memory: 2MiB{more}}}]");
        load_bytes("a", text.as_bytes(), &directory, &support::environment())
    };
    let (guessed, raw) = (load(""), load(", boot: raw"));
    fs::remove_dir_all(&directory).unwrap();
    let why = "it has 3MiB, the memory 2MiB; allowed: an image that fits";
    let what = " (an ISO 9660 image of a CD: the kernel in it is another file)";
    let message = guessed.unwrap_err().to_string();
    assert!(message.contains(&format!("{why}{what}\n")), "{message}");
    let message = raw.unwrap_err().to_string();
    assert!(message.contains(&format!("{why}\n")), "{message}");
}

#[test]
fn paths_are_relative_to_the_file() {
    let directory = std::env::temp_dir().join(format!("tandem-paths-{}", std::process::id()));
    fs::create_dir_all(directory.join("images")).unwrap();
    fs::write(directory.join("images/kernel"), [0xf4; 64]).unwrap();
    fs::write(directory.join("stub.bin"), [0xeb, 0xfe]).unwrap();
    let file = directory.join("flat.yml");
    let text = "vms:\n  - kernel: images/kernel\n    boot: flat\n    bios: stub.bin\n";
    fs::write(&file, text).unwrap();
    let loaded = load(&file, &support::environment());
    fs::write(directory.join("images/kernel"), vec![0xf4; 3 << 20]).unwrap();
    let text = format!("{text}    memory: 2MiB\n");
    let too_large = load_bytes("a", text.as_bytes(), &directory, &support::environment());
    fs::write(directory.join("images/kernel"), [0xf4; 64]).unwrap();
    fs::write(directory.join("stub.bin"), vec![0xeb; 0x8001]).unwrap();
    let long_stub = load(&file, &support::environment());
    fs::remove_dir_all(&directory).unwrap();
    let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.images[0].kernel.len(), 64);
    assert_eq!(loaded.images[0].bios.as_deref(), Some(&[0xeb, 0xfe][..]));
    let message = too_large.unwrap_err().to_string();
    assert!(message.contains("images/kernel: it has 3MiB, the memory 2MiB"), "{message}");
    let message = long_stub.unwrap_err().to_string();
    assert!(message.contains("flat.yml:4:11: bios is "), "{message}");
}

#[test]
fn a_byte_order_mark_and_dos_line_ends_do_not_matter() {
    let text = "\u{feff}vms:\n  - name: left\n    memory: 4MiB\n    id: 0\n    memory: 1\n";
    let text = text.replace('\n', "\r\n");
    let error = load_bytes("a.yml", text.as_bytes(), Path::new(""), &support::environment());
    let message = error.unwrap_err().to_string();
    assert!(message.starts_with("a.yml:5:5: repeated key memory, first in line 3;"), "{message}");
}

#[test]
fn the_summary_names_every_vm_and_link() {
    let text = summary(&config("two"));
    for part in ["left (id 0)", "right (id 1)", "link wire: left.com1 <-> right.com1", "50.0%"] {
        assert!(text.contains(part), "{text}");
    }
}
