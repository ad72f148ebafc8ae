//! What the standard library does not offer of Linux: pinning, per-thread timers that end KVM_RUN,
//! signals as a file, and the one clock that all of these share.
//!
//! `unsafe` here is system calls on memory of our own; each block says why it is sound.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{FromRawFd, RawFd};
use std::ptr;
use vmm_common::Instant;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// CLOCK_MONOTONIC, counted from the moment the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_ns: u64,
}

impl Clock {
    /// A clock that shows zero now.
    pub fn start() -> Self {
        Self { origin_ns: monotonic_ns() }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        Instant::from_ns(monotonic_ns() - self.origin_ns)
    }
}

fn monotonic_ns() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
    assert_eq!(result, 0, "every Linux has CLOCK_MONOTONIC");
    // SAFETY: the call succeeded, so it has written the whole timespec.
    let time = unsafe { time.assume_init() };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The cores this process may run on, in ascending order.
pub fn allowed_cores() -> io::Result<Vec<u64>> {
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a set of ours of the size named.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the core number is within the set's bits.
    let is_set = |core: &u64| unsafe { libc::CPU_ISSET(*core as usize, &set) };
    Ok((0..libc::CPU_SETSIZE as u64).filter(is_set).collect())
}

/// Pins the calling thread to `core`, and reads the mask back.
pub fn pin_to(core: u64) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as u64 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the core number was checked to be within the set's bits.
    unsafe { libc::CPU_SET(core as usize, &mut set) };
    // SAFETY: the pointer is to a set of ours of the size named.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if allowed_cores()? == [core] { Ok(()) } else { Err(io::Error::other("the mask did not take")) }
}

