//! The guest `escapes`, which sends all that a terminal takes for more than text: it changes
//! nothing but its own lines, on a terminal emulator and in a file.

use crate::harness::{Tandem, TerminalEmulator};

const VMS: &str = "
vms:
  - {name: corpus, kernel: escapes}
  - {name: shell, cmdline: '', keyboard: true}
";
const ENDED: &str = "[corpus powered off, status 0]";

/// The owner of a row, by its beginning.
fn is_tandems_or_a_vms(row: &str) -> bool {
    let is_tandems = row.starts_with("[corpus ") || row.starts_with("[the keyboard is shell's]");
    is_tandems || row.starts_with("corpus | ") || row.starts_with("shell  | ")
}

#[test]
fn on_a_terminal_it_changes_its_own_lines_alone_and_types_nothing() {
    const ROWS_BEFORE: usize = 60;
    let terminal = TerminalEmulator::running(VMS, ROWS_BEFORE);
    let state = terminal.state();
    terminal.shows(ENDED);
    assert_eq!(terminal.state(), state);
    assert_eq!(terminal.clipboard(), "");
    let rows = terminal.rows();
    let before: Vec<_> = (1..=ROWS_BEFORE).map(|row| format!("row {row}")).collect();
    assert_eq!(rows[..ROWS_BEFORE], before);
    for row in rows[ROWS_BEFORE..].iter().filter(|row| !row.is_empty()) {
        assert!(is_tandems_or_a_vms(row), "{row:?}");
    }
    let of_corpus = rows.iter().filter(|row| row.starts_with("corpus | ")).count();
    assert!(of_corpus > 3000, "{of_corpus} rows");

    terminal.types("echo typed by hand\r");
    terminal.shows("shell  | typed by hand");
    terminal.types("poweroff\r");
    terminal.shows("exit code 0");
    let rows = terminal.rows();
    let has = |row: &str| rows.iter().any(|it| it == row);
    // An answer of the terminal would stand before the command.
    assert!(has("shell  | $ echo typed by hand"), "{rows:#?}");
    assert_eq!(rows.last().map(String::as_str), Some(""), "nothing is typed into the shell behind");
}

#[test]
fn in_a_file_every_line_is_its_own() {
    let run = Tandem::run_text("vms: [{name: corpus, kernel: escapes}]");
    let log = run.scratch().path("logs");
    let run = run.arg("--log-dir").arg(&log).finish().ended_with(0).complains_of_nothing();
    let (guests, rest) = run.output.split_once(ENDED).expect("it ends");
    let is_line_end = |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\u{85}' | '\u{2028}');
    for line in guests.split(is_line_end).filter(|line| !line.is_empty()) {
        assert!(line.starts_with("corpus | "), "{line:?}");
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    }
    for line in rest.lines() {
        assert!(!line.starts_with("corpus | "), "{line:?}");
    }
    let lines = run.lines_of("corpus");
    assert_eq!(lines.first().map(String::as_str), Some("escapes: begin"));
    assert_eq!(lines.last().map(String::as_str), Some("escapes: an unfinished line"));
    // The log is raw.
    let log = std::fs::read(log.join("corpus.log")).expect("it was written");
    assert!(log.windows(4).any(|bytes| bytes == b"\x1b[6n"));
    assert!(log.windows(3).any(|bytes| bytes == b"\x9b6n"));
}

#[test]
fn a_vm_that_has_the_terminal_raw_changes_it_and_leaves_it_as_it_was() {
    let config =
        "vms: [{name: corpus, kernel: escapes, cmdline: loud}, {name: shell, cmdline: ''}]";
    let terminal = TerminalEmulator::running(config, 1);
    let state = terminal.state();
    terminal.shows("corpus | escapes: waiting for a q");
    terminal.types("\x01f");
    terminal.shows("[corpus has the terminal raw until Ctrl-A f]");
    terminal.types("q");
    terminal.comes_to("screen 1 cursor 0 insert 1 keypad 1 1 mouse 1 1");
    assert!(terminal.state().contains("title forged"), "{}", terminal.state());
    terminal.types("q");
    terminal.shows(ENDED);
    assert_eq!(terminal.state(), state);
    terminal.shows("shell  | $");
    terminal.types("poweroff\r");
    terminal.shows("exit code 0");
    assert!(terminal.rows().iter().any(|row| row == "shell  | $ poweroff"), "{terminal:?}");
}
