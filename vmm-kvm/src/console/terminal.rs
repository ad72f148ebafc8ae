//! The terminal, in raw mode while VMs run in its foreground, and restored however the run ends
//! or stops.

use crate::sys::{is_foreground, set_terminal_settings, terminal_settings};
use std::io;
use std::sync::{Mutex, PoisonError};

/// The settings to restore while it is raw; here rather than in [`RawTerminal`], for the panic
/// hook.
static SAVED: Mutex<Option<libc::termios>> = Mutex::new(None);

/// Standard input passes every key as it is typed, Ctrl-C aside, until this is dropped; but not
/// while this process is in the background, where the terminal is the shell's.
#[derive(Debug)]
pub struct RawTerminal {
    original: libc::termios,
    raw: libc::termios,
    is_raw: bool,
}

impl RawTerminal {
    /// Switches the terminal at standard input.
    pub fn new() -> io::Result<Self> {
        let original = terminal_settings(libc::STDIN_FILENO)?;
        let mut raw = original;
        // ISIG stays: Ctrl-C ends the run. Without OPOST what the console prints stays as it is; on
        // a terminal its lines end in CR LF.
        raw.c_oflag &= !libc::OPOST;
        raw.c_lflag &= !(libc::ICANON | libc::ECHO | libc::IEXTEN);
        raw.c_iflag &= !(libc::IXON | libc::ICRNL | libc::INLCR | libc::ISTRIP);
        // Keys that would end or stop this process in raw mode go to the guests.
        raw.c_cc[libc::VQUIT] = libc::_POSIX_VDISABLE;
        raw.c_cc[libc::VSUSP] = libc::_POSIX_VDISABLE;
        raw.c_cc[libc::VMIN] = 1;
        raw.c_cc[libc::VTIME] = 0;
        restore_on_panic();
        let mut this = Self { original, raw, is_raw: false };
        this.follow()?;
        Ok(this)
    }

    /// Makes the terminal raw again where this process has come to the foreground; true if it is in
    /// the foreground.
    pub fn follow(&mut self) -> io::Result<bool> {
        let is_foreground = is_foreground(libc::STDIN_FILENO);
        match (self.is_raw, is_foreground) {
            (false, true) => {
                *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.original);
                set_terminal_settings(libc::STDIN_FILENO, &self.raw)?;
            }
            // The shell has set the terminal for itself meanwhile.
            (true, false) => *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = None,
            (true, true) | (false, false) => {}
        }
        self.is_raw = is_foreground;
        Ok(is_foreground)
    }

    /// Restores it, until [`RawTerminal::follow`] is called.
    pub fn leave(&mut self) {
        restore();
        self.is_raw = false;
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Restores the terminal's settings, if they were changed and it is still ours. Waits for nothing.
pub fn restore() {
    // A panic while the lock is held is not possible: nothing in between can panic.
    if let Ok(mut saved) = SAVED.try_lock()
        && let Some(saved) = saved.take()
        && is_foreground(libc::STDIN_FILENO)
    {
        // If it fails, the terminal is gone, and there is nothing to restore.
        let _ = set_terminal_settings(libc::STDIN_FILENO, &saved);
    }
}

fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}
