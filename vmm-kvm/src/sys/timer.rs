//! Per-thread timers that end KVM_RUN.

use super::Clock;
use std::cell::Cell;
use std::mem::{self, MaybeUninit};
use std::{io, ptr};
use vmm_common::Instant;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};

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
/// The flag stays set from the timer's expiry until it is rearmed, so that neither a signal
/// just before KVM_RUN nor an earlier one is lost.
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
        // The parent process may have blocked it, and every deadline depends on it.
        unblock_signal(SIGRTMIN()).map_err(|error| io::Error::other(format!("{error:?}")))?;
        IMMEDIATE_EXIT.with(|flag| flag.set(immediate_exit));
        // SAFETY: a sigevent is integers and pointers, for which zero is a value.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGRTMIN();
        event.sigev_notify_thread_id = super::this_thread();
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
        // From here on only the new moment sets the flag. A signal of the old one, or an early
        // one of the new, has been handled by now: the clock decides which of them counts.
        self.set_flag(0);
        if clock.now() >= deadline {
            self.set_flag(1);
        }
    }

    /// Disarms the timer. `now` saves the call if it has expired already.
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
