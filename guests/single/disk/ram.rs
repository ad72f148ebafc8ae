//! What lies where in the arena.

pub use super::arena::{fill, get, holds, physical, put};

/// Descriptor table of 256 entries.
pub const DESCRIPTORS: usize = 0;
/// Available ring.
pub const AVAILABLE: usize = 0x1000;
/// Used ring.
pub const USED: usize = 0x2000;
/// Indirect tables, 64 bytes a slot.
pub const INDIRECT: usize = 0x3000;
/// Header, segment and status of a request, 64 bytes a slot.
pub const HEADERS: usize = 0x4000;
/// Data.
pub const DATA: usize = 0x8000;
