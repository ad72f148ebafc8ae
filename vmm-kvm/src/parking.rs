//! The turn's primitives, from the standard library. The test that checks the turn in
//! every interleaving substitutes a model checker's.

pub use std::sync::atomic::AtomicUsize;
pub use std::sync::{Mutex, MutexGuard, OnceLock};
pub use std::thread::{Thread, current, park};
