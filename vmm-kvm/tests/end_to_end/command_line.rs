//! The subcommands that run nothing, and command lines that are wrong.

use crate::harness::{Finished, Scratch, Tandem, config};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Bytes of a config.bin.
const CONFIG_BYTES: usize = 4096;

fn vmm_kvm<const N: usize>(arguments: [&dyn AsRef<OsStr>; N]) -> Finished {
    Tandem::with(arguments.map(AsRef::as_ref)).finish()
}

/// The u64s of the config.bin that `config` compiles to.
fn compiled(config: &Path) -> Vec<u64> {
    let scratch = Scratch::new();
    let to = scratch.path("config.bin");
    vmm_kvm([&"compile", &config, &"-o", &to]).ended_with(0).complains_of_nothing();
    let bytes = fs::read(to).expect("it was written");
    assert_eq!(bytes.len(), CONFIG_BYTES);
    bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect()
}

#[test]
fn the_seeds_file_compiles_to_its_thirteen_words() {
    let words = compiled(&config("seed.yml"));
    assert_eq!(words[..13], [2, 0, 0x100_0000, 1, 1, 1, 1, 1, 0x100_0000, 1, 1, 1, 1]);
    assert!(words[13..].iter().all(|word| *word == 0), "{words:x?}");
}

#[test]
fn a_native_config_compiles_to_the_same_layout() {
    let scratch = Scratch::new();
    let text = "vms: [{id: 7, memory: 8MiB, devices: {hpet: false}, cmdline: poweroff}]";
    let words = compiled(&scratch.file("one.yml", text));
    assert_eq!(words[..7], [1, 7, 8 << 20, 1, 1, 0, 1]);
    assert!(words[7..].iter().all(|word| *word == 0), "{words:x?}");
}

#[test]
fn compile_says_where_it_cannot_write() {
    for path in ["/no/such/directory/config.bin", "/dev/full"] {
        let run = vmm_kvm([&"compile", &config("seed.yml"), &"-o", &path]);
        run.ended_with(3).complains(&format!("vmm-kvm: cannot write {path}: "));
    }
}

#[test]
fn check_says_what_a_config_would_run() {
    let run = vmm_kvm([&"check", &config("two.yml")]).ended_with(0).complains_of_nothing();
    run.shows("2 VMs with 32MiB").shows("link wire: left.com1 <-> right.com1");
}

#[test]
fn every_config_passes_the_check() {
    xtask::guest_files::write().expect("the files that configs name can be written");
    for name in Scratch::names_in(&config("")).iter().filter(|name| name.ends_with(".yml")) {
        vmm_kvm([&"check", &config(name)]).ended_with(0).complains_of_nothing();
    }
}

#[test]
fn every_invalid_config_is_refused_before_anything_runs() {
    let files = Scratch::names_in(&config("invalid"));
    let files: Vec<_> = files.iter().filter(|name| name.ends_with(".yml")).collect();
    assert!(files.len() > 60, "{files:?}");
    for file in files {
        let path = config("invalid").join(file);
        // The cores and the memory of this host may satisfy what was written for another.
        let depends_on_host = ["core_absent.yml", "memory_host.yml"].contains(&file.as_str());
        if depends_on_host {
            continue;
        }
        for run in [Tandem::with([&path]), Tandem::with(["check".as_ref(), path.as_os_str()])] {
            let run = run.finish().ended_with(2);
            assert!(run.output.is_empty(), "{}", run.shown());
            assert!(run.errors.starts_with(&*path.to_string_lossy()), "{}", run.shown());
        }
    }
}

#[test]
fn all_faults_of_a_config_are_told_at_once() {
    let scratch = Scratch::new();
    let text = "slice: 5\nvms:\n  - {name: one, memory: 10MB}\n  - {name: one, kernel: oss}\n";
    let path = scratch.file("wrong.yml", text);
    let run = vmm_kvm([&"check", &path]).ended_with(2);
    let name = path.display();
    let run = run.complains(&format!("{name}:1:8: slice is 5"));
    let run = run.complains(&format!("{name}:3:25: memory is 10MB"));
    let run = run.complains(&format!("{name}:4:12: a VM is named one already"));
    run.complains(&format!("{name}:4:25: kernel is oss")).complains("4 faults in ");
}

#[test]
fn a_config_that_is_not_there_is_named() {
    let run = Tandem::with(["no/such.yml"]).finish().ended_with(2);
    run.complains("no/such.yml: cannot read the file: No such file or directory");
}

#[test]
fn schema_is_a_json_schema_of_both_spellings() {
    let run = vmm_kvm([&"schema"]).ended_with(0).complains_of_nothing();
    let schema: serde_json::Value = serde_json::from_str(&run.output).expect("it is JSON");
    assert!(schema["$schema"].is_string(), "{}", run.shown());
    for key in ["\"vms\"", "\"vm_count\"", "\"cmdline\"", "\"HPET\""] {
        assert!(run.output.contains(key), "{key}: {}", run.shown());
    }
}

#[test]
fn wrong_command_lines_are_refused_with_a_hint() {
    let wrong: [(&[&str], &str); 9] = [
        (&[], "<CONFIG>"),
        (&["run"], "<CONFIG>"),
        (&["one.yml", "two.yml"], "'two.yml'"),
        (&["one.yml", "--cores", "1"], "--core"),
        (&["one.yml", "--core", "one"], "invalid digit"),
        (
            &["one.yml", "--timeout", "5h"],
            "a time over 0 as 60s, 500ms or 2m, or a number of seconds",
        ),
        (
            &["one.yml", "--timeout", "0s"],
            "a time over 0 as 60s, 500ms or 2m, or a number of seconds",
        ),
        (&["compile", "one.yml"], "--output"),
        (&["check"], "<CONFIG>"),
    ];
    for (arguments, hint) in wrong {
        let run = Tandem::with(arguments).finish().ended_with(2).complains(hint);
        assert!(run.output.is_empty(), "{}", run.shown());
    }
}

#[test]
fn help_and_version_are_no_errors() {
    vmm_kvm([&"--help"])
        .ended_with(0)
        .complains_of_nothing()
        .shows("Exit code 0:")
        .shows("--timeout");
    vmm_kvm([&"--version"]).ended_with(0).complains_of_nothing().shows("vmm-kvm 0.");
}

#[test]
fn the_built_in_guests_are_listed() {
    let run = vmm_kvm([&"guests"]).ended_with(0).complains_of_nothing();
    run.shows("os               [COMMAND; ...] 64-bit OS with a shell\n");
}
