//! What VMs' text screens bring to the console: their lines, and a whole screen by Ctrl-A s.

use super::Console;
use crate::screen::Picture;
use alloc::format;

/// Which line is a screen's, and which screen is asked for.
#[derive(Debug, Default)]
pub(super) struct Screens {
    /// The VMs, a bit each, whose unfinished line is from their screen.
    lines: u64,
    wanted: Option<usize>,
}

impl Screens {
    pub(super) const fn has_line_of(&self, vm: usize) -> bool {
        self.lines >> vm & 1 != 0
    }

    pub(super) const fn want(&mut self, vm: usize) {
        self.wanted = Some(vm);
    }
}

impl Console {
    /// Takes new text of a VM's screen. It shares no line with what the VM prints elsewhere.
    pub fn print_screen(&mut self, vm: usize, text: &str) {
        let mut text = text;
        if !self.screens.has_line_of(vm) {
            self.finish_line(vm);
            // That ended the screen's line, too.
            text = text.strip_prefix('\n').unwrap_or(text);
        }
        self.screens.lines &= !(1 << vm);
        self.print(vm, text.as_bytes());
        if !text.is_empty() && !text.ends_with('\n') {
            self.screens.lines |= 1 << vm;
        }
    }

    /// The VM's next line is not the screen's any more.
    pub(super) fn end_screen_line(&mut self, vm: usize) {
        self.screens.lines &= !(1 << vm);
        self.finish_line(vm);
    }

    /// Says that a VM writes its screen, which its config does not show.
    pub fn say_screen_is_not_shown(&mut self, vm: usize) {
        let name = &self.names[vm];
        self.lines.say(&format!(
            "[{name} writes the text screen at 0xb8000; screen: console in its config shows it]"
        ));
    }

    /// The VM whose whole screen the operator has asked for, once.
    pub const fn take_wanted_screen(&mut self) -> Option<usize> {
        self.screens.wanted.take()
    }

    /// Prints that screen.
    pub fn print_whole_screen(&mut self, vm: usize, picture: &Picture) {
        self.finish_line(vm);
        let name = &self.names[vm];
        let cursor = match picture.cursor() {
            Some((row, column)) => {
                format!("the cursor at row {}, column {}", row + 1, column + 1)
            }
            None => "no cursor".into(),
        };
        let is_blank = picture.is_blank();
        let what = if is_blank { "text screen is blank" } else { "text screen" };
        self.lines.say(&format!("[{name}'s {what}, {cursor}]"));
        self.print_screen(vm, &picture.text());
    }
}
