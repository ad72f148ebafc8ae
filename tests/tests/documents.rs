//! What the documents promise is there.

use conformance::Tree;

#[test]
fn every_file_and_test_that_the_architecture_names_exists() {
    let tree = Tree::read();
    let architecture = tree.text("ARCHITECTURE.md");
    let is_path = |word: &&str| {
        let has_known_end = [".rs", ".md", ".yml", "/"].iter().any(|end| word.ends_with(end));
        word.contains('/') && has_known_end && !word.contains(' ') && !word.starts_with('/')
    };
    for path in quoted(architecture).filter(is_path) {
        assert!(tree.has(path), "ARCHITECTURE.md names {path}, which is not there");
    }
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let tree = Tree::read();
    let architecture = tree.text("ARCHITECTURE.md");
    let (_, rest) = architecture.split_once("## Invariants").expect("the section is there");
    let invariants = rest.split("\n## ").next().expect("a section has a text");
    let rows: Vec<&str> = invariants.lines().filter(|line| line.starts_with("| ")).collect();
    let mut held = 0;
    for row in rows.iter().filter(|row| row[2..].starts_with(|c: char| c.is_ascii_digit())) {
        let is_test_name = |word: &&str| {
            word.matches('_').count() >= 2 && word.chars().all(|c| c == '_' || c.is_alphanumeric())
        };
        let names: Vec<&str> = quoted(row).filter(is_test_name).collect();
        assert!(!names.is_empty(), "no test is named for: {row}");
        for name in names {
            let definition = format!("fn {name}(");
            let exists = tree.rust().any(|file| file.text.contains(&definition));
            assert!(exists, "ARCHITECTURE.md names the test {name}, which is not there");
        }
        held += 1;
    }
    assert_eq!(held, 10, "the design has ten invariants");
}

#[test]
fn every_config_that_the_readme_names_exists() {
    let tree = Tree::read();
    let readme = tree.text("README.md");
    for file in quoted(readme).filter(|word| word.ends_with(".yml") && !word.contains('/')) {
        assert!(tree.has(&format!("configs/{file}")), "README.md names {file}");
    }
}

/// What stands between back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
