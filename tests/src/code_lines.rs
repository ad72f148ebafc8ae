//! Counting lines of code: those that are neither blank nor a comment nor of a test.

/// The lines of code in a file as rustfmt leaves it: neither blank nor a comment nor of a
/// test. An item for tests ends where a line as deep as its first one closes it.
#[must_use]
pub fn code_lines(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines().filter(|line| is_code(line));
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            let indentation = line.len() - trimmed.len();
            skip_item(&mut lines, indentation);
        } else {
            count += 1;
        }
    }
    count
}

fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}

fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>, indentation: usize) {
    for line in lines {
        let is_as_deep = line.len() - line.trim_start().len() == indentation;
        let is_attribute = line.trim_start().starts_with('#');
        let ends = [";", "}", ","].iter().any(|end| line.trim_end().ends_with(end));
        if is_as_deep && !is_attribute && ends {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::code_lines;

    #[test]
    fn blank_lines_and_comments_are_not_code() {
        assert_eq!(
            code_lines("//! What.\n\n/// Doc.\nfn f() {\n    // Why.\n    g(); // so\n}\n"),
            3
        );
        assert_eq!(code_lines(""), 0);
    }

    #[test]
    fn what_is_for_tests_does_not_count() {
        assert_eq!(code_lines("fn f() {}\n#[cfg(test)]\nmod tests;\nfn g() {}\n"), 2);
        let module = "fn f() {}\n\n#[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use super::*;\n\
                      \n    fn g() {\n        h();\n    }\n}\nfn i() {}\n";
        assert_eq!(code_lines(module), 2);
        let method =
            "impl A {\n    #[cfg(test)]\n    fn f() {\n        g();\n    }\n    fn h() {}\n}\n";
        assert_eq!(code_lines(method), 3);
        let list = "#[cfg(test)]\nuse a::{\n    b,\n    c,\n};\nfn f() {}\n";
        assert_eq!(code_lines(list), 1);
    }
}
