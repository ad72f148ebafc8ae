//! What the documents promise is there.

use conformance::Tree;

#[test]
fn every_file_that_the_documents_name_exists() {
    let tree = Tree::read();
    let is_path = |word: &&str| {
        let has_known_end = [".rs", ".md", ".yml", "/"].iter().any(|end| word.ends_with(end));
        word.contains('/') && has_known_end && !word.contains(' ') && !word.starts_with('/')
    };
    for document in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"] {
        for path in quoted(tree.text(document)).filter(is_path) {
            assert!(tree.has(path), "{document} names {path}, which is not there");
        }
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

/// Names that mean something outside this repository: registers, commands, Linux's files and words.
const FOREIGN: &[&str] = &["cc", "perf"];

/// Words in back quotes that look like a name of something: a type, a function, a key, a guest.
#[test]
fn every_name_that_the_documents_quote_is_in_the_tree() {
    let tree = Tree::read();
    let code: Vec<&str> = tree
        .files()
        .filter(|file| !file.path.ends_with(".md") && !file.path.ends_with("/documents.rs"))
        .map(|file| file.text.as_str())
        .collect();
    let is_known = |word: &str| code.iter().any(|text| has_word(text, word));
    for document in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"] {
        let unknown = unknown_names(tree.text(document), &is_known);
        assert!(unknown.is_empty(), "{document} quotes {unknown:?}, of which there is nothing");
    }
}

#[test]
fn a_planted_name_that_is_nowhere_is_found() {
    let is_known = |word: &str| has_word("impl Vcpu { fn next_entry() {} }", word);
    let text =
        "`Vcpu::next_entry`, `next`, `Vcpu::load_vmcs`\n```text\n`fenced`\n```\n`a b`, `c/d.rs`";
    assert_eq!(unknown_names(text, &is_known), ["next", "Vcpu::load_vmcs"]);
}

/// Quoted names of which some part is unknown.
fn unknown_names<'a>(text: &'a str, is_known: &impl Fn(&str) -> bool) -> Vec<&'a str> {
    let is_name = |word: &&str| {
        word.chars().all(|c| c == '_' || c == ':' || c.is_ascii_alphanumeric())
            && word.starts_with(|c: char| c.is_ascii_alphabetic())
            && !word.ends_with('_')
            && !FOREIGN.contains(word)
    };
    let outside = text.split("```").step_by(2).flat_map(quoted);
    let is_unknown = |word: &&str| word.split(':').any(|part| !part.is_empty() && !is_known(part));
    outside.filter(is_name).filter(is_unknown).collect()
}

/// Whether `word` stands in `text` and is no part of a longer word.
fn has_word(text: &str, word: &str) -> bool {
    let is_apart = |c: Option<char>| c.is_none_or(|c| c != '_' && !c.is_alphanumeric());
    text.match_indices(word).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + word.len()..]);
        is_apart(before.chars().next_back()) && is_apart(behind.chars().next())
    })
}

/// What stands between back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
