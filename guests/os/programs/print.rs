//! Formatted output, a line at a time: each `print!` is collected and written with one call.

use crate::system;
use core::fmt::{self, Write};

const ROOM: usize = 128;

struct Collected {
    bytes: [u8; ROOM],
    length: usize,
}

impl Collected {
    fn flush(&mut self) {
        system::write(system::OUTPUT, self.bytes.get(..self.length).unwrap_or(&[]));
        self.length = 0;
    }
}

impl Write for Collected {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.length == ROOM {
                self.flush();
            }
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// What the macros call: `end` follows the formatted text.
pub fn print_arguments(arguments: fmt::Arguments<'_>, end: &str) {
    let mut collected = Collected { bytes: [0; ROOM], length: 0 };
    // Nothing above fails, and there is no place to report it.
    let _ = collected.write_fmt(arguments);
    let _ = collected.write_str(end);
    collected.flush();
}

macro_rules! print {
    ($($part:tt)*) => { $crate::print::print_arguments(format_args!($($part)*), "") };
}

macro_rules! println {
    ($($part:tt)*) => { $crate::print::print_arguments(format_args!($($part)*), "\n") };
}

pub(crate) use {print, println};
