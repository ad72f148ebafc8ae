//! Statics of a machine with one processor.

use core::cell::UnsafeCell;

/// A static that only one thread uses.
pub struct Global<T>(UnsafeCell<T>);

// SAFETY: there is one processor, and interrupts are off in ring 0 except while it halts.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// Wraps the initial value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Where the value is. The code that makes a reference ensures that it is the only one.
    pub const fn pointer(&self) -> *mut T {
        self.0.get()
    }
}
