//! What the turn waits with in the model: loom's primitives, and a cell that is set once, made of
//! them.

pub use loom::sync::atomic::AtomicUsize;
pub use loom::sync::{Mutex, MutexGuard};
pub use loom::thread::{Thread, current, park};

use loom::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// As the standard library's: it promises that who finds the value sees what happened before it was
/// set, and no more. The model has the flag alone.
#[derive(Debug)]
pub struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub fn new() -> Self {
        Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub fn get_or_init(&self, value: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(value);
        self.is_set.store(true, Ordering::Release);
        value
    }
}
