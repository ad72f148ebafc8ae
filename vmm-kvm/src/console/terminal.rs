//! The terminal, in raw mode while VMs run, and restored however the run ends.

use std::io;
use std::sync::Mutex;

/// The settings to restore; here rather than in [`RawTerminal`], for the panic hook.
static SAVED: Mutex<Option<libc::termios>> = Mutex::new(None);

/// Standard input passes every key as it is typed, Ctrl-C aside, until this is dropped.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Switches the terminal at standard input.
    pub fn new() -> io::Result<Self> {
        let saved = crate::sys::terminal_settings(libc::STDIN_FILENO)?;
        let mut raw = saved;
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
        *SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(saved);
        restore_on_panic();
        crate::sys::set_terminal_settings(libc::STDIN_FILENO, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal's settings.
fn restore() {
    // A panic while the lock is held is not possible: nothing in between can panic.
    if let Ok(mut saved) = SAVED.try_lock()
        && let Some(saved) = saved.take()
    {
        // If it fails, the terminal is gone, and there is nothing to restore.
        let _ = crate::sys::set_terminal_settings(libc::STDIN_FILENO, &saved);
    }
}

fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}
