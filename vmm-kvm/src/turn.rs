//! The turn: the right to touch the shared state and to be inside KVM_RUN. One thread has it; it
//! names the one that gets it next.
//!
//! A lock alone would let whoever is fastest go first. Here the shared state also says whose turn
//! it is, only that thread is woken, and all others stay parked.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

/// Nobody's turn any more: everybody leaves.
const OVER: usize = usize::MAX;

/// Shared state and whose turn it is.
#[derive(Debug)]
pub struct Turn<T> {
    state: Mutex<Shared<T>>,
    threads: Box<[OnceLock<Thread>]>,
}

#[derive(Debug)]
struct Shared<T> {
    holder: usize,
    inner: T,
}

/// The turn, while one has it.
#[derive(Debug)]
pub struct Held<'a, T> {
    turn: &'a Turn<T>,
    shared: MutexGuard<'a, Shared<T>>,
}

impl<T> Turn<T> {
    /// A turn among `threads` threads, the first one's to begin with.
    pub fn new(inner: T, threads: usize) -> Self {
        let threads = (0..threads).map(|_| OnceLock::new()).collect();
        Self { state: Mutex::new(Shared { holder: 0, inner }), threads }
    }

    /// Waits for the turn of thread `me`; None once it is over.
    pub fn wait(&self, me: usize) -> Option<Held<'_, T>> {
        self.threads[me].get_or_init(thread::current);
        loop {
            let shared = self.lock();
            match shared.holder {
                OVER => return None,
                holder if holder == me => return Some(Held { turn: self, shared }),
                _ => {}
            }
            drop(shared);
            // A hand-over between the check and here leaves a token, so that this returns at once.
            thread::park();
        }
    }

    /// The state, once all threads are through.
    pub fn into_inner(self) -> T {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).inner
    }

    /// Ends all turns, whoever has one: for a thread that gives up with an error.
    pub fn abandon(&self) {
        self.lock().holder = OVER;
        self.wake_all();
    }

    fn lock(&self) -> MutexGuard<'_, Shared<T>> {
        // A thread that panicked had the turn; the others leave and the panic is reported.
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut shared = poisoned.into_inner();
            shared.holder = OVER;
            shared
        })
    }

    fn wake_all(&self) {
        for thread in self.threads.iter().filter_map(OnceLock::get) {
            thread.unpark();
        }
    }
}

impl<T> Held<'_, T> {
    /// Hands the turn to thread `next`.
    pub fn hand_to(mut self, next: usize) {
        self.shared.holder = next;
        let next = &self.turn.threads[next];
        drop(self.shared);
        // A thread that has not waited yet will look at the state before it parks.
        if let Some(thread) = next.get() {
            thread.unpark();
        }
    }

    /// Ends all turns.
    pub fn end(mut self) {
        self.shared.holder = OVER;
        let turn = self.turn;
        drop(self.shared);
        turn.wake_all();
    }
}

impl<T> std::ops::Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.shared.inner
    }
}

impl<T> std::ops::DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.shared.inner
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
    fn a_panic_on_a_turn_ends_the_others() {
        let turn = Turn::new((), 2);
        thread::scope(|scope| {
            let other = scope.spawn(|| turn.wait(1).is_none());
            let failing = scope.spawn(|| {
                let _held = turn.wait(0);
                panic!("as a test");
            });
            assert!(failing.join().is_err());
            turn.abandon();
            assert!(other.join().expect("it leaves quietly"));
        });
    }
}
