//! How a file looks: columns, lengths, matches, names. Each rule is a function of a file's text,
//! and has a test that it finds a planted fault.

use conformance::syntax::Syntax;
use conformance::{SourceFile, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// No line of ours is longer, in characters.
const MAX_COLUMNS: usize = 100;
/// No file of ours is longer.
const MAX_FILE_LINES: usize = 500;
/// No function is longer, from `fn` to the closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// A match on an enum with more variants may end in a wildcard: it picks a few of many.
const MAX_LISTED_VARIANTS: usize = 16;
/// Names that tools give a meaning, or that say which part of a pair or a module a file is.
const COMMON_NAMES: [&str; 4] = ["main.rs", "lib.rs", "mod.rs", "tests.rs"];
/// File names that occur twice in a crate's `src` though they mean different things. To be
/// shortened, never to be added to.
const REPEATED: [(&str, &str); 2] = [("devices", "registers.rs"), ("vmm-common", "memory.rs")];
/// Lines and functions that were too long, and a match on an enum of ours that ended in a wildcard,
/// before these were rules. To be mended, never to be added to.
const UNMENDED: [&str; 3] = [
    "metal/src/svm/entry.rs: enter",
    "vmm-common/src/system.rs: turn",
    "vmm-common/tests/instructions/translated.rs: operation",
];

#[test]
fn no_line_has_more_than_100_columns() {
    let tree = Tree::read();
    let files = tree.rust().filter(|file| !UNMENDED.contains(&file.path.as_str()));
    none(files.flat_map(|file| led_by(&file.path, long_lines(&file.text))));
}

#[test]
fn no_file_is_too_long_to_read() {
    for file in Tree::read().rust() {
        let lines = file.text.lines().count();
        assert!(lines <= MAX_FILE_LINES, "{} has {lines} lines", file.path);
    }
}

#[test]
fn no_function_has_more_than_70_lines() {
    let tree = Tree::read();
    none(tree.rust().flat_map(|file| {
        let long = long_functions(&syntax(file));
        let is_new = |name: &String| !UNMENDED.contains(&format!("{}: {name}", file.path).as_str());
        led_by(&file.path, long.into_iter().filter(is_new).collect())
    }));
}

#[test]
fn no_match_on_an_enum_of_ours_ends_in_a_wildcard() {
    let tree = Tree::read();
    let syntax: Vec<(&str, Syntax)> =
        tree.rust().map(|file| (file.path.as_str(), syntax(file))).collect();
    let mut own = BTreeMap::new();
    for (name, variants) in syntax.iter().flat_map(|(_, syntax)| &syntax.enums) {
        let most: &mut usize = own.entry(name.clone()).or_default();
        *most = (*most).max(*variants);
    }
    let is_held = |path: &str| !is_of_tests(path) && !UNMENDED.contains(&path);
    let shipped = syntax.iter().filter(|(path, _)| is_held(path));
    none(shipped.flat_map(|(path, syntax)| led_by(path, wildcards(syntax, &own))));
}

#[test]
fn file_names_do_not_repeat_within_a_crate() {
    let tree = Tree::read();
    let paths: Vec<&str> = tree.rust().map(|file| file.path.as_str()).collect();
    none(repeated(&paths).into_iter());
}

fn syntax(file: &SourceFile) -> Syntax {
    Syntax::of(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path))
}

fn is_of_tests(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
}

fn long_lines(text: &str) -> Vec<String> {
    let lengths = text.lines().map(|line| line.chars().count()).enumerate();
    let long = lengths.filter(|(_, columns)| *columns > MAX_COLUMNS);
    long.map(|(line, columns)| format!("line {} has {columns} columns", line + 1)).collect()
}

/// The names of functions that are too long.
fn long_functions(syntax: &Syntax) -> Vec<String> {
    let long = syntax.functions.iter().filter(|function| function.lines > MAX_FUNCTION_LINES);
    long.map(|function| function.name.clone()).collect()
}

/// Where a match on one of the enums `own`, which have so many variants, ends in a wildcard.
fn wildcards(syntax: &Syntax, own: &BTreeMap<String, usize>) -> Vec<String> {
    let is_small = |name: &&String| own.get(*name).is_some_and(|n| *n <= MAX_LISTED_VARIANTS);
    let mut found = Vec::new();
    for wildcard in &syntax.wildcards {
        if let Some(name) = wildcard.enums.iter().find(is_small) {
            found.push(format!("line {}: _ => in a match on {name}", wildcard.line));
        }
    }
    found
}

/// File names that occur twice in one crate's `src`. The folders `vmx` and `svm` are twins: what
/// has one name in both is the same thing for the other vendor.
fn repeated(paths: &[&str]) -> Vec<String> {
    let mut seen: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for path in paths {
        let Some((name_of_crate, file)) = path.split_once("/src/") else { continue };
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        if COMMON_NAMES.contains(&name) || REPEATED.contains(&(name_of_crate, name)) {
            continue;
        }
        let folder = folder.replace("vmx", "vendor").replace("svm", "vendor");
        seen.entry((name_of_crate, name)).or_default().insert(folder);
    }
    let twice = seen.into_iter().filter(|(_, folders)| folders.len() > 1);
    twice.map(|((of, name), folders)| format!("{of}: {name} in {folders:?}")).collect()
}

fn led_by(path: &str, faults: Vec<String>) -> impl Iterator<Item = String> + use<> {
    let path = path.to_string();
    faults.into_iter().map(move |fault| format!("{path}: {fault}"))
}

/// Fails with all faults at once.
fn none(faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn planted_faults_of_form_are_found() {
    let line = "x".repeat(100);
    assert_eq!(long_lines(&format!("{line}\n{line}y\n")), ["line 2 has 101 columns"]);
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", "a();\n".repeat(lines - 2));
    let long = |lines| long_functions(&Syntax::of(&function(lines)).expect("it is Rust"));
    assert_eq!((long(70), long(71)), (vec![], vec!["long".to_string()]));
    let text = "fn f() { match x {\nOwn::A => 1,\n_ => 2 } match y { Other::A => 1, _ => 2 } }";
    let found = |variants| {
        let own = BTreeMap::from([("Own".to_string(), variants)]);
        wildcards(&Syntax::of(text).expect("it is Rust"), &own)
    };
    assert_eq!((found(16), found(17)), (vec!["line 3: _ => in a match on Own".into()], vec![]));
    let paths = ["a/src/x.rs", "a/src/b/x.rs", "a/src/tests.rs", "a/src/b/tests.rs", "c/src/x.rs"];
    assert_eq!(repeated(&paths), [r#"a: x.rs in {"", "b"}"#]);
    assert_eq!(repeated(&["a/src/vmx/x.rs", "a/src/svm/x.rs"]), [""; 0]);
}
