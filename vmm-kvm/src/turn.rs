//! The turn: the right to touch the shared state and to be inside KVM_RUN. One thread holds it, and
//! names its successor.
//!
//! A lock alone would go to the fastest thread. Here the shared state names the turn's holder;
//! only that thread is woken, and all others stay parked.

use super::parking::{self, AtomicUsize, Mutex, MutexGuard, OnceLock, Thread};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// The holder once all turns are over: every thread leaves.
const OVER: usize = usize::MAX;

/// Shared state, and the holder of the turn.
#[derive(Debug)]
pub struct Turn<T> {
    holder: AtomicUsize,
    /// Locked by the holder alone, so never waited for.
    state: Mutex<T>,
    threads: Box<[OnceLock<Thread>]>,
}

/// The turn, while a thread holds it.
#[derive(Debug)]
pub struct Held<'a, T> {
    turn: &'a Turn<T>,
    me: usize,
    state: MutexGuard<'a, T>,
}

impl<T> Turn<T> {
    /// A turn among `threads` threads, the first one's to begin with.
    pub fn new(inner: T, threads: usize) -> Self {
        let threads = (0..threads).map(|_| OnceLock::new()).collect();
        Self { holder: AtomicUsize::new(0), state: Mutex::new(inner), threads }
    }

    /// Waits for the turn of thread `me`; None once it is over.
    pub fn wait(&self, me: usize) -> Option<Held<'_, T>> {
        self.threads[me].get_or_init(parking::current);
        // Read-modify-writes of one variable have one order. Either this one comes first, and then
        // the hand-over sees the line above and wakes this thread; or the hand-over comes first,
        // and is seen here. With a load instead, each could miss the other (store buffering).
        let mut holder = self.holder.fetch_or(0, Ordering::AcqRel);
        while holder != me {
            if holder == OVER {
                return None;
            }
            // A hand-over between the look and here leaves a token, so that this returns at once.
            parking::park();
            holder = self.holder.load(Ordering::Acquire);
        }
        // A holder that panicked may have left the state inconsistent: no thread may use it.
        let state = self.state.lock().ok()?;
        Some(Held { turn: self, me, state })
    }

    /// The state, once all threads are through.
    pub fn into_inner(self) -> T {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all turns, even the holder's: for a thread that fails.
    pub fn abandon(&self) {
        self.holder.swap(OVER, Ordering::AcqRel);
        for thread in self.threads.iter().filter_map(OnceLock::get) {
            thread.unpark();
        }
    }
}

impl<T> Held<'_, T> {
    /// Hands the turn to thread `next`.
    pub fn hand_to(self, next: usize) {
        let Self { turn, me, state } = self;
        drop(state);
        // Fails if another thread has ended all turns meanwhile; they stay ended.
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let handed = turn.holder.compare_exchange(me, next, success, failure);
        // A thread that has not waited yet will look at the holder before it parks.
        if let (Ok(_), Some(thread)) = (handed, turn.threads[next].get()) {
            thread.unpark();
        }
    }

    /// Ends all turns.
    pub fn end(self) {
        let Self { turn, state, .. } = self;
        drop(state);
        turn.abandon();
    }
}

impl<T> std::ops::Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> std::ops::DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}
