//! The turn: the right to touch the shared state and to be inside KVM_RUN. One thread has it; it
//! names the one that gets it next.
//!
//! A lock alone would let whoever is fastest go first. Here the shared state also says whose turn
//! it is, only that thread is woken, and all others stay parked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

/// Nobody's turn any more: everybody leaves.
const OVER: usize = usize::MAX;

/// Shared state and whose turn it is.
#[derive(Debug)]
pub struct Turn<T> {
    holder: AtomicUsize,
    /// Locked by the holder alone, so never waited for.
    state: Mutex<T>,
    threads: Box<[OnceLock<Thread>]>,
}

/// The turn, while one has it.
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
        self.threads[me].get_or_init(thread::current);
        loop {
            match self.holder.load(Ordering::Acquire) {
                OVER => return None,
                holder if holder == me => break,
                _ => {}
            }
            // A hand-over between the look and here leaves a token, so that this returns at once.
            thread::park();
        }
        // A holder that panicked leaves the state as nobody should go on with it.
        let state = self.state.lock().ok()?;
        Some(Held { turn: self, me, state })
    }

    /// The state, once all threads are through.
    pub fn into_inner(self) -> T {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all turns, whoever has one: for a thread that gives up.
    pub fn abandon(&self) {
        self.holder.store(OVER, Ordering::Release);
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
        // Fails if all turns were ended meanwhile, and then stays so.
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_get_the_turn_in_the_order_they_are_named() {
        const ROUNDS: usize = 200;
        const THREADS: usize = 3;
        let turn = Turn::new(Vec::new(), THREADS);
        thread::scope(|scope| {
            for me in 0..THREADS {
                let turn = &turn;
                scope.spawn(move || {
                    while let Some(mut held) = turn.wait(me) {
                        held.push(me);
                        if held.len() == ROUNDS {
                            held.end();
                        } else {
                            held.hand_to((me + 1) % THREADS);
                        }
                    }
                });
            }
        });
        let order = turn.into_inner();
        assert!(order.iter().enumerate().all(|(at, me)| at % THREADS == *me), "{order:?}");
        assert_eq!(order.len(), ROUNDS);
    }

    #[test]
    fn abandoned_turns_let_everybody_go() {
        let turn = Turn::new((), 3);
        thread::scope(|scope| {
            let turn = &turn;
            let others = [1, 2].map(|me| scope.spawn(move || turn.wait(me).is_none()));
            let held = turn.wait(0).expect("it begins here");
            turn.abandon();
            held.hand_to(1);
            for other in others {
                assert!(other.join().expect("it leaves quietly"), "nobody got a turn");
            }
        });
    }
}
