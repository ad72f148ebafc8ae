//! A real terminal emulator, tmux, in which Tandem runs; the test sees its screen and its state.

use super::Scratch;
use super::running::HANGS_AFTER;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// tmux's settings: programs may do all that they may ask for, and all rows are kept.
const SETTINGS: &str = "\
set -g history-limit 100000
set -g default-terminal screen-256color
set -g set-clipboard on
set -g allow-rename on
set -g automatic-rename off
set -g allow-passthrough on
set -g remain-on-exit on
";
/// tmux's variables for the state that sequences change.
const STATE: &str = "screen #{alternate_on} cursor #{cursor_flag} insert #{insert_flag} \
keypad #{keypad_flag} #{keypad_cursor_flag} mouse #{mouse_any_flag} #{mouse_all_flag} \
#{mouse_button_flag} #{mouse_standard_flag} #{mouse_sgr_flag} #{mouse_utf8_flag} \
origin #{origin_flag} wrap #{wrap_flag} margins #{scroll_region_upper} #{scroll_region_lower} \
size #{pane_width} #{pane_height} title #{pane_title} name #{window_name} path #{pane_path}";
/// How often the screen is looked at.
const LOOK: Duration = Duration::from_millis(50);
const COLUMNS: &str = "100";
const ROWS: &str = "40";

/// A terminal of 100 columns and 40 rows.
#[derive(Debug)]
pub struct TerminalEmulator {
    scratch: Scratch,
}

impl TerminalEmulator {
    /// One in which `vmm-kvm CONFIG` runs once `$1` rows of the shell's are there; the exit code
    /// follows in a row of its own, and then what is still typed.
    pub fn running(config: &str, rows_before: usize) -> Self {
        xtask::packages::ensure(xtask::packages::TMUX).expect("tmux is needed");
        let scratch = Scratch::new();
        let config = scratch.file("config.yml", config);
        let settings = scratch.file("tmux.conf", SETTINGS);
        let this = Self { scratch };
        let script = "for row in $(seq $1); do echo \"row $row\"; done; \
            \"$2\" \"$3\"; echo \"exit code $?\"; exec cat -v";
        let mut command = this.tmux();
        command.arg("-f").arg(settings).args(["new-session", "-d", "-x", COLUMNS, "-y", ROWS]);
        command.args(["sh", "-c", script, "sh", &rows_before.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_vmm-kvm")).arg(config);
        command.env_remove("NO_COLOR").env_remove("TMUX");
        assert!(command.status().is_ok_and(|status| status.success()), "tmux does not start");
        this
    }

    /// All rows, from the first that were there.
    pub fn rows(&self) -> Vec<String> {
        let text = self.asks(&["capture-pane", "-p", "-S", "-", "-E", "-"]);
        text.lines().map(str::to_owned).collect()
    }

    /// Modes, size and titles.
    pub fn state(&self) -> String {
        self.asks(&["display-message", "-p", STATE])
    }

    /// What programs put into tmux's clipboard.
    pub fn clipboard(&self) -> String {
        self.asks(&["list-buffers"])
    }

    /// Types keys.
    pub fn types(&self, keys: &str) {
        self.asks(&["send-keys", "-l", keys]);
    }

    /// Waits for a row that begins with `text`.
    pub fn shows(&self, text: &str) {
        self.waits(text, || self.rows().iter().any(|row| row.starts_with(text)));
    }

    /// Waits until [`TerminalEmulator::state`] has `text`.
    pub fn comes_to(&self, text: &str) {
        self.waits(text, || self.state().contains(text));
    }

    fn waits(&self, text: &str, is_there: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_there() {
            let (rows, state) = (self.rows().join("\n"), self.state());
            assert!(begin.elapsed() < HANGS_AFTER, "waiting for {text:?}:\n{rows}\n{state}");
            thread::sleep(LOOK);
        }
    }

    fn asks(&self, arguments: &[&str]) -> String {
        let output = self.tmux().args(arguments).output().expect("tmux is there");
        String::from_utf8(output.stdout).expect("tmux prints UTF-8")
    }

    /// A tmux client for this test's own server.
    fn tmux(&self) -> Command {
        let socket: &Path = &self.scratch.path("tmux");
        let mut command = Command::new("tmux");
        command.env("LC_ALL", "C.UTF-8").arg("-u").arg("-S").arg(socket);
        command
    }
}

impl Drop for TerminalEmulator {
    fn drop(&mut self) {
        self.asks(&["kill-server"]);
    }
}