/// Bytes of memory this machine could give away now, or None if it does not say.
pub fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Gives back the memory that only starting up needed: of the text and constants of the program and
/// its libraries what is mapped now (it comes back from the files, page by page, where it is needed
/// again), and free heap.
pub fn forget_start_up() {
    // SAFETY: the callback keeps to what it is given, and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_object), ptr::null_mut()) };
    // SAFETY: the call has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

/// Unmaps the pages of one loaded object's segments that cannot be written.
unsafe extern "C" fn forget_object(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    const PAGE_BYTES: u64 = 4096;
    // SAFETY: the dynamic linker hands out a valid structure for the time of the call.
    let info = unsafe { &*info };
    // SAFETY: it says itself how many program headers there are.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let is_constant =
        |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0;
    for header in headers.iter().filter(is_constant) {
        let start = info.dlpi_addr + header.p_vaddr;
        let (first, end) = (start / PAGE_BYTES * PAGE_BYTES, start + header.p_memsz);
        // SAFETY: these pages are mapped from a file without write permission, and no relocation
        // was written to them (text relocations do not exist here), so the file has what they hold.
        // Where it is another kind of mapping (the vDSO) the call fails and nothing happens.
        unsafe { libc::madvise(first as *mut _, (end - first) as usize, libc::MADV_DONTNEED) };
    }
    0
}

/// Blocks `signals` in this thread and those it starts; they are read from the file instead.
pub fn signal_file(signals: &[libc::c_int]) -> io::Result<File> {
    let set = vmm_sys_util::signal::create_sigset(signals).map_err(io::Error::from)?;
    // SAFETY: the set is initialised and ours; the old mask is not asked for.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    // SAFETY: the set is initialised and ours.
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Standard input without the standard library's buffer, in which keys would wait unseen by epoll.
pub fn stdin() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Standard output without the standard library's buffer: what is written is written.
pub fn stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Whether a write to `fd` would not wait; waits for that itself, up to `timeout_ms`.
pub fn is_writable(fd: RawFd, timeout_ms: libc::c_int) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one pollfd of ours.
    let ready = unsafe { libc::poll(&mut poll, 1, timeout_ms) };
    // An error or a closed reader shows when it is written to.
    ready > 0
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

thread_local! {
    /// `kvm_run.immediate_exit` of the vCPU that this thread runs, or null.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

/// The timer's signal, on the thread it belongs to. If it comes while KVM_RUN is under way, that
/// returns with EINTR; if it comes just before, the flag makes KVM_RUN return at once.
extern "C" fn end_kvm_run(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    let flag = IMMEDIATE_EXIT.with(Cell::get);
    if !flag.is_null() {
        // SAFETY: `ThreadTimer::new` got a flag that outlives the timer, and this thread is the
        // only one that runs the vCPU. A volatile byte store is all that happens.
        unsafe { flag.write_volatile(1) };
    }
}

/// A timer that ends this thread's KVM_RUN at a moment. Stays on the thread that made it.
///
/// The flag stays up from when the timer goes off until it is armed anew, so that neither a signal
/// just before KVM_RUN nor one long before it is missed.
#[derive(Debug)]
pub struct ThreadTimer {
    id: libc::timer_t,
    origin_ns: u64,
    immediate_exit: *mut u8,
    armed_for: Option<Instant>,
}

impl ThreadTimer {
    /// A timer of the calling thread, disarmed.
    ///
    /// # Safety
    /// `immediate_exit` is the flag of the vCPU that this thread runs, and stays valid until the
    /// timer is dropped.
    pub unsafe fn new(clock: Clock, immediate_exit: *mut u8) -> io::Result<Self> {
        register_signal_handler(SIGRTMIN(), end_kvm_run).map_err(io::Error::from)?;
        IMMEDIATE_EXIT.with(|flag| flag.set(immediate_exit));
        // SAFETY: a sigevent is integers and pointers, for which zero is a value.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGRTMIN();
        // SAFETY: the call has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut id = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: both pointers are to values of ours that outlive the call.
        let result =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, id.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it has written the id.
        let id = unsafe { id.assume_init() };
        Ok(Self { id, origin_ns: clock.origin_ns, immediate_exit, armed_for: None })
    }

    /// Ends KVM_RUN at `deadline`, in place of any moment set before.
    pub fn arm(&mut self, deadline: Instant, clock: Clock) {
        if self.armed_for == Some(deadline) {
            return;
        }
        self.armed_for = Some(deadline);
        // Zero would disarm.
        self.set(self.origin_ns.saturating_add(deadline.as_ns()).max(1));
        // From here on only the new moment raises the flag. A signal of the old one, or an early one
        // of the new, has been taken by now: the clock knows which of them counts.
        self.set_flag(0);
        if clock.now() >= deadline {
            self.set_flag(1);
        }
    }

    /// Ends KVM_RUN no more. `now` spares the call when the timer has gone off already.
    pub fn disarm(&mut self, now: Instant) {
        if self.armed_for.take().is_some_and(|deadline| deadline > now) {
            self.set(0);
        }
    }

    fn set_flag(&self, value: u8) {
        // SAFETY: the flag is valid while the timer exists (see `new`); only this thread writes it.
        unsafe { self.immediate_exit.write_volatile(value) };
    }

    fn set(&self, at_ns: u64) {
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let at = libc::timespec {
            tv_sec: (at_ns / 1_000_000_000).min(i64::MAX as u64) as i64,
            tv_nsec: (at_ns % 1_000_000_000) as i64,
        };
        let setting = libc::itimerspec { it_interval: zero, it_value: at };
        // SAFETY: the id is of a timer that exists until `drop`; the setting is ours.
        let result =
            unsafe { libc::timer_settime(self.id, libc::TIMER_ABSTIME, &setting, ptr::null_mut()) };
        debug_assert_eq!(result, 0, "the timer exists and the moment is well-formed");
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        // SAFETY: the id is of a timer that exists until here.
        unsafe { libc::timer_delete(self.id) };
        IMMEDIATE_EXIT.with(|flag| flag.set(ptr::null_mut()));
    }
}
