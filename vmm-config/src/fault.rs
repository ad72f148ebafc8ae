//! What is wrong with a config, printed as compilers do, with the line and a caret.

use crate::node::Position;
use std::collections::BTreeSet;
use std::fmt;
use vmm_common::units::Escaped;

/// Faults shown in full; the closing line counts the others.
const MAX_SHOWN: usize = 100;
/// Characters of a source line that are shown.
const MAX_LINE_CHARS: usize = 160;
/// Characters of a value that are shown.
const MAX_VALUE_CHARS: usize = 40;

/// One thing wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// 1-based; 0 if the fault is of the file as a whole.
    pub line: usize,
    /// In characters, 1-based; 0 if the fault is of the file as a whole.
    pub column: usize,
    /// Characters to underline.
    pub width: usize,
    /// What is wrong, with the value and what is allowed.
    pub message: String,
}

/// All that is wrong with a config, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The file's name as the user gave it.
    pub file: String,
    /// The faults.
    pub faults: Vec<Fault>,
    /// The file's text, for the lines shown.
    source: String,
}

impl Faults {
    /// A fault of the file as a whole.
    pub(crate) fn of_file(file: &str, message: String) -> Self {
        let fault = Fault { line: 0, column: 0, width: 0, message };
        Self { file: file.to_owned(), faults: vec![fault], source: String::new() }
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        let lines = source_lines(&self.source);
        for fault in self.faults.iter().take(MAX_SHOWN) {
            let Fault { line, column, message, .. } = fault;
            if *line == 0 {
                writeln!(f, "{file}: {message}")?;
                continue;
            }
            writeln!(f, "{file}:{line}:{column}: {message}")?;
            let text = lines.get(line - 1).copied().unwrap_or("");
            write_snippet(f, fault, text)?;
        }
        let count = self.faults.len();
        let plural = if count == 1 { "fault" } else { "faults" };
        let shown = if count > MAX_SHOWN {
            format!(", the first {MAX_SHOWN} shown")
        } else {
            String::new()
        };
        writeln!(f, "{count} {plural} in {file}{shown}")
    }
}

/// The line with its number, and carets below the fault.
fn write_snippet(f: &mut fmt::Formatter<'_>, fault: &Fault, text: &str) -> fmt::Result {
    let column = fault.column.max(1);
    // A window that holds the column, cut out of a line that is too long to show.
    let first = if column > MAX_LINE_CHARS { column - MAX_LINE_CHARS / 2 } else { 1 };
    let window: String = text.chars().skip(first - 1).take(MAX_LINE_CHARS).map(printable).collect();
    let (before, after) = (column - first, window.chars().count().saturating_sub(column - first));
    let carets = "^".repeat(fault.width.min(after).max(1));
    let number = format!("{:>4}", fault.line);
    let gutter = " ".repeat(number.len());
    writeln!(f, "{number} | {}", window.trim_end())?;
    writeln!(f, "{gutter} | {}{carets}", " ".repeat(before))
}

/// Lines as YAML counts them: ended by LF, CR LF or CR.
fn source_lines(source: &str) -> Vec<&str> {
    let lf = source.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    lf.flat_map(|line| line.split('\r')).collect()
}

/// One column for every character, and no control characters.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A value for messages: on one line, and not too long.
pub(crate) fn shown(value: &str) -> String {
    let start: String = value.chars().take(MAX_VALUE_CHARS).collect();
    let mut text = Escaped(&start).to_string();
    if value.chars().nth(MAX_VALUE_CHARS).is_some() {
        text.push_str("...");
    }
    if value.is_empty() { String::from("empty") } else { text }
}

/// Collects faults, each once.
///
/// An alias or a merge shows a value at several places; a fault of the value is reported at the
/// first.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    faults: Vec<Fault>,
    known: BTreeSet<((usize, usize), String)>,
}

impl Collector {
    pub(crate) fn add(&mut self, at: Position, message: String) {
        if self.known.insert((at.written, message.clone())) {
            let Position { line, column, width, .. } = at;
            self.faults.push(Fault { line, column, width, message });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub(crate) fn into_faults(mut self, file: &str, source: &str) -> Faults {
        self.faults.sort();
        Faults { file: file.to_owned(), faults: self.faults, source: source.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str, line: usize, column: usize, width: usize) -> String {
        let at = Position { line, column, width, written: (line, column) };
        let mut collector = Collector::default();
        collector.add(at, String::from("wrong"));
        collector.into_faults("a.yml", source).to_string()
    }

    #[test]
    fn carets_stand_below_the_value() {
        let text = rendered("a: 1\r\n  é: bad\r\n", 2, 6, 3);
        assert_eq!(text, "a.yml:2:6: wrong\n   2 |   é: bad\n     |      ^^^\n1 fault in a.yml\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_value() {
        let source = format!("{}bad{}", "x".repeat(5000), "y".repeat(5000));
        let text = rendered(&source, 1, 5001, 3);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].len() < 200, "{text}");
        assert_eq!(lines[1].find("bad"), lines[2].find("^^^"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let text = rendered("a: \x1b[2J\tb", 1, 4, 1);
        assert!(!text.contains('\x1b') && !text.contains('\t'), "{text:?}");
        assert_eq!(shown("a\x1bb\n"), r#""a\eb\n""#);
        assert_eq!(shown(&"z".repeat(41)), format!("{}...", "z".repeat(40)));
    }

    #[test]
    fn lines_end_as_yaml_has_it() {
        assert_eq!(source_lines("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_place_beyond_the_file_is_shown_as_an_empty_line() {
        assert!(rendered("a", 7, 3, 9).contains("   7 | \n     |   ^\n"));
    }
}
