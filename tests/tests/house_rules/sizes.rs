//! How much there is of what must be small. The numbers are printed, whatever the test program does
//! with its output otherwise: a limit that is far away is easily lost sight of.

use conformance::{Tree, code_lines};
use std::collections::BTreeMap;
use std::io::Write;

/// Code lines of the isolation core with one vendor's part, the larger one.
const MAX_CORE_LINES: usize = 2_500;
/// The same with both vendors' parts.
const MAX_CORE_LINES_OF_BOTH: usize = 3_500;
/// Of the privileged code, what lies in files that use `unsafe`, parts of a thousand.
const MAX_UNSAFE_PERMILLE: usize = 140;
/// Lines of the files that a reader begins with. The aim is 1,200.
const MAX_FIRST_LINES: usize = 1_200;
/// Crates that run in ring 0 of the bare machine.
const PRIVILEGED: [&str; 4] =
    ["devices/src/", "vmm-common/src/", "vmm-baremetal/src/", "metal/src/"];

#[test]
fn the_isolation_core_is_small() {
    let tree = Tree::read();
    let parts = core_parts(super::section(tree.text("ARCHITECTURE.md"), "## The isolation core"));
    let lines = |part: &str| -> usize {
        let listed = parts.get(part).unwrap_or_else(|| panic!("no row {part}"));
        listed.iter().map(|path| lines_at(&tree, path)).sum()
    };
    let (shared, vmx, svm) = (lines("both"), lines("VMX"), lines("SVM"));
    let [with_vmx, with_svm, both] = [shared + vmx, shared + svm, shared + vmx + svm];
    say(&format!("isolation core: {with_vmx} code lines with VMX, {with_svm} with SVM, {both}"));
    assert!(with_vmx.max(with_svm) <= MAX_CORE_LINES, "{with_vmx}, {with_svm}");
    assert!(both <= MAX_CORE_LINES_OF_BOTH, "{both}");
}

#[test]
fn files_with_unsafe_code_are_few() {
    let tree = Tree::read();
    let is_privileged = |path: &str| PRIVILEGED.iter().any(|folder| path.starts_with(folder));
    let (mut all, mut with_unsafe) = (0, 0);
    for file in tree.rust().filter(|file| is_privileged(&file.path) && !file.is_test()) {
        let lines = code_lines(&file.text);
        all += lines;
        with_unsafe += if super::is_unsafe_bearing(file) { lines } else { 0 };
    }
    let permille = with_unsafe * 1000 / all;
    say(&format!("files with unsafe: {with_unsafe} of {all} privileged code lines"));
    assert!(permille <= MAX_UNSAFE_PERMILLE, "{permille} of a thousand");
}

/// What the README says is the number, rounded up to a hundred.
#[test]
fn the_readme_says_how_much_there_is_to_read_first() {
    let tree = Tree::read();
    let architecture = tree.text("ARCHITECTURE.md");
    let first = architecture.split("## Code map").next().expect("a text has a beginning");
    let paths: Vec<&str> = quoted(first).filter(|word| word.ends_with(".rs")).collect();
    assert!(paths.len() >= 5, "seam, VM, machine, loop, vCPU: {paths:?}");
    let lines: usize = paths.iter().map(|path| shipped_lines(tree.text(path))).sum();
    say(&format!("seam, VM, machine, loop and one vCPU: {lines} lines"));
    let rounded = lines.div_ceil(100) * 100;
    let said = format!("{},{:03} lines", rounded / 1000, rounded % 1000);
    for document in ["README.md", "ARCHITECTURE.md"] {
        assert!(tree.text(document).contains(&said), "{document} should say {said}");
    }
    assert!(lines <= MAX_FIRST_LINES, "{lines}");
}

/// Lines that are not blank, comments among them, up to the tests.
fn shipped_lines(text: &str) -> usize {
    let shipped = text.split("#[cfg(test)]").next().unwrap_or("");
    shipped.lines().filter(|line| !line.trim().is_empty()).count()
}

/// Code lines of a file, or of the files in a folder that ends in `/`.
fn lines_at(tree: &Tree, path: &str) -> usize {
    assert!(tree.has(path), "ARCHITECTURE.md names {path}, which is not there");
    let is_in = |of: &str| of == path || (path.ends_with('/') && of.starts_with(path));
    let files = tree.rust().filter(|file| is_in(&file.path) && !file.is_test());
    files.map(|file| code_lines(&file.text)).sum()
}

/// The rows of the table: `| both, VMX or SVM | quoted paths |`.
fn core_parts(section: &str) -> BTreeMap<&str, Vec<&str>> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.map(|(part, paths)| (part, quoted(paths).collect())).collect()
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Prints past the test program, which keeps the output of tests that pass.
fn say(text: &str) {
    // Where it cannot be printed, the limits hold all the same.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[test]
fn sizes_are_counted_as_they_are_said_to_be() {
    assert_eq!(shipped_lines("//! A.\n\nfn f() {}\n#[cfg(test)]\nmod tests {}\n"), 2);
    let parts = core_parts("Text.\n\n| for | files |\n|---|---|\n| VMX | `a.rs`, `b/` |\n");
    assert_eq!(parts["VMX"], ["a.rs", "b/"]);
}
