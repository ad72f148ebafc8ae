//! Every config in `configs/invalid` gives exactly the message in the file beside it.
//!
//! `TANDEM_BLESS=1 cargo test -p vmm-config --test invalid` writes the messages; read the
//! difference before keeping it.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "configs/invalid";

fn names() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(DIRECTORY).expect("the configs are in the repository");
    entries.map(|entry| entry.expect("it can be listed").path()).collect()
}

#[test]
fn every_invalid_config_gives_the_message_beside_it() {
    support::enter_repository();
    let is_blessing = std::env::var_os("TANDEM_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in names().iter().filter(|path| path.extension().is_some_and(|e| e == "yml")) {
        count += 1;
        let beside = path.with_extension("txt");
        let message = match vmm_config::load(path, &support::environment()) {
            Ok(_) => String::from("it is valid\n"),
            Err(faults) => faults.to_string(),
        };
        if is_blessing {
            fs::write(&beside, &message).expect("the message can be written");
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if message != expected {
            wrong.push(format!("{}:\n{message}\nexpected:\n{expected}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 60, "{count} configs");
}

#[test]
fn every_message_has_its_config() {
    support::enter_repository();
    for path in names() {
        let is_known = path.extension().is_some_and(|e| e == "yml" || e == "txt");
        assert!(is_known && path.with_extension("yml").is_file(), "{}", path.display());
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = vmm_config::load(Path::new("no/such.yml"), &support::environment()).unwrap_err();
    let expected = "no/such.yml: cannot read the file: No such file or directory (os error 2)\n\
                    1 fault in no/such.yml\n";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_directory_is_no_config() {
    let error = vmm_config::load(Path::new("/"), &support::environment()).unwrap_err();
    assert!(error.to_string().starts_with("/: cannot read the file: "), "{error}");
}

#[test]
fn an_endless_pipe_is_refused() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let writing = std::thread::spawn(move || while writer.write_all(&[b' '; 4096]).is_ok() {});
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let error = vmm_config::load(path.as_ref(), &support::environment()).unwrap_err();
    let expected = "the file has more than 1048576 bytes; allowed: up to 1MiB\n";
    assert!(error.to_string().starts_with(&format!("{path}: {expected}")), "{error}");
    drop(reader);
    writing.join().expect("it ends without a reader");
}

#[test]
fn a_device_is_no_config() {
    let error = vmm_config::load(Path::new("/dev/zero"), &support::environment()).unwrap_err();
    let expected = "/dev/zero: cannot read the file: it is not a regular file\n";
    assert!(error.to_string().starts_with(expected), "{error}");
}

/// Reading /proc/kmsg waits for the kernel's next message; like all of procfs it has 0 bytes.
#[test]
fn files_that_say_they_are_empty_are_not_read() {
    let load = |text: &str| {
        let loaded = vmm_config::load_bytes(
            "one.yml",
            text.as_bytes(),
            Path::new(""),
            &support::environment(),
        );
        loaded.unwrap_err().to_string()
    };
    for file in ["/proc/kmsg", "/proc/self/maps"] {
        let error = load(&format!("vms: [{{kernel: {file}}}]"));
        // Others than root may not open the first.
        let is_empty = error.contains(&format!("kernel is {file}: the image is empty"));
        assert!(is_empty || error.contains("Permission denied"), "{error}");
    }
}

#[test]
fn ten_megabytes_are_refused_without_being_read() {
    let path = std::env::temp_dir().join(format!("tandem-ten-{}.yml", std::process::id()));
    fs::write(&path, "# filler\n".repeat(10_000_000 / 9)).expect("there is room");
    let error = vmm_config::load(&path, &support::environment()).unwrap_err().to_string();
    fs::remove_file(&path).expect("it was just made");
    assert!(error.contains("the file has 9999999 bytes; allowed: up to 1MiB"), "{error}");
}
