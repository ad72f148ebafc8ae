//! When a VM begins anew by itself.

use serde::{Deserialize, Serialize};

/// The most restarts that a limit may allow.
pub const MAX_RESTARTS: u32 = 1000;

/// The shortest time in which they are counted, ns.
pub const MIN_RESTART_SPAN_NS: u64 = 1_000_000;
/// The longest: a day, ns.
pub const MAX_RESTART_SPAN_NS: u64 = 86_400_000_000_000;

/// When a VM begins anew by itself, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// After it asked for a reset.
    pub on_reset: bool,
    /// After it ended otherwise, without success.
    pub on_failure: bool,
    /// At most so often, from 1 to [`MAX_RESTARTS`], ...
    pub times: u32,
    /// ... within this time, ns.
    pub within_ns: u64,
}

impl Default for Restarts {
    /// Never; where a config wants it, three times in ten seconds.
    fn default() -> Self {
        Self { on_reset: false, on_failure: false, times: 3, within_ns: 10_000_000_000 }
    }
}
