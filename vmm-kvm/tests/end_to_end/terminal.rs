//! The console on a terminal: colours, prompts as they are typed at, the keys that are ours, and
//! the terminal as it was afterwards.

use crate::harness::{Finished, PseudoTerminal, Running, Signal, Tandem, config};

const CTRL_A: char = '\x01';
const CTRL_C: &str = "\x03";

/// A run on a terminal that must be put back as it was.
struct Session {
    running: Running,
    terminal: PseudoTerminal,
    settings_before: String,
}

impl Session {
    fn start(run: Tandem) -> Self {
        let terminal = PseudoTerminal::new();
        let settings_before = terminal.settings();
        let running = run.start_on(&terminal);
        running.shows_on(&terminal);
        Self { running, terminal, settings_before }
    }

    /// Two shells at their prompts.
    fn of_two_shells() -> Self {
        let session = Self::start(Tandem::run(config("shell.yml")));
        session.shows("left  | $ ").shows("right | Tandem guest OS");
        assert_ne!(session.terminal.settings(), session.settings_before, "keys must come raw");
        session
    }

    fn shows(&self, text: &str) -> &Self {
        self.running.shows(text);
        self
    }

    fn types(&self, keys: impl AsRef<str>) -> &Self {
        self.terminal.types(keys.as_ref());
        self
    }

    fn finish(self) -> Finished {
        let finished = self.running.finish();
        assert_eq!(self.terminal.settings(), self.settings_before, "{}", finished.shown());
        finished
    }
}

#[test]
fn names_are_coloured_and_each_vm_has_its_own_colour() {
    let run = Session::start(Tandem::run(config("two.yml"))).finish().ended_with(0).adds_up();
    let run = run.shows("\x1b[36mleft  |\x1b[0m usertests: all passed\r\n");
    run.shows("\x1b[33mright |\x1b[0m the result: COM1 writes OK!!!!\r\n");
}

#[test]
fn without_colours_where_they_are_not_wanted() {
    for (variable, names) in [("NO_COLOR=1", "left  | $ "), ("TERM=dumb", "right | $ ")] {
        let run = Tandem::run(config("shell.yml")).started_by(["env", variable]);
        let session = Session::start(run);
        session.shows("left  | $ ").shows(names).types(format!("{CTRL_A}x"));
        let run = session.finish().ended_with(130);
        assert!(!run.output.contains('\x1b'), "{}", run.shown());
    }
}

#[test]
fn the_prompt_of_a_vm_without_the_keyboard_shows_too() {
    let session = Session::of_two_shells();
    session.shows("right | $ \r\nleft  | $ ");
    session.types("echo still left's\r").shows("left  | $ echo still left's\r\n");
    session.types(format!("{CTRL_A}x"));
    session.finish().ended_with(130).adds_up();
}

#[test]
fn the_keys_of_ours_move_the_keyboard_and_all_others_are_the_vms() {
    let session = Session::of_two_shells();
    session.types("echo hello left\r").shows("left  | $ echo hello left\r\nleft  | hello left\r\n");
    session.types(format!("{CTRL_A}1")).shows("[the keyboard is right's]");
    session.types("echo hello right\r").shows("right | hello right\r\n");
    session.types(format!("{CTRL_A}n")).shows("[the keyboard is left's]");
    session.types("echo left again\r").shows("left  | left again\r\n");
    session.types("put_char\r").types(format!("{CTRL_A}1get_char\r"));
    session.shows("right | the result: COM1 writes OK!!!!\r\n").types(format!("{CTRL_A}0"));
    session.types(format!("{CTRL_A}?")).shows("keys: Ctrl-A 0 to 9").shows("Ctrl-A Ctrl-A");
    session.types("poweroff\r").shows("[left powered off, status 0]");
    session.types(format!("{CTRL_A}1poweroff\r")).shows("[right powered off, status 0]");
    session.finish().ended_with(0).adds_up();
}

#[test]
fn a_line_is_shown_as_it_is_typed_and_corrected() {
    let session = Session::of_two_shells();
    session.types("ecko").shows("$ ecko").types("\x7f\x7fho corrected").shows("ho corrected");
    session.types("\r").shows("left  | corrected\r\n");
    session.types(format!("{CTRL_A}x"));
    session.finish().ended_with(130).adds_up();
}

#[test]
fn ctrl_a_x_ends_the_run() {
    let session = Session::of_two_shells();
    session.types(format!("{CTRL_A}x"));
    let run = session.finish().ended_with(130).adds_up();
    run.shows("stopped: interrupted from the keyboard");
}

#[test]
fn ctrl_c_ends_the_run_and_puts_the_terminal_back() {
    let session = Session::of_two_shells();
    session.types(CTRL_C);
    session.finish().ended_with(130).shows("receipt: ").adds_up();
}

#[test]
fn sigterm_ends_the_run_and_puts_the_terminal_back() {
    let session = Session::of_two_shells();
    session.running.receives(Signal::TERM);
    session.finish().ended_with(143).shows("receipt: ").adds_up();
}

#[test]
fn a_host_that_refuses_leaves_the_terminal_alone() {
    let run = Tandem::run(config("shell.yml")).started_by(["prlimit", "--nofile=8"]);
    Session::start(run).finish().ended_with(3).complains("Too many open files");
}

#[test]
fn a_paste_arrives_whole() {
    const LINES: usize = 400;
    let session = Session::start(Tandem::run_text(&format!(
        "vms: [{{name: reader, cmdline: count_input {}; poweroff}}]",
        LINES * 40
    )));
    session.shows("count_input: waiting for ");
    let paste: String = (0..LINES).map(|line| format!("line {line:033} \n")).collect();
    assert_eq!(paste.len(), LINES * 40);
    session.types(&paste);
    let sum = super::console::checksum(paste.as_bytes());
    let run = session.finish().ended_with(0).adds_up();
    run.shows(&format!("count_input: {} bytes, checksum {sum:08x}", paste.len()));
}

#[test]
fn a_terminal_that_goes_away_ends_the_run() {
    let terminal = PseudoTerminal::new();
    let running = Tandem::run(config("shell.yml")).arg("--timeout").arg("60s").start_on(&terminal);
    terminal.reads_until("$ ");
    drop(terminal);
    let run = running.finish();
    // SIGHUP or the failed write, whichever is seen first.
    assert!(matches!(run.code(), Some(129 | 1)), "{}", run.shown());
}
