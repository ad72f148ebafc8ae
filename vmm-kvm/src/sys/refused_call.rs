//! The end of a process that makes a system call which its filter refuses: it says which, restores
//! the terminal, and exits.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::io;
use vmm_sys_util::signal::{register_signal_handler, unblock_signal};

thread_local! {
    static THREAD: Cell<&'static str> = const { Cell::new("a thread") };
}

/// The exit code that shells give a process that SIGSYS ended.
const EXIT_CODE: libc::c_int = 128 + libc::SIGSYS;

/// Makes a refused call end this process with a message.
pub fn report_refused_calls() -> io::Result<()> {
    register_signal_handler(libc::SIGSYS, end_process).map_err(io::Error::from)?;
    // The parent process may have blocked it.
    unblock_signal(libc::SIGSYS).map_err(|error| io::Error::other(format!("{error:?}")))
}

/// Sets the name of the calling thread in the message.
pub fn name_this_thread(name: &'static str) {
    THREAD.with(|thread| thread.set(name));
}

/// The handler of SIGSYS, in the thread that made the call. It allocates nothing and takes no lock
/// that it would wait for.
extern "C" fn end_process(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    /// `si_syscall` of siginfo_t, in words of 32 bits (asm-generic/siginfo.h): behind three
    /// numbers, padding, and an address.
    const CALL_WORD: usize = 6;
    let word = info.cast::<i32>().wrapping_add(CALL_WORD);
    // SAFETY: the kernel hands over a whole siginfo_t, which has more words than that.
    let number = unsafe { word.read() };
    let mut text = Text { bytes: [0; 256], len: 0 };
    let name = syscalls::Sysno::new(number as usize).map_or("an unknown one", |call| call.name());
    let thread = THREAD.with(Cell::get);
    // A text that is too long is cut off.
    let _ = writeln!(
        text,
        "\nvmm-kvm: {thread} made the system call {name} (number {number}), which no run needs: \
        it was refused, and the run is over (see SECURITY.md)"
    );
    // SAFETY: the bytes are ours. If they cannot be written, there is no place to report that.
    unsafe { libc::write(libc::STDERR_FILENO, text.bytes.as_ptr().cast(), text.len) };
    crate::console::restore_terminal();
    // SAFETY: the call has no preconditions, and runs nothing of this process any more.
    unsafe { libc::_exit(EXIT_CODE) };
}

/// A text in place.
struct Text {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}
