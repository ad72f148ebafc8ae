//! What the turn waits with: the standard library's primitives. The test that checks the turn in
//! every interleaving puts a model checker's in their place.

pub use std::sync::atomic::AtomicUsize;
pub use std::sync::{Mutex, MutexGuard, OnceLock};
pub use std::thread::{Thread, current, park};
