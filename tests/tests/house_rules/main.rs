//! The house rules of CONTRIBUTING.md, as far as a program can hold them.

use conformance::{SourceFile, Tree};

mod commits;
mod form;
mod sizes;

#[test]
fn unsafe_code_lies_only_in_the_files_that_the_architecture_lists() {
    let tree = Tree::read();
    let architecture = tree.text("ARCHITECTURE.md");
    let list = section(architecture, "## Unsafe code");
    let is_listed = |path: &str| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        list.contains(&format!("`{path}`")) || list.contains(&format!("`{folder}/`"))
    };
    for file in tree.rust().filter(|file| is_unsafe_bearing(file)) {
        assert!(is_listed(&file.path), "{} is not listed", file.path);
    }
}

#[test]
fn the_shared_crates_forbid_unsafe_code_and_the_standard_library() {
    let tree = Tree::read();
    for library in ["devices/src/lib.rs", "vmm-common/src/lib.rs"] {
        let text = tree.text(library);
        assert!(text.contains("#![forbid(unsafe_code)]"), "{library}");
        assert!(text.contains("#![no_std]"), "{library}");
    }
}

#[test]
fn arrows_between_the_crates_point_one_way() {
    let tree = Tree::read();
    let uses = |krate: &str, other: &str| {
        let prefix = format!("{krate}/src/");
        let of_crate = tree.rust().filter(|file| file.path.starts_with(&prefix));
        let name = format!("{other}::");
        of_crate.flat_map(|file| file.code()).any(|line| line.contains(&name))
    };
    for (krate, others) in [
        ("devices", &["vmm_common", "vmm_config", "vmm_kvm", "guests"][..]),
        ("vmm-common", &["vmm_config", "vmm_kvm", "guests"]),
        ("vmm-config", &["vmm_kvm", "guests"]),
        ("vmm-baremetal", &["vmm_config", "vmm_kvm"]),
    ] {
        for other in others {
            assert!(!uses(krate, other), "{krate} uses {other}");
        }
    }
}

#[test]
fn nothing_is_left_to_do_in_shipped_code_and_no_test_is_ignored() {
    let unfinished = ["todo!(", "unimplemented!(", "#[ignore", "FIXME"];
    for file in Tree::read().rust().filter(|file| !file.path.starts_with("tests/")) {
        for word in unfinished {
            assert!(!file.text.contains(word), "{} has {word}", file.path);
        }
    }
}

#[test]
fn a_device_or_the_loop_never_unwraps() {
    for file in Tree::read().rust() {
        let is_shared =
            file.path.starts_with("devices/src/") || file.path.starts_with("vmm-common/src/");
        if !is_shared || file.is_test() {
            continue;
        }
        let shipped = file.text.split("#[cfg(test)]").next().unwrap_or("");
        assert!(!shipped.contains(".unwrap()"), "{} unwraps; say why it cannot fail", file.path);
    }
}

fn is_unsafe_bearing(file: &SourceFile) -> bool {
    // Put together here, so that this file does not find itself.
    let forms = [" {", " fn", " impl", " extern", "("].map(|form| ["unsafe", form].concat());
    file.code().any(|line| forms.iter().any(|form| line.contains(form.as_str())))
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}
