//! What the history has to look like from here on.

use conformance::Tree;
use std::path::Path;
use std::process::Command;

/// The last commit that was made before there was this rule.
const BEFORE: &str = "5c21c36";
/// No subject is longer, in characters.
const MAX_SUBJECT: usize = 72;

#[test]
fn subjects_of_commits_have_at_most_72_characters() {
    let tree = Tree::read();
    // An archive of the sources, or a shallow clone, has no history to look at.
    let Some(subjects) = subjects_since(tree.root()) else { return };
    let long = long_subjects(&subjects);
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

fn subjects_since(root: &Path) -> Option<String> {
    let range = format!("{BEFORE}..HEAD");
    let mut git = Command::new("git");
    git.current_dir(root).args(["log", "--no-merges", "--format=%s", &range]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn long_subjects(subjects: &str) -> Vec<&str> {
    subjects.lines().filter(|subject| subject.chars().count() > MAX_SUBJECT).collect()
}

#[test]
fn a_planted_long_subject_is_found() {
    let (right, long) = ("a".repeat(72), "a".repeat(73));
    assert_eq!(long_subjects(&format!("{right}\n{long}\n")), [long]);
}
