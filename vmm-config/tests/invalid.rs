//! Every config in `configs/invalid` gives exactly the message in the file beside it.
//!
//! `TANDEM_BLESS=1 cargo test -p vmm-config --test invalid` writes the messages; read the
//! difference before keeping it.

mod support;

use std::collections::BTreeSet;
use std::fs;
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
fn an_endless_file_is_refused() {
    let error = vmm_config::load(Path::new("/dev/zero"), &support::environment()).unwrap_err();
    let expected = "/dev/zero: the file has more than 1048576 bytes; allowed: up to 1MiB\n";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn ten_megabytes_are_refused_without_being_read() {
    let path = std::env::temp_dir().join(format!("tandem-ten-{}.yml", std::process::id()));
    fs::write(&path, "# filler\n".repeat(10_000_000 / 9)).expect("there is room");
    let error = vmm_config::load(&path, &support::environment()).unwrap_err().to_string();
    fs::remove_file(&path).expect("it was just made");
    assert!(error.contains("the file has 9999999 bytes; allowed: up to 1MiB"), "{error}");
}
