//! A terminal whose keyboard and screen are the test's.

use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, tcgetattr};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

/// The test's side of a terminal. Dropped, the terminal hangs up.
#[derive(Debug)]
pub struct PseudoTerminal {
    controller: File,
}

impl PseudoTerminal {
    /// A terminal with the settings that new ones have.
    pub fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect("the host has pseudo-terminals");
        unlockpt(&controller).expect("it is ours");
        Self { controller: controller.into() }
    }

    /// Types keys.
    pub fn types(&self, keys: &str) {
        (&self.controller).write_all(keys.as_bytes()).expect("it reads what is typed");
    }

    /// What `stty` would show: mode bits and control characters.
    pub fn settings(&self) -> String {
        let settings: Termios = tcgetattr(&self.controller).expect("it is a terminal");
        format!("{settings:?}")
    }

    /// What the screen shows.
    pub(super) fn reader(&self) -> File {
        self.controller.try_clone().expect("a descriptor to spare")
    }

    /// Reads the screen itself until it shows `text`: for terminals of which no [`Running`] does.
    pub fn reads_until(&self, text: &str) {
        let mut screen = String::new();
        let mut byte = [0];
        while !screen.contains(text) {
            (&self.controller).read_exact(&mut byte).expect("it shows more");
            screen.push(byte[0].into());
        }
    }

    /// The other side.
    pub(super) fn for_child(&self) -> Stdio {
        let name = ptsname(&self.controller, Vec::new()).expect("it has a name");
        let path = OsStr::from_bytes(name.to_bytes());
        let mut options = OpenOptions::new();
        // The child shall control it, and not this process.
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        options.open(path).expect("it was unlocked").into()
    }
}
