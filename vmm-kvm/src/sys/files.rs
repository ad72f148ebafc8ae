//! File descriptors of standard input and output, and the terminal.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Standard input without the standard library's buffer, in which keys would wait unseen by epoll.
pub fn stdin() -> io::Result<File> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Standard output without the standard library's buffer.
///
/// A terminal is opened again, as non-blocking: readiness says nothing of how much it accepts, and
/// the flag set on the open file that we share with the shell would outlive this process.
pub fn stdout() -> io::Result<File> {
    if io::stdout().is_terminal() {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let own = File::options().write(true).custom_flags(flags).open("/proc/self/fd/1");
        if own.is_ok() {
            return own;
        }
    }
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Whether a write to `fd` would not wait; waits for that itself, up to `timeout_ms`.
pub fn is_writable(fd: RawFd, timeout_ms: libc::c_int) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one pollfd of ours.
    let ready = unsafe { libc::poll(&mut poll, 1, timeout_ms) };
    // An error or a closed reader shows at the write.
    ready > 0
}

/// The columns of a terminal; 0 if it does not say.
pub fn terminal_columns(fd: RawFd) -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a winsize of ours, which the call fills.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) };
    if result == 0 { usize::from(size.ws_col) } else { 0 }
}

/// The settings of a terminal.
pub fn terminal_settings(fd: RawFd) -> io::Result<libc::termios> {
    let mut settings = MaybeUninit::uninit();
    // SAFETY: the pointer is to a termios of ours, which the call fills.
    let result = unsafe { libc::tcgetattr(fd, settings.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has written the whole structure.
    Ok(unsafe { settings.assume_init() })
}

/// Changes the settings of a terminal now.
pub fn set_terminal_settings(fd: RawFd, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: the pointer is to settings that the caller holds.
    let result = unsafe { libc::tcsetattr(fd, libc::TCSANOW, settings) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes reads and writes of an open file blocking.
pub fn set_blocking(file: &File) -> io::Result<()> {
    // SAFETY: the call reads flags of a descriptor that `file` owns.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call sets flags of a descriptor that `file` owns.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this process has the terminal `fd`: it is not in the background of the shell that
/// controls the terminal. A terminal that no shell controls has no background.
#[must_use]
pub fn is_foreground(fd: RawFd) -> bool {
    // SAFETY: the call has no preconditions.
    let foreground = unsafe { libc::tcgetpgrp(fd) };
    // SAFETY: the call has no preconditions.
    foreground < 0 || foreground == unsafe { libc::getpgrp() }
}
