//! From the loader to the first turn.

pub mod input;
