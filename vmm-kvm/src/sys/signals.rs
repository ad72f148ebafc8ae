//! Signals that end or stop a run, read from a file descriptor while the run lasts.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;
use vmm_sys_util::signal::{SIGRTMIN, create_sigset};

/// Bytes of one `struct signalfd_siginfo`; the signal's number is its first word.
const SIGNAL_INFO_BYTES: usize = 128;

/// Signals that end a process by default (signal(7)), but for those that its own instructions
/// cause, and SIGPIPE, which the standard library ignores. With them go the real-time signals but
/// for the first, which ends turns.
const ENDING: [libc::c_int; 14] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
];

/// Signals that stop a process by default, and can be blocked.
const STOPPING: [libc::c_int; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end; with its number.
    End(u8),
    /// To stop until SIGCONT.
    Stop(StopSignal),
}

/// One of the signals that stop a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(libc::c_int);

/// The signals that end or stop a process, blocked in the thread that made this and those it starts
/// since; those that the parent process had ignored (as `nohup` does) stay ignored.
#[derive(Debug)]
pub struct Signals {
    file: File,
    mask_before: libc::sigset_t,
}

impl Signals {
    /// Blocks them.
    ///
    /// # Errors
    /// The host gives no file.
    pub fn block() -> io::Result<Self> {
        let real_time = SIGRTMIN() + 1..=libc::SIGRTMAX();
        let all = ENDING.into_iter().chain(STOPPING).chain(real_time);
        let signals: Vec<_> = all.filter(|signal| !is_ignored(*signal)).collect();
        let set = create_sigset(&signals).map_err(io::Error::from)?;
        let mask_before = change_mask(libc::SIG_BLOCK, &set)?;
        // SAFETY: the set is initialised and ours.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and has no other owner.
        Ok(Self { file: unsafe { File::from_raw_fd(fd) }, mask_before })
    }

    /// The next signal received, if there is one.
    pub fn take(&mut self) -> Option<Signal> {
        let mut info = [0; SIGNAL_INFO_BYTES];
        self.file.read_exact(&mut info).ok()?;
        let number = i32::from_le_bytes([info[0], info[1], info[2], info[3]]);
        Some(match STOPPING.contains(&number) {
            true => Signal::Stop(StopSignal(number)),
            false => Signal::End(number as u8),
        })
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Signals {
    /// The run is over: gives the signals their default effect again. Those received before are
    /// dropped, as the run's end has answered them.
    fn drop(&mut self) {
        while self.take().is_some() {}
        // The kernel accepted this mask before, so that this cannot fail.
        let _ = change_mask(libc::SIG_SETMASK, &self.mask_before);
    }
}

impl StopSignal {
    /// Stops this process, as the signal does by default; returns once the process is continued.
    /// Does nothing where the kernel ignores the signal: in a group without a shell that could
    /// continue it.
    pub fn stop(self) {
        let (Ok(set), Self(signal)) = (create_sigset(&[self.0]), self) else { return };
        // SAFETY: the call has no preconditions. The signal is blocked, and stays pending.
        unsafe { libc::raise(signal) };
        if let Ok(before) = change_mask(libc::SIG_UNBLOCK, &set) {
            // The kernel delivers it here.
            let _ = change_mask(libc::SIG_SETMASK, &before);
        }
    }
}

/// Changes this thread's mask; the mask before.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both pointers are to sets of ours; the second is filled.
    let result = unsafe { libc::pthread_sigmask(how, set, before.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    // SAFETY: the call succeeded, so it has written the whole set.
    Ok(unsafe { before.assume_init() })
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed, and the pointer is to an action of ours, which is filled.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: where the call succeeded, it has written the whole action.
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
