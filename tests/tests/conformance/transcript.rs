//! What a VM printed, out of a console that all share.

/// The lines of `vm` in order, less its name, and its ending.
pub fn of(console: &str, vm: &str) -> Vec<String> {
    let ending = format!("[{vm} ");
    let line = |line: &str| {
        let own = line.split_once(" | ").filter(|(name, _)| name.trim_end() == vm);
        let text = own.map(|(_, text)| text);
        text.or_else(|| line.starts_with(&ending).then_some(line)).map(without_progress)
    };
    console.lines().filter_map(|raw| line(raw.trim_end_matches('\r'))).collect()
}

/// The lines of a machine that has the console for itself.
pub fn of_one(console: &str) -> Vec<String> {
    console.lines().map(|raw| without_progress(raw.trim_end_matches('\r'))).collect()
}

/// The rule's two exceptions.
fn without_progress(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["spin:", _, "loops"] => "spin: N loops".to_string(),
        ["round_trip:", "took", ..] => "round_trip: took N us".to_string(),
        _ => line.to_string(),
    }
}

#[test]
fn lines_are_told_apart_by_name() {
    let console = "a  | one\r\nab | two\n[ab powered off, status 0]\na  | spin: 12 loops\n";
    assert_eq!(of(console, "a"), ["one", "spin: N loops"]);
    assert_eq!(of_one("round_trip: took min 9, max 81 us\r\n"), ["round_trip: took N us"]);
    assert_eq!(of(console, "ab"), ["two", "[ab powered off, status 0]"]);
}
