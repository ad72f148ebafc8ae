use super::*;

/// Every scalar with its key's path, place and text: `vms.0.name 2:11 "left"`.
fn flat(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(root) = parse(text).expect("it is YAML") {
        flatten("", &root, &mut lines);
    }
    lines
}

fn flatten(path: &str, node: &Node, lines: &mut Vec<String>) {
    let Position { line, column, width, .. } = node.at;
    let mut leaf = |text: String| lines.push(format!("{path} {line}:{column}+{width} {text}"));
    match &node.value {
        Value::Nothing => leaf(String::from("nothing")),
        Value::Boolean(value) => leaf(format!("{value}")),
        Value::Number(text) => leaf(format!("number {text}")),
        Value::Text(text) => leaf(format!("{text:?}")),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}.{index}"), item, lines);
            }
        }
        Value::Mapping(entries) => {
            for (key, value) in entries {
                let Value::Text(name) = &key.value else { panic!("all keys here are text") };
                let at = (key.at.line, key.at.column);
                flatten(&format!("{path}/{name}@{}:{}", at.0, at.1), value, lines);
            }
        }
    }
}

#[test]
fn keys_and_values_know_their_places_at_any_depth() {
    let text = "# héllo\nvms:\n  - name: left\n    é: {run: 2ms, every: [a, b]}\n";
    let expected = [
        "/vms@2:1.0/name@3:5 3:11+4 \"left\"",
        "/vms@2:1.0/é@4:5/run@4:9 4:14+3 \"2ms\"",
        "/vms@2:1.0/é@4:5/every@4:19.0 4:27+1 \"a\"",
        "/vms@2:1.0/é@4:5/every@4:19.1 4:30+1 \"b\"",
    ];
    assert_eq!(flat(text), expected);
}

#[test]
fn places_are_the_same_with_dos_line_ends() {
    let text = "a:\n  b: 1\n  c:\n    - x\n    - y\n";
    assert_eq!(flat(&text.replace('\n', "\r\n")), flat(text));
}

#[test]
fn numbers_keep_their_spelling() {
    let numbers = ["0x100_0000", "1_000", "-5", "1.50", "1e3", "99999999999999999999", ".inf"];
    for number in numbers {
        let expected = format!("/a@1:1 1:4+{} number {number}", number.len());
        assert_eq!(flat(&format!("a: {number}")), [expected]);
    }
}

#[test]
fn other_scalars_are_what_yaml_1_2_takes_them_for() {
    let text = "a: true\nb: yes\nc: \"0x10\"\nd:\ne: ~\nf: 16MiB\n";
    let expected = [
        "/a@1:1 1:4+4 true",
        "/b@2:1 2:4+3 \"yes\"",
        "/c@3:1 3:4+6 \"0x10\"",
        "/d@4:1 4:2+0 nothing",
        "/e@5:1 5:4+1 nothing",
        "/f@6:1 6:4+5 \"16MiB\"",
    ];
    assert_eq!(flat(text), expected);
}

#[test]
fn aliases_and_merges_stand_where_they_are_used() {
    let text = "a: &x\n  b: 0x1_0\n  c: 2\nd: *x\ne:\n  <<: *x\n  c: 3\n";
    let expected = [
        "/a@1:1/b@2:3 2:6+5 number 0x1_0",
        "/a@1:1/c@3:3 3:6+1 number 2",
        "/d@4:1/b@4:4 4:4+2 number 0x1_0",
        "/d@4:1/c@4:4 4:4+2 number 2",
        "/e@5:1/c@7:3 7:6+1 number 3",
        "/e@5:1/b@6:7 6:7+2 number 0x1_0",
    ];
    assert_eq!(flat(text), expected);
    let Some(Node { value: Value::Mapping(entries), .. }) = parse(text).unwrap() else { panic!() };
    let Value::Mapping(aliased) = &entries[1].1.value else { panic!("d is a mapping") };
    assert_eq!(aliased[0].1.at.written, (2, 6));
}

#[test]
fn repeated_keys_are_all_there() {
    assert_eq!(flat("a: 1\na: 2\n").len(), 2);
}

#[test]
fn nothing_but_comments_is_nothing() {
    for text in ["", "\n\n", "# only\n", "---\n", "--- # a\n...\n"] {
        assert!(parse(text).unwrap().is_none(), "{text:?}");
    }
}
