//! Sockets on which a program of this host is waited for. Neither they nor what comes of them wait.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use vmm_common::plan::DebuggerAddress;

/// A socket that listens. One in the file system stays there after the run, and is replaced by the
/// next.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens at this address, for this host alone.
    ///
    /// # Errors
    /// Something else is there, or the host refuses.
    pub fn open(address: &DebuggerAddress) -> io::Result<Self> {
        let fd: OwnedFd = match address {
            DebuggerAddress::Tcp(port) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?;
                listener.set_nonblocking(true)?;
                let fd = OwnedFd::from(listener);
                send_at_once(&fd)?;
                fd
            }
            DebuggerAddress::Unix(path) => {
                remove_stale(path)?;
                let listener = bind_for_this_user(path)?;
                listener.set_nonblocking(true)?;
                listener.into()
            }
        };
        Ok(Self(fd))
    }

    /// The next connection, if there is one.
    pub fn accept(&self) -> Option<File> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let (no_address, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the descriptor is ours; null pointers ask for no address.
        let fd = unsafe { libc::accept4(self.0.as_raw_fd(), no_address, no_length, flags) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the call succeeded, so the descriptor is new, and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Some(fd.into())
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Makes the socket with mode 0600: who may connect to it may do with the VMs what this user may.
fn bind_for_this_user(path: &str) -> io::Result<UnixListener> {
    // SAFETY: the call changes a number of this process, which no other thread uses meanwhile:
    // sockets are opened before threads are.
    let before = unsafe { libc::umask(0o177) };
    let listener = UnixListener::bind(path);
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    listener
}

/// TCP sends each reply when it is written; connections have this from the socket that listens.
fn send_at_once(fd: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let bytes = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
    let value = (&raw const on).cast();
    // SAFETY: the descriptor is ours; the value is an int of ours, of the length said.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value, bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Removes a socket on which no process listens any more; no other file.
fn remove_stale(path: &str) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(data) if data.file_type().is_socket() && UnixStream::connect(path).is_err() => {
            std::fs::remove_file(path)
        }
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
